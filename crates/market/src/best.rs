//! The best prices of a line, what they win together, and the line that a market is mostly about.

use odds::{BookmakerKey, Decimal};

use crate::{Line, LineOutcome};

/// The highest of these prices with its bookmaker; of equal ones, the first.
pub fn best_price<'a>(
    prices: impl IntoIterator<Item = (&'a BookmakerKey, Decimal)>,
) -> Option<(&'a BookmakerKey, Decimal)> {
    prices.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })
}

impl LineOutcome {
    /// The best price with its bookmaker; of equal ones, the first by key.
    pub fn best(&self) -> Option<(&BookmakerKey, Decimal)> {
        best_price(self.prices.iter().map(|(bookmaker, price)| (bookmaker, *price)))
    }
}

impl Line {
    /// What the best prices of all outcomes win together for each unit staked, however the event ends: negative if they
    /// lose. `None` without all outcomes.
    pub fn win_at_best_prices(&self) -> Option<f64> {
        let total: f64 =
            self.outcomes.iter().map(|it| it.best().map(|(_, price)| 1.0 / price.to_f64())).sum::<Option<f64>>()?;
        (self.is_complete && total > 0.0).then(|| 1.0 / total - 1.0)
    }
}

/// The line that a market is mostly about: the complete line with a point that most bookmakers offer, of these the one
/// whose outcomes are the most equally probable, and of these the lowest. `None` without such a line.
pub fn main_line(lines: &[Line]) -> Option<&Line> {
    let rank = |line: &Line| {
        let consensus = line.consensus()?;
        let spread = consensus.probabilities.iter().fold(0f64, |most, it| most.max(*it));
        Some((consensus.bookmakers, -spread))
    };
    let ranked = lines.iter().filter(|line| line.point.is_some()).filter_map(|line| Some((rank(line)?, line)));
    let better = |best: ((usize, f64), _), next: ((usize, f64), _)| if next.0 > best.0 { next } else { best };
    ranked.reduce(better).map(|(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{
        lines,
        tests::{details, quotes},
    };

    #[test]
    fn the_best_prices_of_two_bookmakers_can_win_together() {
        let quotes = quotes(&[
            ("a", "h2h", &[("Leeds", 210, None), ("York", 180, None)]),
            ("b", "h2h", &[("Leeds", 190, None), ("York", 205, None)]),
        ]);
        let line = &lines(&details(), &quotes)[0];
        assert_eq!(line.outcomes[0].best().unwrap(), (&"a".parse().unwrap(), Decimal::new(210, 2)));
        // 1 / (1 / 2.10 + 1 / 2.05) = 1.0373.
        assert_eq!((line.win_at_best_prices().unwrap() * 1e4).round(), 373.0);
    }

    #[test]
    fn half_a_line_wins_nothing() {
        let quotes = quotes(&[("a", "h2h", &[("Leeds", 210, None)])]);
        assert_eq!(lines(&details(), &quotes)[0].win_at_best_prices(), None);
    }

    #[test]
    fn the_main_line_is_that_of_most_bookmakers_and_then_the_most_even_one() {
        let (leeds, york) =
            (|cents, halves| ("Leeds", cents, Some(halves)), |cents, halves| ("York", cents, Some(halves)));
        let quotes = quotes(&[
            (
                "a",
                "spreads",
                &[leeds(150, -1), york(250, 1), leeds(190, -3), york(192, 3), leeds(260, -5), york(148, 5)],
            ),
            ("b", "spreads", &[leeds(151, -1), york(249, 1), leeds(191, -3), york(191, 3)]),
            ("c", "h2h", &[("Leeds", 200, None), ("York", 190, None)]),
        ]);
        let lines = lines(&details(), &quotes);
        assert_eq!(main_line(&lines).unwrap().point, Some(Decimal::new(-15, 1)));
        assert_eq!(main_line(&lines[..1]), None, "it has no point");
    }
}

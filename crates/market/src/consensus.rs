//! What the bookmakers of a line together think of its outcomes, without their margins.

use odds::BookmakerKey;

use crate::Line;

/// The consensus of the bookmakers of a complete line.
#[derive(Clone, Debug, PartialEq)]
pub struct Consensus {
    /// The probability of each outcome, in the order of the line. They add up to 1.
    pub probabilities: Vec<f64>,
    /// How many bookmakers it is from.
    pub bookmakers: usize,
}

impl Line {
    /// The share of all stakes that a bookmaker keeps if they are balanced: negative if the prices add up to less than a
    /// sure result. `None` without all outcomes.
    pub fn margin(&self, bookmaker: &BookmakerKey) -> Option<f64> {
        let total = total(&self.prices_of(bookmaker)?);
        self.is_complete.then(|| 1.0 - 1.0 / total)
    }

    /// Each bookmaker's prices are turned into probabilities that add up to 1, which takes its margin out in proportion.
    /// The consensus of an outcome is the median of the bookmakers, because a single one may be wrong or late; then all
    /// are scaled so that they add up to 1 again. `None` without all outcomes, or without a bookmaker.
    pub fn consensus(&self) -> Option<Consensus> {
        let bookmakers: Vec<&BookmakerKey> = self.outcomes.first()?.prices.keys().collect();
        let fair: Vec<Vec<f64>> =
            bookmakers.iter().filter_map(|it| Some(without_margin(&self.prices_of(it)?))).collect();
        if fair.is_empty() || !self.is_complete {
            return None;
        }
        let of_outcome = |place: usize| median(fair.iter().map(|of_bookmaker| of_bookmaker[place]).collect());
        let medians: Vec<f64> = (0..self.outcomes.len()).map(of_outcome).collect();
        let sum: f64 = medians.iter().sum();
        let probabilities = medians.into_iter().map(|probability| probability / sum).collect();
        Some(Consensus { probabilities, bookmakers: fair.len() })
    }

    /// What a single bookmaker thinks of each outcome, without its margin, in the order of the line. `None` without all
    /// outcomes.
    pub fn opinion_of(&self, bookmaker: &BookmakerKey) -> Option<Vec<f64>> {
        self.is_complete.then(|| self.prices_of(bookmaker).map(|prices| without_margin(&prices))).flatten()
    }

    /// A bookmaker's prices, in the order of the outcomes.
    fn prices_of(&self, bookmaker: &BookmakerKey) -> Option<Vec<f64>> {
        self.outcomes.iter().map(|outcome| outcome.prices.get(bookmaker).map(|price| price.to_f64())).collect()
    }
}

fn total(prices: &[f64]) -> f64 {
    prices.iter().map(|price| 1.0 / price).sum()
}

fn without_margin(prices: &[f64]) -> Vec<f64> {
    let total = total(prices);
    prices.iter().map(|price| 1.0 / price / total).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{
        lines,
        tests::{details, quotes},
    };

    /// The line of the example in docs/history.md.
    fn line() -> Line {
        let quotes = quotes(&[
            ("a", "h2h", &[("Leeds", 200, None), ("York", 190, None)]),
            ("b", "h2h", &[("Leeds", 210, None), ("York", 180, None)]),
            ("c", "h2h", &[("Leeds", 400, None), ("York", 125, None)]),
        ]);
        lines(&details(), &quotes).remove(0)
    }

    fn rounded(value: f64) -> i64 {
        (value * 1e4).round() as i64
    }

    #[test]
    fn the_consensus_is_without_margins_and_one_bookmaker_can_not_move_it_far() {
        let consensus = line().consensus().unwrap();
        assert_eq!(consensus.bookmakers, 3);
        assert_eq!(consensus.probabilities.iter().map(|it| rounded(*it)).collect::<Vec<_>>(), [4_615, 5_385]);
        let sum: f64 = consensus.probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_margin_is_what_the_bookmaker_keeps() {
        let margin = line().margin(&"a".parse().unwrap()).unwrap();
        // 1 / 2.00 + 1 / 1.90 = 1.0263, of which 1 is paid out.
        assert_eq!(rounded(margin), 256);
        assert_eq!(line().margin(&"d".parse().unwrap()), None);
    }

    #[test]
    fn half_a_line_has_no_consensus() {
        let quotes = quotes(&[("a", "h2h", &[("Leeds", 200, None)])]);
        assert_eq!(lines(&details(), &quotes)[0].consensus(), None);
    }
}

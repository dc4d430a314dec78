//! How the consensus of outcomes moved between two times.

use odds::{Decimal, MarketKey};

use crate::Line;

/// An outcome at two times.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    pub market: MarketKey,
    pub description: Option<String>,
    pub name: String,
    pub point: Option<Decimal>,
    /// Its probability by the consensus of all bookmakers, without their margins.
    pub before: f64,
    pub now: f64,
    /// The best price.
    pub price_before: Decimal,
    pub price_now: Decimal,
    /// How many bookmakers had a price at both times,
    pub bookmakers: usize,
    /// and how many of them moved it in the direction of the consensus.
    pub moved_with: usize,
}

impl Move {
    /// By how much the probability has changed.
    pub fn change(&self) -> f64 {
        self.now - self.before
    }

    /// What names the outcome within its event, for an order that never changes.
    pub fn place(&self) -> (&MarketKey, &Option<String>, &str, Option<Decimal>) {
        (&self.market, &self.description, &self.name, self.point)
    }
}

/// The outcomes that have a consensus at both times, by the lines of an event at these times.
pub fn moves(before: &[Line], now: &[Line]) -> Vec<Move> {
    let mut moves = Vec::new();
    for line in now {
        let earlier = before.iter().find(|earlier| earlier.is_same_line(line));
        let both = earlier.and_then(|earlier| Some((earlier, earlier.consensus()?, line.consensus()?)));
        let Some((earlier, before, now)) = both else { continue };
        for (place, (outcome, earlier)) in line.outcomes.iter().zip(&earlier.outcomes).enumerate() {
            let (before, now) = (before.probabilities[place], now.probabilities[place]);
            let Some(((_, price_before), (_, price_now))) = earlier.best().zip(outcome.best()) else { continue };
            let pairs: Vec<(Decimal, Decimal)> = outcome
                .prices
                .iter()
                .filter_map(|(bookmaker, now)| Some((*earlier.prices.get(bookmaker)?, *now)))
                .collect();
            // A shorter price says that the outcome is more probable.
            let moved_with =
                pairs.iter().filter(|(then, price)| if now > before { price < then } else { price > then });
            moves.push(Move {
                market: line.market.clone(),
                description: line.description.clone(),
                name: outcome.name.clone(),
                point: outcome.point,
                before,
                now,
                price_before,
                price_now,
                bookmakers: pairs.len(),
                moved_with: moved_with.count(),
            });
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{
        lines,
        tests::{details, quotes},
    };

    #[test]
    fn a_move_has_its_direction_and_who_moved_with_it() {
        let at = |leeds: [i64; 3], york: [i64; 3]| {
            let quote =
                |n: usize, key: &'static str| (key, "h2h", [("Leeds", leeds[n], None), ("York", york[n], None)]);
            let all = [quote(0, "a"), quote(1, "b"), quote(2, "c")];
            let all: Vec<(&str, &str, &[_])> = all.iter().map(|(key, market, it)| (*key, *market, &it[..])).collect();
            lines(&details(), &quotes(&all))
        };
        let moves = moves(&at([200, 210, 200], [180, 175, 180]), &at([180, 190, 200], [200, 195, 180]));
        let leeds = &moves[0];
        assert_eq!((leeds.name.as_str(), leeds.bookmakers, leeds.moved_with), ("Leeds", 3, 2));
        assert!(leeds.change() > 0.03 && (leeds.change() + moves[1].change()).abs() < 1e-9);
        assert_eq!((leeds.price_before, leeds.price_now), (Decimal::new(210, 2), Decimal::new(200, 2)));
    }

    #[test]
    fn another_point_is_another_line() {
        let at = |halves: i64| {
            lines(
                &details(),
                &quotes(&[("a", "spreads", &[("Leeds", 190, Some(halves)), ("York", 192, Some(-halves))])]),
            )
        };
        assert_eq!(moves(&at(3), &at(5)), []);
        assert_eq!(moves(&at(3), &at(3)).len(), 2);
    }
}

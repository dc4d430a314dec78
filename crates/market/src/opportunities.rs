//! Bets that are worth placing at the prices of one moment: arbitrages, which win however the event ends, and value,
//! which wins on average.

use odds::{BookmakerKey, Decimal};

use crate::Line;

/// The share of what a bet wins that exchanges keep.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Commission(f64);

impl Commission {
    /// From per cent. `None` if it is not between 0 and 100.
    pub fn of_percent(percent: f64) -> Option<Self> {
        (0.0..100.0).contains(&percent).then_some(Self(percent / 100.0))
    }

    /// What is paid back for each unit staked if a bet at this price wins, the stake included.
    pub fn net(self, bookmaker: &BookmakerKey, price: Decimal) -> f64 {
        let price = price.to_f64();
        if is_exchange(bookmaker) { 1.0 + (price - 1.0) * (1.0 - self.0) } else { price }
    }
}

/// Whether people bet against each other there. Exchanges take a commission instead of a margin.
pub fn is_exchange(bookmaker: &BookmakerKey) -> bool {
    const EXCHANGES: [&str; 8] =
        ["betdaq", "betopenly", "kalshi", "matchbook", "novig", "polymarket", "prophetx", "smarkets"];
    bookmaker.as_str().starts_with("betfair_ex") || EXCHANGES.contains(&bookmaker.as_str())
}

/// A bet of an arbitrage.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    /// The place of its outcome in the line.
    pub outcome: usize,
    pub bookmaker: BookmakerKey,
    pub price: Decimal,
    /// What is paid back for each unit staked, after the commission.
    pub net: f64,
}

/// Bets on all outcomes of a line that win together, however the event ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Arbitrage {
    /// What they win for each unit staked in total, if no stake is rounded.
    pub rate: f64,
    /// One for each outcome, in the order of the line.
    pub legs: Vec<Leg>,
}

/// How much to bet on each outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Stakes {
    /// In the order of the legs.
    pub stakes: Vec<f64>,
    /// Their sum.
    pub total: f64,
    /// What is won at least. It is a loss if it is negative.
    pub win: f64,
}

impl Line {
    /// The bets at the best price of each outcome, if they win together. Of equal prices, it is the first by key.
    pub fn arbitrage(&self, commission: Commission) -> Option<Arbitrage> {
        if !self.is_complete {
            return None;
        }
        let mut legs = Vec::with_capacity(self.outcomes.len());
        for (outcome, it) in self.outcomes.iter().enumerate() {
            let nets =
                it.prices.iter().map(|(bookmaker, price)| (bookmaker, *price, commission.net(bookmaker, *price)));
            let (bookmaker, price, net) = nets.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
            legs.push(Leg { outcome, bookmaker: bookmaker.clone(), price, net });
        }
        let rate = 1.0 / shares(&legs) - 1.0;
        (rate > 0.0).then_some(Arbitrage { rate, legs })
    }
}

impl Arbitrage {
    /// Divides a total so that each outcome pays the same, and rounds each stake to the nearest multiple of `unit`.
    pub fn stakes(&self, total: f64, unit: f64) -> Stakes {
        let all = shares(&self.legs);
        let stake = |leg: &Leg| (total / leg.net / all / unit).round() * unit;
        let stakes: Vec<f64> = self.legs.iter().map(stake).collect();
        let total = stakes.iter().sum();
        let pays = self.legs.iter().zip(&stakes).map(|(leg, stake)| leg.net * stake);
        let win = pays.fold(f64::INFINITY, f64::min) - total;
        Stakes { stakes, total, win }
    }
}

/// What all bets cost together if each of them is to pay one unit.
fn shares(legs: &[Leg]) -> f64 {
    legs.iter().map(|leg| 1.0 / leg.net).sum()
}

/// What a bet wins on average for each unit staked, if the outcome has this probability.
pub fn edge(net: f64, probability: f64) -> f64 {
    net * probability - 1.0
}

/// The share of all money at which bets like this let it grow fastest in the long run, if the probability is right:
/// Kelly's. Zero for a bet that loses on average.
pub fn kelly(net: f64, probability: f64) -> f64 {
    if net > 1.0 { (edge(net, probability) / (net - 1.0)).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{
        lines,
        tests::{details, quotes},
    };

    fn rounded(value: f64) -> i64 {
        (value * 1e4).round() as i64
    }

    /// The line of the examples in docs/opportunities.md.
    fn line() -> Line {
        let quotes = quotes(&[
            ("a", "h2h", &[("Leeds", 210, None), ("York", 180, None)]),
            ("b", "h2h", &[("Leeds", 190, None), ("York", 205, None)]),
            ("betfair_ex_uk", "h2h", &[("Leeds", 214, None), ("York", 184, None)]),
        ]);
        lines(&details(), &quotes).remove(0)
    }

    #[test]
    fn the_best_prices_after_commission_win_together() {
        let percent = |percent| Commission::of_percent(percent).unwrap();
        // 1 / (1 / 2.14 + 1 / 2.05) = 1.0470.
        let free = line().arbitrage(percent(0.0)).unwrap();
        assert_eq!((rounded(free.rate), free.legs[0].bookmaker.as_str()), (470, "betfair_ex_uk"));
        // 5 % of 1.14 leaves 2.083, which is less than 2.10.
        let paid = line().arbitrage(percent(5.0)).unwrap();
        let legs: Vec<(&str, i64)> = paid.legs.iter().map(|leg| (leg.bookmaker.as_str(), rounded(leg.net))).collect();
        assert_eq!((rounded(paid.rate), legs), (373, vec![("a", 21_000), ("b", 20_500)]));
    }

    #[test]
    fn stakes_are_rounded_to_what_people_bet() {
        let arbitrage = line().arbitrage(Commission::of_percent(5.0).unwrap()).unwrap();
        let exact = arbitrage.stakes(100.0, 0.01);
        assert_eq!(
            (rounded(exact.stakes[0]), rounded(exact.stakes[1]), rounded(exact.total)),
            (494_000, 506_000, 1_000_000)
        );
        assert_eq!(rounded(exact.win), 37_300);
        // 50 on Leeds pay 105, 50 on York 102.50.
        let round = arbitrage.stakes(100.0, 5.0);
        assert_eq!((round.stakes.clone(), round.total, rounded(round.win)), (vec![50.0, 50.0], 100.0, 25_000));
        // Too coarse: 10 on each pay 20.50 at least, and 0 on each pay nothing.
        assert_eq!(rounded(arbitrage.stakes(20.0, 10.0).win), 5_000);
        assert_eq!(arbitrage.stakes(8.0, 10.0), Stakes { stakes: vec![0.0, 0.0], total: 0.0, win: 0.0 });
    }

    #[test]
    fn without_an_arbitrage_there_is_none() {
        let sure = quotes(&[("a", "h2h", &[("Leeds", 200, None), ("York", 190, None)])]);
        assert_eq!(lines(&details(), &sure)[0].arbitrage(Commission::default()), None);
        let half = quotes(&[("a", "h2h", &[("Leeds", 900, None)])]);
        assert_eq!(lines(&details(), &half)[0].arbitrage(Commission::default()), None);
        assert_eq!([-0.1, 100.0, f64::NAN].map(Commission::of_percent), [None; 3]);
    }

    #[test]
    fn value_has_an_edge_and_a_share_of_the_bank() {
        // 2.30 × 0.4615 − 1 = 6.15 %, of a win of 1.30.
        assert_eq!((rounded(edge(2.3, 0.461_5)), rounded(kelly(2.3, 0.461_5))), (615, 473));
        assert!(edge(2.1, 0.461_5) < 0.0);
        assert_eq!((kelly(2.1, 0.461_5), kelly(1.0, 0.9)), (0.0, 0.0));
    }
}

//! Lines: groups of prices that can be compared with each other. All bookmakers of a line offer the same outcomes of the
//! same market at the same point.

use std::collections::{BTreeMap, BTreeSet};

use odds::{BookmakerKey, Decimal, Details, MarketKey, Outcome, Quotes};

/// Comparable prices of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub market: MarketKey,
    /// What the market is about, such as a player.
    pub description: Option<String>,
    /// The point of a total, or the home team's point of a spread.
    pub point: Option<Decimal>,
    /// In the order of their names.
    pub outcomes: Vec<LineOutcome>,
    /// Whether these are all outcomes that the event can have, as far as any bookmaker offers them. Without the others,
    /// there is no margin.
    pub is_complete: bool,
}

/// An outcome of a line, with the price of each bookmaker. All outcomes of a line have the same bookmakers.
#[derive(Clone, Debug, PartialEq)]
pub struct LineOutcome {
    pub name: String,
    pub point: Option<Decimal>,
    pub prices: BTreeMap<BookmakerKey, Decimal>,
}

impl Line {
    /// Whether this is the same line, at another time.
    pub fn is_same_line(&self, other: &Self) -> bool {
        let outcomes = self.outcomes.iter().map(|it| (&it.name, it.point));
        (&self.market, &self.description) == (&other.market, &other.description)
            && outcomes.eq(other.outcomes.iter().map(|it| (&it.name, it.point)))
    }

    /// Changes a bookmaker's price, if the outcome is on this line and the bookmaker offers it.
    pub fn set_price(&mut self, bookmaker: &BookmakerKey, outcome: &Outcome) {
        let is_it = |it: &&mut LineOutcome| it.name == outcome.name && it.point == outcome.point;
        let here = self.outcomes.iter_mut().filter(|_| self.description == outcome.description).find(is_it);
        if let Some(price) = here.and_then(|it| it.prices.get_mut(bookmaker)) {
            *price = outcome.price;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    market: MarketKey,
    description: Option<String>,
    /// The home team's point, if the teams have opposite ones.
    point: Option<Decimal>,
    names: Vec<String>,
}

/// Returns the lines of an event's quotes, in the order of their markets, descriptions and points.
pub fn lines(details: &Details, quotes: &Quotes) -> Vec<Line> {
    lines_of(details, quotes.iter().map(|((bookmaker, market), quote)| (bookmaker, market, quote.outcomes.to_vec())))
}

/// The same, from the outcomes of each bookmaker's markets.
pub fn lines_of<'a>(
    details: &Details,
    quotes: impl IntoIterator<Item = (&'a BookmakerKey, &'a MarketKey, Vec<Outcome>)>,
) -> Vec<Line> {
    let mut all: BTreeMap<Key, Vec<LineOutcome>> = BTreeMap::new();
    let mut runners: BTreeMap<&MarketKey, BTreeSet<String>> = BTreeMap::new();
    for (bookmaker, market, outcomes) in quotes {
        runners.entry(market).or_default().extend(outcomes.iter().map(|outcome| outcome.name.clone()));
        let mut split: BTreeMap<(Option<String>, Option<Decimal>), Vec<Outcome>> = BTreeMap::new();
        for outcome in outcomes {
            let point = outcome.point.map(|point| line_point(details, &outcome.name, point));
            split.entry((outcome.description.clone(), point)).or_default().push(outcome);
        }
        for ((description, point), mut outcomes) in split {
            outcomes.sort_by(|a, b| a.name.cmp(&b.name));
            let names = outcomes.iter().map(|outcome| outcome.name.clone()).collect();
            let line = all.entry(Key { market: market.clone(), description, point, names }).or_insert_with(|| {
                let empty =
                    |it: &Outcome| LineOutcome { name: it.name.clone(), point: it.point, prices: BTreeMap::new() };
                outcomes.iter().map(empty).collect()
            });
            for (place, outcome) in line.iter_mut().zip(outcomes) {
                place.prices.insert(bookmaker.clone(), outcome.price);
            }
        }
    }
    let is_complete = |key: &Key| match key.market.as_str() {
        "outrights" | "outrights_lay" => runners.get(&key.market).is_some_and(|all| key.names.iter().eq(all)),
        // Somebody may offer the same without the draw.
        _ => key.names.len() >= 2 && !all.keys().any(|other| other.has_more_than(key)),
    };
    let complete: Vec<bool> = all.keys().map(is_complete).collect();
    let line = |((Key { market, description, point, .. }, outcomes), is_complete)| Line {
        market,
        description,
        point,
        outcomes,
        is_complete,
    };
    all.into_iter().zip(complete).map(line).collect()
}

impl Key {
    /// Whether it is about the same, and has all outcomes of another line and others.
    fn has_more_than(&self, other: &Self) -> bool {
        self.names.len() > other.names.len()
            && (&self.market, &self.description, self.point) == (&other.market, &other.description, other.point)
            && other.names.iter().all(|name| self.names.contains(name))
    }
}

/// Returns an outcome's point from the home team's view: the away team's point is negated.
fn line_point(details: &Details, name: &str, point: Decimal) -> Decimal {
    if details.away_team.as_deref() == Some(name) { point.negated() } else { point }
}

#[cfg(test)]
pub(crate) mod tests {
    use odds::{Market, Outcomes, Timestamp};

    use super::*;

    pub(crate) fn details() -> Details {
        Details {
            sport_key: "soccer_epl".parse().unwrap(),
            sport_title: "EPL".into(),
            commence_time: Timestamp::from_millis(0),
            home_team: Some("Leeds".into()),
            away_team: Some("York".into()),
        }
    }

    /// Its name, its price in cents, and its point in halves.
    type Sample = (&'static str, i64, Option<i64>);

    /// Quotes of bookmakers at markets.
    pub(crate) fn quotes(all: &[(&str, &str, &[Sample])]) -> Quotes {
        let outcome = |&(name, cents, halves): &Sample| Outcome {
            name: name.to_owned(),
            price: Decimal::new(cents, 2),
            point: halves.map(|halves| Decimal::new(halves * 5, 1)),
            description: None,
        };
        let quote = |&(bookmaker, market, outcomes): &(&str, &str, &[Sample])| {
            let outcomes = Outcomes::new(outcomes.iter().map(outcome).collect());
            let quote = Market { last_update: Timestamp::from_millis(0), outcomes };
            ((bookmaker.parse().unwrap(), market.parse().unwrap()), quote)
        };
        all.iter().map(quote).collect()
    }

    #[test]
    fn only_the_same_outcomes_at_the_same_point_are_compared() {
        let quotes = quotes(&[
            ("a", "h2h", &[("Leeds", 200, None), ("York", 180, None)]),
            ("b", "h2h", &[("York", 185, None), ("Leeds", 195, None)]),
            ("c", "h2h", &[("Leeds", 250, None), ("Draw", 310, None), ("York", 280, None)]),
            ("a", "spreads", &[("Leeds", 190, Some(-3)), ("York", 192, Some(3))]),
            ("b", "spreads", &[("Leeds", 210, Some(3)), ("York", 170, Some(-3))]),
        ]);
        let lines = lines(&details(), &quotes);
        let shape = |line: &Line| {
            let names: Vec<&str> = line.outcomes.iter().map(|it| it.name.as_str()).collect();
            let count = line.outcomes[0].prices.len();
            (line.market.to_string(), names.join(" "), line.outcomes[0].point.map(Decimal::to_f64), count)
        };
        let expected = [
            ("h2h", "Draw Leeds York", None, 1),
            ("h2h", "Leeds York", None, 2),
            ("spreads", "Leeds York", Some(-1.5), 1),
            ("spreads", "Leeds York", Some(1.5), 1),
        ];
        let expected =
            expected.map(|(market, names, point, count)| (market.to_owned(), names.to_owned(), point, count));
        assert_eq!(lines.iter().map(shape).collect::<Vec<_>>(), expected);
        // Without the draw, it is not all that can happen.
        assert_eq!(lines.iter().map(|line| line.is_complete).collect::<Vec<_>>(), [true, false, true, true]);
    }

    #[test]
    fn a_line_without_all_runners_is_not_complete() {
        let quotes = quotes(&[
            ("a", "outrights", &[("Ann", 200, None), ("Bob", 300, None), ("Eve", 900, None)]),
            ("b", "outrights", &[("Ann", 210, None), ("Bob", 290, None)]),
            ("a", "h2h", &[("Leeds", 200, None)]),
        ]);
        let complete: Vec<(usize, bool)> =
            lines(&details(), &quotes).iter().map(|line| (line.outcomes.len(), line.is_complete)).collect();
        assert_eq!(complete, [(1, false), (2, false), (3, true)]);
    }
}

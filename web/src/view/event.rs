//! One event, merged from all chosen regions.

use std::collections::{BTreeMap, BTreeSet};

use client::BoardMirrors;
use odds::{BookmakerKey, Decimal, Details, EventId, MarketKey, Outcome, Region, Timestamp};

use super::{Key, freshness::Freshness, gathered, sorted};

/// A bookmaker's price for an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub(crate) price: Decimal,
    pub(crate) since: Timestamp,
    /// When it was last seen, if it is stale.
    pub(crate) stale_since: Option<Timestamp>,
}

/// One outcome of a line, with the price of each bookmaker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutcomeView {
    pub(crate) name: String,
    pub(crate) point: Option<Decimal>,
    pub(crate) offers: BTreeMap<BookmakerKey, Offer>,
}

/// A group of comparable prices: the same market, the same outcomes, the same point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) market: MarketKey,
    pub(crate) description: Option<String>,
    pub(crate) outcomes: Vec<OutcomeView>,
    /// Whether the line has all possible outcomes.
    complete: bool,
}

/// An event as the page shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventView {
    pub(crate) id: EventId,
    pub(crate) details: Details,
    pub(crate) regions: Vec<Region>,
    /// Sorted by market; within a market, the line with the most bookmakers comes first.
    pub(crate) lines: Vec<Line>,
    /// It is on no board any more. It has no offers.
    pub(crate) has_ended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct LineKey {
    market: MarketKey,
    description: Option<String>,
    /// The home team's point, if the teams have opposite ones.
    point: Option<String>,
    names: BTreeSet<Key>,
}

/// Merges an event from several regions. A bookmaker that quotes in more than one counts once, with its newest price.
/// Returns `None` if no region has the event.
pub(crate) fn merge(live: &BoardMirrors, regions: &[Region], id: &EventId, fresh: &Freshness) -> Option<EventView> {
    let mut details: Option<Details> = None;
    let mut found = Vec::new();
    let mut quotes: BTreeMap<(BookmakerKey, MarketKey), (Timestamp, Region, Vec<Outcome>)> = BTreeMap::new();
    for region in regions {
        let Some(event) = live.boards.get(region).and_then(|board| board.events().get(id)) else { continue };
        found.push(*region);
        details.get_or_insert_with(|| event.details.clone());
        for ((bookmaker, market), quote) in &event.quotes {
            let key = (bookmaker.clone(), market.clone());
            if quotes.get(&key).is_none_or(|(since, ..)| *since < quote.last_update) {
                quotes.insert(key, (quote.last_update, *region, quote.outcomes.to_vec()));
            }
        }
    }
    let details = details?;
    let lines = lines(&details, quotes, fresh);
    Some(EventView { id: id.clone(), details, regions: found, lines, has_ended: false })
}

fn lines(
    details: &Details,
    quotes: BTreeMap<(BookmakerKey, MarketKey), (Timestamp, Region, Vec<Outcome>)>,
    fresh: &Freshness,
) -> Vec<Line> {
    let mut all: Vec<(LineKey, Vec<OutcomeView>)> = Vec::new();
    let mut runners: Vec<(MarketKey, BTreeSet<Key>)> = Vec::new();
    for ((bookmaker, market), (since, region, outcomes)) in quotes {
        let stale_since = fresh.stale_since(region, &details.sport_key, &bookmaker);
        let known = place_in(&mut runners, &market, BTreeSet::new);
        known.extend(outcomes.iter().map(|outcome| Key::from(&*outcome.name)));
        let mut split: Vec<(_, Vec<Outcome>)> = Vec::new();
        for outcome in outcomes {
            let point = outcome.point.map(|point| line_point(details, &outcome.name, point).to_string());
            let of = (outcome.description.clone(), point);
            place_in(&mut split, &of, Vec::new).push(outcome);
        }
        for ((description, point), outcomes) in split {
            let names = gathered(outcomes.iter().map(|outcome| Key::from(&*outcome.name)));
            let key = LineKey { market: market.clone(), description, point, names };
            let line = place_in(&mut all, &key, || {
                let empty = |outcome: &Outcome| OutcomeView {
                    name: outcome.name.clone(),
                    point: outcome.point,
                    offers: BTreeMap::new(),
                };
                outcomes.iter().map(empty).collect()
            });
            for outcome in outcomes {
                let offer = Offer { price: outcome.price, since, stale_since };
                let place = line.iter_mut().find(|it| it.name == outcome.name);
                place.expect("a line has all its names").offers.insert(bookmaker.clone(), offer);
            }
        }
    }
    let complete = all.iter().map(|(key, outcomes)| match key.market.as_str() {
        // Without all runners, the line has no margin.
        "outrights" | "outrights_lay" => runners.iter().any(|(market, all)| *market == key.market && *all == key.names),
        // Nor has one of which somebody offers more outcomes, such as the draw.
        _ => {
            let has_more = |(other, _): &(LineKey, _)| {
                other.names.len() > key.names.len()
                    && other.market == key.market
                    && other.point == key.point
                    && other.description == key.description
            };
            outcomes.len() >= 2 && !all.iter().any(has_more)
        }
    });
    let complete: Vec<bool> = complete.collect();
    // The line with the most bookmakers first; the rest of the key keeps the order stable.
    let place = |((key, outcomes), _): &((LineKey, Vec<OutcomeView>), bool)| {
        let fewer = 999 - bookmakers(outcomes).min(999);
        let LineKey { market, description, point, names } = key;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let names = names.iter().cloned().collect::<Vec<_>>().join(" ");
        format!("{market} {fewer:03} {} {} {names}", text(description), text(point))
    };
    sorted(all.into_iter().zip(complete).collect(), place)
        .into_iter()
        .map(|((key, outcomes), complete)| {
            let outcomes = sorted(outcomes, |outcome| place_of(details, &outcome.name));
            Line { market: key.market, description: key.description, outcomes, complete }
        })
        .collect()
}

/// Returns the value of a key in a short list, which is added if it is missing.
fn place_in<'a, K: Clone + PartialEq, V>(list: &'a mut Vec<(K, V)>, key: &K, new: impl FnOnce() -> V) -> &'a mut V {
    let place = list.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        list.push((key.clone(), new()));
        list.len() - 1
    });
    &mut list[place].1
}

/// Returns an outcome's point from the home team's view: the away team's point is negated.
fn line_point(details: &Details, name: &str, point: Decimal) -> Decimal {
    let is_away = details.away_team.as_deref() == Some(name);
    if is_away { point.negated() } else { point }
}

/// Returns a sort key for outcomes: home, draw, away, or away first where that is usual; over before under; others by
/// name.
fn place_of(details: &Details, name: &str) -> String {
    let (first, last) = teams(details);
    let place = match name {
        _ if first == Some(name) => 0,
        "Draw" | "Over" | "Yes" => 1,
        _ if last == Some(name) => 2,
        _ => 3,
    };
    format!("{place} {name}")
}

/// The two teams in the sport's usual order.
fn teams(details: &Details) -> (Option<&str>, Option<&str>) {
    ordered(details.sport_key.as_str(), details.home_team.as_deref(), details.away_team.as_deref())
}

/// Sports of North America name the visitors first.
fn ordered<'a>(sport: &str, home: Option<&'a str>, away: Option<&'a str>) -> (Option<&'a str>, Option<&'a str>) {
    let visitors_first =
        ["americanfootball_", "basketball_", "icehockey_", "baseball_"].iter().any(|group| sport.starts_with(group));
    if visitors_first { (away, home) } else { (home, away) }
}

/// An event's teams, as its title. `None` if it has no two.
pub(crate) fn title_of(sport: &str, home: Option<&str>, away: Option<&str>) -> Option<String> {
    let (first, last) = ordered(sport, home, away);
    Some(format!("{} – {}", first?, last?))
}

fn bookmakers(outcomes: &[OutcomeView]) -> usize {
    outcomes.iter().map(|outcome| outcome.offers.len()).max().unwrap_or_default()
}

impl OutcomeView {
    /// Returns the highest live price and its bookmaker.
    pub(crate) fn best(&self) -> Option<(&BookmakerKey, &Offer)> {
        let live = self.offers.iter().filter(|(_, offer)| offer.stale_since.is_none());
        // Of equal prices the first, so that the mark doesn't move.
        live.rev().max_by_key(|(_, offer)| offer.price)
    }

    /// Returns the highest price, however old.
    pub(crate) fn highest(&self) -> Option<(&BookmakerKey, &Offer)> {
        self.offers.iter().rev().max_by_key(|(_, offer)| offer.price)
    }

    /// Returns the bookmakers that have the highest live price.
    pub(crate) fn best_bookmakers(&self) -> Vec<&BookmakerKey> {
        let Some((_, best)) = self.best() else { return Vec::new() };
        let is_best = |offer: &&Offer| offer.stale_since.is_none() && offer.price == best.price;
        self.offers.iter().filter(|(_, offer)| is_best(offer)).map(|(bookmaker, _)| bookmaker).collect()
    }
}

impl Line {
    /// Returns false for a lay market. There, a lower price is better, so prices aren't compared.
    fn is_back(&self) -> bool {
        !self.market.as_str().ends_with("_lay")
    }

    pub(crate) fn marks_best(&self) -> bool {
        self.is_back()
    }

    /// Returns the bookmakers' margin at the best prices of all outcomes, or `None` if one is missing. If it is
    /// negative, there is an arbitrage.
    pub(crate) fn margin(&self) -> Option<f64> {
        if !self.complete || !self.is_back() {
            return None;
        }
        let shares = self.outcomes.iter().map(|outcome| {
            let price = outcome.best()?.1.price.to_f64();
            (price > 1.0).then(|| 1.0 / price)
        });
        Some(shares.sum::<Option<f64>>()? - 1.0)
    }
}

impl EventView {
    /// Returns the market's line with the most bookmakers.
    pub(crate) fn main_line(&self, market: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.market.as_str() == market)
    }

    /// The best live prices of the market's main line.
    pub(crate) fn best_prices(&self, market: &str) -> Vec<f64> {
        let outcomes = self.main_line(market).map(|line| line.outcomes.iter());
        let best = |outcome: &OutcomeView| outcome.best().map_or(0.0, |(_, offer)| offer.price.to_f64());
        outcomes.into_iter().flatten().map(best).collect()
    }

    /// The event after it was removed from the boards.
    pub(crate) fn ended(&self) -> Self {
        let outcome =
            |it: &OutcomeView| OutcomeView { name: it.name.clone(), point: it.point, offers: BTreeMap::new() };
        let line = |line: &Line| Line {
            market: line.market.clone(),
            description: line.description.clone(),
            outcomes: line.outcomes.iter().map(outcome).collect(),
            complete: line.complete,
        };
        Self {
            id: self.id.clone(),
            details: self.details.clone(),
            regions: self.regions.clone(),
            lines: self.lines.iter().map(line).collect(),
            has_ended: true,
        }
    }

    /// Returns whether any bookmaker offers this market.
    pub(crate) fn has(&self, market: &str) -> bool {
        self.main_line(market).is_some()
    }

    pub(crate) fn title(&self) -> String {
        let Details { sport_key, home_team, away_team, .. } = &self.details;
        title_of(sport_key.as_str(), home_team.as_deref(), away_team.as_deref())
            .unwrap_or_else(|| self.details.sport_title.clone())
    }

    pub(crate) fn has_started(&self, now: Timestamp) -> bool {
        self.details.commence_time <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: &str = "1.2-3-99aa06d3014798d86001c324468d497f";

    fn price(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn view(boards: &[(&str, &str)], fresh: &Freshness) -> EventView {
        let mut live = BoardMirrors::default();
        live.take("subscriptions", r#"{"v":1,"regions":["us","uk","eu","au"]}"#);
        for (region, quotes) in boards {
            let event = format!(
                r#"{{"id":"e1","sport_key":"soccer_epl","sport_title":"EPL","commence_time":"2026-01-01T15:00:00Z",
                    "home_team":"Leeds","away_team":"Arsenal","quotes":[{quotes}]}}"#
            );
            live.take("snapshot", &format!(r#"{{"region":"{region}","cursor":"{CURSOR}","events":[{event}]}}"#));
        }
        merge(&live, &Region::ALL, &"e1".parse().unwrap(), fresh).unwrap()
    }

    fn quote(bookmaker: &str, market: &str, minute: u32, outcomes: &str) -> String {
        format!(
            r#"{{"bookmaker":"{bookmaker}","market":"{market}","last_update":"2026-01-01T12:{minute:02}:00Z","outcomes":[{outcomes}]}}"#
        )
    }

    fn outcome(name: &str, price: &str, point: Option<&str>) -> String {
        let point = point.map(|point| format!(r#","point":{point}"#)).unwrap_or_default();
        format!(r#"{{"name":"{name}","price":{price}{point}}}"#)
    }

    #[test]
    fn a_bookmaker_of_two_regions_counts_once_by_its_newest_price() {
        let old = quote("bet", "h2h", 1, &[outcome("Leeds", "2.0", None), outcome("Arsenal", "1.8", None)].join(","));
        let new = quote("bet", "h2h", 2, &[outcome("Leeds", "2.2", None), outcome("Arsenal", "1.7", None)].join(","));
        for boards in [[("uk", &*old), ("eu", &*new)], [("uk", &*new), ("eu", &*old)]] {
            let view = view(&boards, &Freshness::all_live());
            let line = view.main_line("h2h").unwrap();
            assert_eq!(line.outcomes[0].offers.len(), 1);
            assert_eq!(line.outcomes[0].offers["bet"].price, price("2.2"));
            assert_eq!(view.regions, [Region::Uk, Region::Eu]);
        }
    }

    #[test]
    fn outcomes_come_in_the_sports_own_order() {
        let outcomes = [outcome("Arsenal", "1.8", None), outcome("Draw", "3", None), outcome("Leeds", "2", None)];
        let view = view(&[("uk", &quote("bet", "h2h", 1, &outcomes.join(",")))], &Freshness::all_live());
        let names: Vec<&str> = view.lines[0].outcomes.iter().map(|outcome| &*outcome.name).collect();
        assert_eq!(names, ["Leeds", "Draw", "Arsenal"]);
    }

    #[test]
    fn sports_of_north_america_name_the_visitors_first() {
        let details = |sport: &str| Details {
            sport_key: sport.parse().unwrap(),
            sport_title: "A league".into(),
            commence_time: Timestamp::from_millis(0),
            home_team: Some("Giants".into()),
            away_team: Some("Eagles".into()),
        };
        assert_eq!(teams(&details("americanfootball_nfl")), (Some("Eagles"), Some("Giants")));
        assert_eq!(teams(&details("soccer_epl")), (Some("Giants"), Some("Eagles")));
        let nba = details("basketball_nba");
        assert!(place_of(&nba, "Eagles") < place_of(&nba, "Draw") && place_of(&nba, "Draw") < place_of(&nba, "Giants"));
    }

    #[test]
    fn only_the_same_line_is_compared() {
        let spread = |bookmaker, home, away| {
            let outcomes = [outcome("Leeds", "1.9", Some(home)), outcome("Arsenal", "2.0", Some(away))];
            quote(bookmaker, "spreads", 1, &outcomes.join(","))
        };
        // Two on -1.5, one on the opposite line.
        let quotes = [spread("a", "-1.5", "1.5"), spread("b", "-1.5", "1.5"), spread("c", "1.5", "-1.5")].join(",");
        let view = view(&[("uk", &quotes)], &Freshness::all_live());
        assert_eq!(view.lines.len(), 2);
        let main = view.main_line("spreads").unwrap();
        assert_eq!(main.outcomes[0].offers.len(), 2);
        assert_eq!((main.outcomes[0].point, main.outcomes[1].point), (Some(price("-1.5")), Some(price("1.5"))));
    }

    #[test]
    fn with_and_without_a_draw_is_not_the_same_bet() {
        let two = [outcome("Leeds", "5", None), outcome("Arsenal", "5", None)].join(",");
        let three = [outcome("Leeds", "2.5", None), outcome("Draw", "3.3", None), outcome("Arsenal", "2.6", None)];
        let quotes = [
            quote("a", "h2h", 1, &three.join(",")),
            quote("b", "h2h", 1, &three.join(",")),
            quote("c", "h2h", 1, &two),
        ];
        let view = view(&[("uk", &quotes.join(","))], &Freshness::all_live());
        let main = view.main_line("h2h").unwrap();
        assert_eq!(main.outcomes.len(), 3);
        assert!(main.margin().unwrap() > 0.0);
    }

    #[test]
    fn the_margin_is_of_the_best_live_prices() {
        let a = quote("a", "h2h", 1, &[outcome("Leeds", "2.2", None), outcome("Arsenal", "1.6", None)].join(","));
        let b = quote("b", "h2h", 1, &[outcome("Leeds", "1.7", None), outcome("Arsenal", "2.1", None)].join(","));
        let quotes = [a, b].join(",");
        let view_live = view(&[("uk", &quotes)], &Freshness::all_live());
        let line = view_live.main_line("h2h").unwrap();
        assert_eq!(line.outcomes[0].best().unwrap().0.as_str(), "a");
        assert_eq!(line.outcomes[1].best().unwrap().0.as_str(), "b");
        let margin = line.margin().unwrap();
        assert!(margin < 0.0 && (margin - (1.0 / 2.2 + 1.0 / 2.1 - 1.0)).abs() < 1e-9, "an arbitrage: {margin}");
        let view_stale = view(&[("uk", &quotes)], &Freshness::default());
        let line = view_stale.main_line("h2h").unwrap();
        assert_eq!((line.outcomes[0].best(), line.margin()), (None, None), "old prices are compared with nothing");
    }

    #[test]
    fn all_that_share_the_best_price_have_it_and_an_ended_event_has_none() {
        let two = |leeds: &str| [outcome("Leeds", leeds, None), outcome("Arsenal", "1.6", None)].join(",");
        let quotes = [("a", "2.2"), ("b", "2.1"), ("c", "2.2")].map(|(key, leeds)| quote(key, "h2h", 1, &two(leeds)));
        let view = view(&[("uk", &quotes.join(","))], &Freshness::all_live());
        let names = |view: &EventView| -> Vec<String> {
            view.lines[0].outcomes[0].best_bookmakers().into_iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&view), ["a", "c"]);
        let ended = view.ended();
        assert_eq!((names(&ended), ended.lines[0].margin(), ended.has_ended), (vec![], None, true));
    }

    #[test]
    fn lay_prices_and_fields_with_gaps_have_no_margin() {
        let two = [outcome("Leeds", "2.2", None), outcome("Arsenal", "2.1", None)].join(",");
        let lay = view(&[("uk", &quote("a", "h2h_lay", 1, &two))], &Freshness::all_live());
        assert_eq!((lay.lines[0].margin(), lay.lines[0].marks_best()), (None, false));
        let three = [outcome("X", "9", None), outcome("Y", "9", None), outcome("Z", "9", None)];
        let quotes = [quote("a", "outrights", 1, &three.join(",")), quote("b", "outrights", 1, &three[..2].join(","))];
        let outright = view(&[("uk", &quotes.join(","))], &Freshness::all_live());
        let margins: Vec<bool> = outright.lines.iter().map(|line| line.margin().is_some()).collect();
        assert_eq!(outright.lines[0].outcomes.len() + outright.lines[1].outcomes.len(), 5);
        for (line, has) in outright.lines.iter().zip(margins) {
            assert_eq!(has, line.outcomes.len() == 3);
        }
    }
}

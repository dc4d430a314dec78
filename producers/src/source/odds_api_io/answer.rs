//! Reads answers with events and odds. A part that can't be read is left out at the smallest level: an outcome rather
//! than its market, a market rather than its bookmaker, a bookmaker rather than its event.

use std::collections::BTreeMap;

use odds::{
    BookmakerKey, Credits, Decimal, Details, EventId, Image, Market, MarketKey, Outcome, Outcomes, Quotes, Timestamp,
};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

use super::Bookmaker;
use crate::source::{
    Answer, IncompleteEvent, Level, OddsQuery, SourceError,
    field::{Field, LeftOut, List, MAX_TEXT},
};

/// Our keys of the markets that are read, and their names upstream.
pub(super) const MARKETS: [(&str, &str); 3] = [("h2h", "ML"), ("spreads", "Spread"), ("totals", "Totals")];

/// Upstream's name of a market.
pub(super) fn upstream_name(key: &MarketKey) -> Option<&'static str> {
    MARKETS.iter().find(|(ours, _)| *ours == key.as_str()).map(|(_, theirs)| *theirs)
}

/// A number that may be written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(Decimal);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let text = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// An event's id, which upstream writes as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum ApiId {
    Number(u64),
    Text(EventId),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiEvent {
    id: Field<ApiId>,
    home: Field<String>,
    away: Field<String>,
    date: Field<Timestamp>,
    status: Field<String>,
    league: Field<ApiLeague>,
    bookmakers: Field<BTreeMap<String, Box<RawValue>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiLeague {
    name: Field<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiMarket {
    name: Field<String>,
    #[serde(rename = "updatedAt")]
    updated_at: Field<Timestamp>,
    odds: List,
}

/// A line of a market: the prices of all its sides.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiLine {
    hdp: Field<Number>,
    home: Field<Number>,
    draw: Field<Number>,
    away: Field<Number>,
    over: Field<Number>,
    under: Field<Number>,
}

impl ApiEvent {
    fn id(&mut self) -> Option<EventId> {
        match std::mem::take(&mut self.id).value()? {
            ApiId::Number(number) => Some(number.to_string().parse().expect("digits are an id")),
            ApiId::Text(id) => Some(id),
        }
    }

    /// Whether the event is neither over nor cancelled.
    fn is_open(&self) -> bool {
        match &self.status {
            Field::Is(status) => matches!(&**status, "pending" | "live"),
            Field::Missing | Field::Unreadable => true,
        }
    }
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedEvent {
    pub(super) id: EventId,
    /// None if it can't be read.
    pub(super) start: Option<Timestamp>,
}

/// Reads an event of a list. Returns None for an event that is over, and fails if its id can't be read.
pub(super) fn read_listed(json: &str) -> Result<Option<ListedEvent>, ()> {
    let mut event: ApiEvent = serde_json::from_str(json).map_err(drop)?;
    let id = event.id().ok_or(())?;
    Ok(event.is_open().then(|| ListedEvent { id, start: event.date.value() }))
}

/// A league's events with their quotes, as they were read last.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(BTreeMap<EventId, ReadEvent>);

#[derive(Clone, Debug)]
struct ReadEvent {
    /// None if the start can't be read.
    details: Option<Details>,
    /// Whether all of the details could be read.
    is_complete: bool,
    quotes: Quotes,
}

/// A reader of the answers of one poll.
pub(super) struct OddsReader<'a> {
    query: &'a OddsQuery,
    bookmakers: &'a [Bookmaker],
    pub(super) events: Events,
    entries: usize,
    left_out: LeftOut,
}

impl<'a> OddsReader<'a> {
    /// Begins with `events`, which are none if the answers have all odds.
    pub(super) fn new(query: &'a OddsQuery, bookmakers: &'a [Bookmaker], events: Events) -> Self {
        Self { query, bookmakers, events, entries: 0, left_out: LeftOut::default() }
    }

    /// Reads an event of an answer that has all of the event's odds.
    pub(super) fn event(&mut self, json: &str) {
        let Some((id, event)) = self.read(json) else { return };
        if !event.is_open() {
            return;
        }
        let [home, away] = [&event.home, &event.away].map(|name| match name {
            Field::Is(name) if name.len() <= MAX_TEXT => Ok(Some(name.clone())),
            Field::Missing => Ok(None),
            Field::Is(_) | Field::Unreadable => Err(()),
        });
        let title = match &event.league {
            Field::Is(ApiLeague { name: Field::Is(name) }) if name.len() <= MAX_TEXT => Some(name.clone()),
            _ => None,
        };
        let is_complete = home.is_ok() && away.is_ok() && matches!(event.date, Field::Is(_));
        if !is_complete {
            self.left_out.add(Level::Details, json);
        }
        let details = event.date.clone().value().map(|commence_time| Details {
            sport_key: self.query.sport.clone(),
            sport_title: title.unwrap_or_else(|| self.query.sport.to_string()),
            commence_time,
            home_team: home.unwrap_or_default(),
            away_team: away.unwrap_or_default(),
        });
        // The odds of more bookmakers than one request can ask for come in several answers.
        let quotes = self.events.0.remove(&id).map(|event| event.quotes).unwrap_or_default();
        self.events.0.insert(id.clone(), ReadEvent { details, is_complete, quotes });
        self.quotes(&id, event, json);
    }

    /// Reads an event of an answer that has only what changed. Events that aren't known have to wait for a whole answer.
    pub(super) fn changes(&mut self, json: &str) {
        let Some((id, event)) = self.read(json) else { return };
        if !event.is_open() {
            self.events.0.remove(&id);
        } else if self.events.0.contains_key(&id) {
            self.quotes(&id, event, json);
        }
    }

    fn read(&mut self, json: &str) -> Option<(EventId, ApiEvent)> {
        self.entries += 1;
        let mut event = serde_json::from_str::<ApiEvent>(json).unwrap_or_default();
        let id = event.id();
        if id.is_none() {
            self.left_out.add(Level::Event, json);
        }
        Some((id?, event))
    }

    fn quotes(&mut self, id: &EventId, event: ApiEvent, json: &str) {
        let known = self.events.0.get(id).and_then(|event| event.details.as_ref());
        let team =
            |name: Field<String>, known: Option<&Option<String>>| name.value().or_else(|| known.cloned().flatten());
        let home = team(event.home, known.map(|details| &details.home_team));
        let away = team(event.away, known.map(|details| &details.away_team));
        let Ok(bookmakers) = event.bookmakers.optional() else { return self.left_out.add(Level::Bookmaker, json) };
        let mut bookmakers = bookmakers.unwrap_or_default();
        let asked = self.bookmakers;
        for bookmaker in asked {
            let Some(json) = bookmakers.remove(&bookmaker.name) else { continue };
            match serde_json::from_str::<List>(json.get()).unwrap_or_default().optional() {
                Ok(markets) => {
                    for market in markets.unwrap_or_default() {
                        self.market(id, &bookmaker.key, [home.as_deref(), away.as_deref()], market.get());
                    }
                }
                Err(()) => {
                    self.left_out.add(Level::Bookmaker, json.get());
                    // None of its earlier prices is known to be valid.
                    self.quotes_of(id).retain(|(known, _), _| *known != bookmaker.key);
                }
            }
        }
    }

    fn market(&mut self, id: &EventId, bookmaker: &BookmakerKey, teams: [Option<&str>; 2], json: &str) {
        let market = serde_json::from_str::<ApiMarket>(json).unwrap_or_default();
        let Some(name) = market.name.value() else { return self.left_out.add(Level::Market, json) };
        let Some((key, _)) = MARKETS.iter().find(|(_, theirs)| *theirs == name) else { return };
        let key: MarketKey = key.parse().expect("our own keys are valid");
        if !self.query.markets.contains(&key) {
            return;
        }
        let place = (bookmaker.clone(), key);
        let key = place.1.as_str();
        // The earlier prices are not valid any more.
        self.quotes_of(id).remove(&place);
        let needs_teams = key != "totals";
        let Ok(lines) = market.odds.optional() else { return self.left_out.add(Level::Market, json) };
        if needs_teams && teams.iter().any(Option::is_none) {
            return self.left_out.add(Level::Market, json);
        }
        let [home, away] = teams.map(Option::unwrap_or_default);
        let mut outcomes = Vec::new();
        for line in lines.unwrap_or_default() {
            let unreadable = read_line(&mut outcomes, key, home, away, line.get());
            (0..unreadable).for_each(|_| self.left_out.add(Level::Outcome, line.get()));
        }
        let now = self.query.now;
        // Upstream can't have seen a price later than now.
        let last_update = market.updated_at.value().unwrap_or(now).min(now);
        if !outcomes.is_empty() {
            self.quotes_of(id).insert(place, Market { last_update, outcomes: Outcomes::new(outcomes) });
        }
    }

    fn quotes_of(&mut self, id: &EventId) -> &mut Quotes {
        &mut self.events.0.get_mut(id).expect("only known events are read").quotes
    }

    /// Returns the answer and all events. Fails if no event can be read.
    pub(super) fn finish(self, credits: Credits, cost: f64) -> Result<(Answer, Events), SourceError> {
        let Self { query, bookmakers, events, entries, left_out } = self;
        left_out.log(&query.sport);
        if entries > 0 && left_out.counts.count(Level::Event) == entries as u64 {
            let reason = format!("none of the {entries} events can be read");
            return Err(SourceError::WrongFormat { reason, credits, cost });
        }
        let mut answer = Answer { credits, cost, unreadable: left_out.counts, ..Answer::default() };
        for (id, ReadEvent { details, is_complete, quotes }) in events.0.clone() {
            for ((bookmaker, _), market) in &quotes {
                let newest = answer.bookmakers.entry(bookmaker.clone()).or_insert(market.last_update);
                *newest = market.last_update.max(*newest);
            }
            match details {
                Some(details) if is_complete => {
                    answer.events.push((id, Image { polled_at: query.now, details, quotes }));
                }
                details => answer.incomplete.push(IncompleteEvent { id, polled_at: query.now, quotes, details }),
            }
        }
        for bookmaker in bookmakers.iter().filter(|it| answer.bookmakers.contains_key(&it.key)) {
            answer.bookmaker_names.insert(bookmaker.key.clone(), bookmaker.name.clone());
        }
        Ok((answer, events))
    }
}

/// Reads a line, and returns how many of its outcomes can't be read.
fn read_line(outcomes: &mut Vec<Outcome>, market: &str, home: &str, away: &str, json: &str) -> usize {
    let Ok(line) = serde_json::from_str::<ApiLine>(json) else { return 1 };
    let point = match (market, line.hdp) {
        ("h2h", _) => None,
        (_, Field::Is(Number(point))) => Some(point),
        _ => return 1,
    };
    let sides = match market {
        "totals" => vec![("Over", line.over, point), ("Under", line.under, point)],
        "spreads" => vec![(home, line.home, point), (away, line.away, point.map(Decimal::negated))],
        _ => vec![(home, line.home, None), ("Draw", line.draw, None), (away, line.away, None)],
    };
    let mut unreadable = 0;
    for (name, price, point) in sides {
        match price {
            Field::Is(Number(price)) if price.is_decimal_odds() && name.len() <= MAX_TEXT => {
                outcomes.push(Outcome { name: name.to_owned(), price, point, description: None });
            }
            Field::Missing => {}
            Field::Is(_) | Field::Unreadable => unreadable += 1,
        }
    }
    unreadable
}

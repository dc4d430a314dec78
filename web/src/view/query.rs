//! The visitor's query: what to show and how. What is shown is part of the address; the visitor's own settings are not,
//! so that a link that somebody shares doesn't change them. Both are kept between visits.

use std::collections::BTreeSet;

use odds::{MarketKey, Timestamp};
use serde::Serialize;

use super::{
    Key,
    event::{EventView, Line},
    format::{OddsFormat, day_of},
    gathered,
    names::folded,
};
use crate::text;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum When {
    #[default]
    Any,
    Started,
    Today,
    Tomorrow,
}

impl When {
    pub(crate) const ALL: [Self; 4] = [Self::Any, Self::Started, Self::Today, Self::Tomorrow];

    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Started => "started",
            Self::Today => "today",
            Self::Tomorrow => "tomorrow",
        }
    }

    fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|when| when.key() == key)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    /// Part of a team's name.
    pub(crate) text: String,
    pub(crate) when: When,
    pub(crate) market: String,
    /// Empty for all.
    pub(crate) sports: BTreeSet<Key>,
    /// Empty for all.
    pub(crate) bookmakers: BTreeSet<Key>,
    /// What events are ordered by: a key of `text::SORTS`.
    pub(crate) sort: &'static str,
    /// Bookmakers whose columns come first, in this order.
    pub(crate) mine: Vec<Key>,
    /// Bookmakers without a column.
    pub(crate) hidden: BTreeSet<Key>,
    pub(crate) format: OddsFormat,
    /// Events at the top of the board.
    pub(crate) pinned: BTreeSet<Key>,
    /// A key of `text::DENSITIES`.
    pub(crate) density: &'static str,
    /// A key of `text::THEMES`.
    pub(crate) theme: &'static str,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: String::new(),
            when: When::default(),
            market: "h2h".into(),
            sports: BTreeSet::new(),
            bookmakers: BTreeSet::new(),
            sort: text::SORTS[0].0,
            mine: Vec::new(),
            hidden: BTreeSet::new(),
            format: OddsFormat::default(),
            pinned: BTreeSet::new(),
            density: text::DENSITIES[0].0,
            theme: text::THEMES[0].0,
        }
    }
}

impl Query {
    /// Returns what is shown as parameters of the address, without those that have their default.
    pub(crate) fn view_pairs(&self) -> Pairs {
        let default = Self::default();
        changed(vec![
            ("q", self.text.clone(), default.text),
            ("when", self.when.key().into(), default.when.key().into()),
            ("market", self.market.clone(), default.market),
            ("sport", list(&self.sports), String::new()),
            ("bookmaker", list(&self.bookmakers), String::new()),
            ("sort", self.sort.into(), default.sort.into()),
        ])
    }

    /// The same for the visitor's own settings.
    pub(crate) fn own_pairs(&self) -> Pairs {
        changed(vec![
            ("mine", list(&self.mine), String::new()),
            ("hide", list(&self.hidden), String::new()),
            ("odds", self.format.key().into(), OddsFormat::default().key().into()),
            ("pin", list(&self.pinned), String::new()),
            ("density", self.density.into(), text::DENSITIES[0].0.into()),
            ("theme", self.theme.into(), text::THEMES[0].0.into()),
        ])
    }

    /// Whether this parameter of an address says what is shown.
    pub(crate) fn is_view(name: &str) -> bool {
        ["q", "when", "market", "sport", "bookmaker", "sort"].contains(&name)
    }

    /// Reads parameters. Unknown ones are ignored, and invalid values become the default: the gateway would refuse them.
    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut query = Self::default();
        query.read(pairs);
        query
    }

    /// Replaces the visitor's own settings by those in these parameters.
    pub(crate) fn set_own(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        let own = Self::from_pairs(pairs);
        *self = Self {
            text: std::mem::take(&mut self.text),
            when: self.when,
            market: std::mem::take(&mut self.market),
            sports: std::mem::take(&mut self.sports),
            bookmakers: std::mem::take(&mut self.bookmakers),
            sort: self.sort,
            ..own
        };
    }

    /// The same without what narrows the view; the visitor's own settings stay.
    pub(crate) fn everything(&self) -> Self {
        let mut query = Self::default();
        query.set_own(self.own_pairs().into_iter().map(|(name, value)| (name.to_owned(), value)));
        query
    }

    fn read(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        let keys = |value: &str| gathered(list_of(value));
        for (name, value) in pairs {
            match name.as_str() {
                "q" => self.text = value,
                "when" => self.when = When::from_key(&value).unwrap_or_default(),
                "market" if is_key(&value) => self.market = value,
                "sport" => self.sports = keys(&value),
                "bookmaker" => self.bookmakers = keys(&value),
                "sort" => self.sort = key_in(&text::SORTS, &value),
                "mine" => self.mine = list_of(&value),
                "hide" => self.hidden = keys(&value),
                "density" => self.density = key_in(&text::DENSITIES, &value),
                "theme" => self.theme = key_in(&text::THEMES, &value),
                "odds" => self.format = OddsFormat::from_key(&value).unwrap_or_default(),
                "pin" => self.pinned = keys(&value),
                _ => {}
            }
        }
    }

    /// Returns the filter for the gateway, which lets through only what is shown.
    pub(crate) fn filter(&self) -> Filter<'_> {
        let some = |names| Some(names).filter(|names: &&BTreeSet<Key>| !names.is_empty());
        Filter { sports: some(&self.sports), bookmakers: some(&self.bookmakers), markets: [&*self.market] }
    }

    pub(crate) fn toggle_pin(&mut self, id: &Key) {
        if !self.pinned.remove(id) {
            self.pinned.insert(id.clone());
        }
    }

    pub(crate) fn shows(&self, event: &EventView, now: Timestamp, minutes_ahead: i64) -> bool {
        let start = event.details.commence_time;
        let days = day_of(start, minutes_ahead) - day_of(now, minutes_ahead);
        let when = match self.when {
            When::Any => true,
            When::Started => event.has_started(now),
            When::Today => days == 0,
            When::Tomorrow => days == 1,
        };
        let text = folded(self.text.trim());
        let details = &event.details;
        let names = [details.home_team.as_deref(), details.away_team.as_deref(), Some(&*details.sport_title)];
        when && (text.is_empty() || names.into_iter().flatten().any(|name| folded(name).contains(&text)))
    }

    /// Returns a sort key for events: pinned first, then by what is chosen. By league, started ones come before others.
    /// `moved` is by how much of its price the event has moved.
    pub(crate) fn place_of(&self, event: &EventView, now: Timestamp, moved: f64) -> String {
        let details = &event.details;
        let is_pinned = self.pinned.contains(event.id.as_str());
        let place = match (is_pinned, event.has_started(now) && self.sort == "league") {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        let ten_thousandths = |share: f64| 50_000 + (share * 10_000.0).clamp(-49_999.0, 49_999.0) as i64;
        let by = match self.sort {
            "margin" => {
                let margin = event.main_line(&self.market).and_then(Line::margin);
                margin.map_or("none".to_owned(), |margin| format!("{:05}", ten_thousandths(margin)))
            }
            "movement" => format!("{:05}", ten_thousandths(-moved)),
            "league" => details.sport_title.clone(),
            _ => String::new(),
        };
        format!("{place} {by} {} {}", details.commence_time, event.id)
    }

    /// The heading above an event: its league, unless it is pinned or has started. None if events aren't ordered by it.
    pub(crate) fn heading<'a>(&self, event: &'a EventView, now: Timestamp) -> Option<&'a str> {
        if self.pinned.contains(event.id.as_str()) {
            return Some(text::PINNED);
        }
        let title = if event.has_started(now) { text::STARTED } else { &event.details.sport_title };
        (self.sort == "league").then_some(title)
    }
}

/// Parameters: their names and values.
pub(crate) type Pairs = Vec<(&'static str, String)>;

fn list<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    keys.into_iter().cloned().collect::<Vec<_>>().join(",")
}

fn list_of(value: &str) -> Vec<Key> {
    value.split(',').filter(|key| is_key(key)).map(Key::from).collect()
}

fn is_key(key: &str) -> bool {
    key.parse::<MarketKey>().is_ok()
}

/// The key in this list of keys and names, or else the first.
pub(crate) fn key_in(all: &[(&'static str, &'static str)], key: &str) -> &'static str {
    all.iter().find(|(known, _)| *known == key).unwrap_or(&all[0]).0
}

/// The names and values of those that don't have their default.
fn changed(all: Vec<(&'static str, String, String)>) -> Pairs {
    all.into_iter().filter(|(_, value, default)| value != default).map(|(name, value, _)| (name, value)).collect()
}

/// A filter of the protocol. A field that is left out lets everything through.
#[derive(Serialize)]
pub(crate) struct Filter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sports: Option<&'a BTreeSet<Key>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bookmakers: Option<&'a BTreeSet<Key>>,
    markets: [&'a str; 1],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_address_comes_back() {
        let query = Query {
            text: "leeds".into(),
            when: When::Today,
            market: "totals".into(),
            sports: ["soccer_epl".into(), "tennis_atp".into()].into(),
            bookmakers: ["bet365".into()].into(),
            sort: "margin",
            mine: vec!["unibet".into(), "bet365".into()],
            hidden: ["betfair".into()].into(),
            format: OddsFormat::American,
            pinned: ["e1".into()].into(),
            density: "comfortable",
            theme: "dark",
        };
        let owned = |pairs: Pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut same = Query::from_pairs(owned(query.view_pairs()));
        assert_eq!(same.own_pairs(), []);
        same.set_own(owned(query.own_pairs()));
        assert_eq!(same, query);
        assert!(query.view_pairs().iter().all(|(name, _)| Query::is_view(name)));
        assert!(query.own_pairs().iter().all(|(name, _)| !Query::is_view(name)));
        let everything = Query { sports: BTreeSet::new(), ..same.everything() };
        assert_eq!((everything.view_pairs(), everything.own_pairs()), (vec![], query.own_pairs()));
        assert_eq!((Query::default().view_pairs(), Query::default().own_pairs()), (vec![], vec![]));
    }

    #[test]
    fn what_the_gateway_would_refuse_is_not_asked_for() {
        let nonsense = [
            ("when", "never"),
            ("odds", "roman"),
            ("x", "y"),
            ("market", "a b"),
            ("sport", "a b,,\u{0}"),
            ("mine", "ä"),
        ];
        let nonsense = nonsense.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Query::from_pairs(nonsense), Query::default());
    }

    #[test]
    fn events_are_ordered_by_what_is_chosen() {
        let event = |id: &str, sport: &str, start: i64| EventView {
            id: id.parse().unwrap(),
            details: odds::Details {
                sport_key: "soccer_epl".parse().unwrap(),
                sport_title: sport.into(),
                commence_time: Timestamp::from_millis(start),
                home_team: None,
                away_team: None,
            },
            regions: Vec::new(),
            lines: Vec::new(),
            has_ended: false,
        };
        let now = Timestamp::from_millis(2_000_000);
        let events = [event("a", "EPL", 5_000_000), event("b", "AFL", 6_000_000), event("c", "NHL", 1_000_000)];
        let order = |query: &Query| {
            let moved = |event: &EventView| if event.id.as_str() == "b" { 0.2 } else { 0.1 };
            let sorted = crate::view::sorted(events.iter().collect(), |event| query.place_of(event, now, moved(event)));
            sorted
                .iter()
                .map(|event| (event.id.to_string(), query.heading(event, now).unwrap_or("none")))
                .collect::<Vec<_>>()
        };
        let mut query = Query { pinned: ["a".into()].into(), ..Query::default() };
        let of = |all: &[(&'static str, &'static str)]| {
            all.iter().map(|(id, title)| ((*id).to_owned(), *title)).collect::<Vec<_>>()
        };
        assert_eq!(order(&query), of(&[("a", "Pinned"), ("c", "Started"), ("b", "AFL")]));
        query.pinned.clear();
        query.sort = "start";
        assert_eq!(order(&query), of(&[("c", "none"), ("a", "none"), ("b", "none")]));
        query.sort = "movement";
        assert_eq!(order(&query), of(&[("b", "none"), ("c", "none"), ("a", "none")]));
    }

    #[test]
    fn the_gateway_is_asked_for_what_is_shown() {
        let query = Query { sports: ["soccer_epl".into()].into(), ..Query::default() };
        let filter = serde_json::to_string(&query.filter()).unwrap();
        assert_eq!(filter, r#"{"sports":["soccer_epl"],"markets":["h2h"]}"#);
    }
}

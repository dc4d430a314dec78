//! The visitor's query: what to show and how. It is part of the address and is kept between visits.

use std::collections::BTreeSet;

use odds::Timestamp;
use serde::Serialize;

use super::{
    Key,
    event::EventView,
    format::{OddsFormat, day_of},
    gathered,
    names::folded,
};

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

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Any => "Any time",
            Self::Started => "Started",
            Self::Today => "Today",
            Self::Tomorrow => "Tomorrow",
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
    /// Bookmakers whose columns come first.
    pub(crate) mine: BTreeSet<Key>,
    pub(crate) format: OddsFormat,
    /// Events at the top of the board.
    pub(crate) pinned: BTreeSet<Key>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: String::new(),
            when: When::default(),
            market: "h2h".into(),
            sports: BTreeSet::new(),
            bookmakers: BTreeSet::new(),
            mine: BTreeSet::new(),
            format: OddsFormat::default(),
            pinned: BTreeSet::new(),
        }
    }
}

impl Query {
    /// Returns the query as parameters of the address, without those that have their default.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let default = Self::default();
        let mut pairs = Vec::new();
        let mut add = |name, value: String, default: String| {
            if value != default {
                pairs.push((name, value));
            }
        };
        let list = |keys: &BTreeSet<Key>| keys.iter().cloned().collect::<Vec<_>>().join(",");
        add("q", self.text.clone(), default.text);
        add("when", self.when.key().into(), default.when.key().into());
        add("market", self.market.clone(), default.market);
        add("sport", list(&self.sports), String::new());
        add("bookmaker", list(&self.bookmakers), String::new());
        add("mine", list(&self.mine), String::new());
        add("odds", self.format.key().into(), default.format.key().into());
        add("pin", list(&self.pinned), String::new());
        pairs
    }

    /// Reads the parameters of an address. Unknown ones are ignored, and invalid values become the default.
    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut query = Self::default();
        let list = |value: &str| gathered(value.split(',').filter(|key| !key.is_empty()).map(Key::from));
        for (name, value) in pairs {
            match name.as_str() {
                "q" => query.text = value,
                "when" => query.when = When::from_key(&value).unwrap_or_default(),
                "market" => query.market = value,
                "sport" => query.sports = list(&value),
                "bookmaker" => query.bookmakers = list(&value),
                "mine" => query.mine = list(&value),
                "odds" => query.format = OddsFormat::from_key(&value).unwrap_or_default(),
                "pin" => query.pinned = list(&value),
                _ => {}
            }
        }
        query
    }

    /// Returns the filter for the gateway, which lets through only what is shown; all markets if an event is opened.
    pub(crate) fn filter(&self, opened: bool) -> Filter<'_> {
        let some = |names| Some(names).filter(|names: &&BTreeSet<Key>| !names.is_empty());
        Filter {
            sports: some(&self.sports),
            bookmakers: some(&self.bookmakers),
            markets: (!opened).then_some([&*self.market]),
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

    /// Returns a sort key for events: pinned first, then started ones, then by sport and start time.
    pub(crate) fn place_of(&self, event: &EventView, now: Timestamp) -> String {
        let details = &event.details;
        let place = match (self.pinned.contains(event.id.as_str()), event.has_started(now)) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        format!("{place} {} {} {}", details.sport_title, details.commence_time, event.id)
    }
}

/// A filter of the protocol. A field that is left out lets everything through.
#[derive(Serialize)]
pub(crate) struct Filter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sports: Option<&'a BTreeSet<Key>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bookmakers: Option<&'a BTreeSet<Key>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    markets: Option<[&'a str; 1]>,
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
            mine: ["bet365".into(), "unibet".into()].into(),
            format: OddsFormat::American,
            pinned: ["e1".into()].into(),
        };
        let pairs = query.pairs().into_iter().map(|(name, value)| (name.to_owned(), value));
        assert_eq!(Query::from_pairs(pairs), query);
        assert!(Query::default().pairs().is_empty());
        let nonsense = [("when", "never"), ("odds", "roman"), ("x", "y")];
        let nonsense = nonsense.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Query::from_pairs(nonsense), Query::default());
    }

    #[test]
    fn the_gateway_is_asked_for_what_is_shown() {
        let query = Query { sports: ["soccer_epl".into()].into(), ..Query::default() };
        let filter = |opened| serde_json::to_string(&query.filter(opened)).unwrap();
        assert_eq!(filter(false), r#"{"sports":["soccer_epl"],"markets":["h2h"]}"#);
        assert_eq!(filter(true), r#"{"sports":["soccer_epl"]}"#);
    }
}

//! Changes between two states of a board, and the events that they are applied to.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{BookmakerKey, Details, EventId, Image, Market, MarketKey, Outcomes, Quotes, SportKey, Timestamp};

/// An event on a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub details: Details,
    pub quotes: Quotes,
}

impl Event {
    pub fn image(&self, polled_at: Timestamp) -> Image {
        Image { polled_at, details: self.details.clone(), quotes: self.quotes.clone() }
    }
}

/// A change of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Removed { id: EventId },
    Changed { id: EventId, details: Option<Details>, quotes: Vec<QuoteChange> },
}

/// A quote that replaces the one before as a whole. Without outcomes, it is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct QuoteChange {
    pub bookmaker: BookmakerKey,
    pub market: MarketKey,
    pub last_update: Timestamp,
    pub outcomes: Outcomes,
}

impl Change {
    pub fn id(&self) -> &EventId {
        match self {
            Self::Removed { id } | Self::Changed { id, .. } => id,
        }
    }

    /// The quotes that changed. A removal has none.
    pub fn quotes(&self) -> &[QuoteChange] {
        match self {
            Self::Removed { .. } => &[],
            Self::Changed { quotes, .. } => quotes,
        }
    }

    /// Applies the change to the events of a board.
    pub fn apply_to(self, events: &mut BTreeMap<EventId, Event>) {
        let id = self.id().clone();
        let mut event = events.remove(&id);
        self.apply_to_event(&mut event);
        events.extend(event.map(|event| (id, event)));
    }

    /// Applies the change to its event, which is `None` while it is not on the board.
    pub fn apply_to_event(self, event: &mut Option<Event>) {
        let Self::Changed { details, quotes, .. } = self else {
            *event = None;
            return;
        };
        match (&mut *event, details) {
            (Some(event), Some(details)) => event.details = details,
            (Some(_), None) => {}
            (None, Some(details)) => *event = Some(Event { details, quotes: Quotes::new() }),
            // Prices of an event without details can't be shown.
            (None, None) => return,
        }
        let event = event.as_mut().expect("it was there or was just made");
        for quote in quotes {
            let key = (quote.bookmaker, quote.market);
            if quote.outcomes.is_empty() {
                event.quotes.remove(&key);
            } else {
                event.quotes.insert(key, Market { last_update: quote.last_update, outcomes: quote.outcomes });
            }
        }
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat {
            id: EventId,
            #[serde(default)]
            removed: bool,
            #[serde(default)]
            sport_key: Option<SportKey>,
            #[serde(default)]
            sport_title: String,
            #[serde(default)]
            commence_time: Timestamp,
            #[serde(default)]
            home_team: Option<String>,
            #[serde(default)]
            away_team: Option<String>,
            #[serde(default)]
            quotes: Vec<QuoteChange>,
        }
        let Flat { id, removed, sport_key, sport_title, commence_time, home_team, away_team, quotes } =
            Flat::deserialize(deserializer)?;
        if removed {
            return Ok(Self::Removed { id });
        }
        let details =
            sport_key.map(|sport_key| Details { sport_key, sport_title, commence_time, home_team, away_team });
        Ok(Self::Changed { id, details, quotes })
    }
}

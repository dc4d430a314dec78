//! What is shown, as plain values: how the boards of several regions become one, which line an event
//! is shown on, what is best, what is live. Nothing here knows a browser.

mod event;
mod format;
mod freshness;
mod names;
mod query;

pub(crate) use event::{EventView, Line, Offer, OutcomeView, merge};
pub(crate) use format::{OddsFormat, day_of, percent};
pub(crate) use freshness::Freshness;
pub(crate) use names::{bookmaker_title, market_title, pretty};
pub(crate) use query::{Query, When};

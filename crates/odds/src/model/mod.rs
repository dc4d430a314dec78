//! The data of an odds feed: events, quotes, prices and times.

mod canonical;
mod change;
mod decimal;
mod event;
mod region;
mod step;
mod timestamp;

pub use change::{Change, Event, QuoteChange};
pub use decimal::{Decimal, InvalidDecimal};
pub use event::{
    BookmakerKey, Details, EventId, Image, InvalidKey, Market, MarketKey, Outcome, Outcomes, Quotes, SportKey,
};
pub use region::{Region, UnknownRegion};
pub(crate) use step::plain;
pub use step::{StepId, Term};
pub use timestamp::{InvalidTimestamp, Timestamp};

//! Connected clients: their admission, their requests, and changes of their accounts.

mod account_changes;
mod admission;
mod alerts;
mod app_state;
mod connection;
mod requests;
mod slot;

pub(crate) use admission::serve;
pub(crate) use alerts::WaitingAlerts;
pub(crate) use app_state::{AppState, Limits, MOST_SENT_AWAY, SENT_AWAY_EVERY};

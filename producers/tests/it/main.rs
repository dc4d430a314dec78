//! Tests of producers: the odds API and its failures, the poll plan over months, and leaders and stand-bys on an
//! embedded cluster.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod cap;
mod leading;
mod months;
mod odds_api_io;
mod poll_plan;
mod simulator;
mod the_odds_api;
mod upstream;

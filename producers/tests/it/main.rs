//! Producers from outside: the odds API with all its moods, the plan of polls over months, and
//! leaders and stand-bys on an embedded cluster.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod cap;
mod leading;
mod months;
mod poll_plan;
mod simulator;
mod the_odds_api;
mod upstream;

//! Tests of the matcher: random steps, read in any order and with crashes, compared with crossings that are computed by
//! separate code.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod crossings;
mod owner;
mod random;
mod rules;
mod world;

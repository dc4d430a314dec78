//! Every store of accounts does the same.
#![expect(clippy::unwrap_used, reason = "tests")]

mod audit;
mod contract;
mod mongo;
mod sqlite;

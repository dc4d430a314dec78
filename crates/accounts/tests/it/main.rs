//! Tests of the account stores, which all meet the same contract, and of the audit log.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod audit;
mod contract;
mod contract_of_alerts;
mod mongo;
mod sign_in_code;
mod sqlite;

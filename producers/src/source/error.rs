//! Why a request to a source failed, and when to retry.

use std::time::Duration;

use odds::{Credits, Timestamp};

/// The earliest time for a retry, as upstream reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    In(Duration),
    At(Timestamp),
}

/// Why a request has no answer. Each kind is handled differently.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// No request will work until a person fixes the key.
    #[error("the odds API refuses the key ({code}): {message}")]
    BadKey { code: String, message: String },
    /// Only free requests work until the credits are renewed.
    #[error("the credits are used up")]
    OutOfCredits { credits: Credits, cost: f64 },
    /// The API does not offer this sport, or not these markets.
    #[error("the odds API refuses the request ({code}): {message}")]
    Refused { code: String, message: String, cost: f64 },
    #[error("too many requests")]
    TooFast { retry_after: Option<RetryAfter>, cost: f64 },
    /// A retry may work. The failed call may still have cost `cost`.
    #[error("the odds API fails: {reason}")]
    Outage { reason: String, retry_after: Option<RetryAfter>, cost: f64 },
    /// No part of the answer can be read.
    #[error("the odds API's answer has another format: {reason}")]
    WrongFormat { reason: String, credits: Credits, cost: f64 },
}

impl SourceError {
    /// The most credits that the failed call may have cost.
    pub fn cost(&self) -> f64 {
        match self {
            Self::OutOfCredits { cost, .. }
            | Self::Refused { cost, .. }
            | Self::TooFast { cost, .. }
            | Self::Outage { cost, .. }
            | Self::WrongFormat { cost, .. } => *cost,
            Self::BadKey { .. } => 0.0,
        }
    }

    /// Adds what earlier requests of the same call cost.
    pub(crate) fn after(mut self, earlier: f64) -> Self {
        match &mut self {
            Self::OutOfCredits { cost, .. }
            | Self::Refused { cost, .. }
            | Self::TooFast { cost, .. }
            | Self::Outage { cost, .. }
            | Self::WrongFormat { cost, .. } => *cost += earlier,
            Self::BadKey { .. } => {}
        }
        self
    }

    pub(crate) fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::TooFast { retry_after, .. } | Self::Outage { retry_after, .. } => *retry_after,
            Self::BadKey { .. } | Self::OutOfCredits { .. } | Self::Refused { .. } | Self::WrongFormat { .. } => None,
        }
    }
}

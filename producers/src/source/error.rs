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
    OutOfCredits(Credits),
    /// The API does not offer this sport, or not these markets.
    #[error("the odds API refuses the request ({code}): {message}")]
    Refused { code: String, message: String },
    #[error("too many requests")]
    TooFast { retry_after: Option<RetryAfter> },
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
            Self::Outage { cost, .. } | Self::WrongFormat { cost, .. } => *cost,
            Self::BadKey { .. } | Self::OutOfCredits(_) | Self::Refused { .. } | Self::TooFast { .. } => 0.0,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::TooFast { retry_after } | Self::Outage { retry_after, .. } => *retry_after,
            Self::BadKey { .. } | Self::OutOfCredits(_) | Self::Refused { .. } | Self::WrongFormat { .. } => None,
        }
    }
}

//! Why a source has no answer, and when to ask again.

use std::time::Duration;

use odds::{Credits, Timestamp};

/// When upstream wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    In(Duration),
    At(Timestamp),
}

/// Why there is no answer. Each kind is handled differently.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// Nothing will work until somebody fixes the key.
    #[error("the odds API refuses the key ({code}): {message}")]
    BadKey { code: String, message: String },
    /// Only free requests will work until the credits are renewed.
    #[error("the credits are used up")]
    OutOfCredits(Credits),
    /// The API does not offer this sport, or not these markets.
    #[error("the odds API refuses the request ({code}): {message}")]
    Refused { code: String, message: String },
    #[error("too many requests")]
    TooFast { retry_after: Option<RetryAfter> },
    /// It may work the next time. The call may have cost `cost` all the same.
    #[error("the odds API fails: {reason}")]
    Outage { reason: String, retry_after: Option<RetryAfter>, cost: f64 },
    /// Nothing in the answer can be read.
    #[error("the odds API's answer has another format: {reason}")]
    WrongFormat { reason: String, credits: Credits, cost: f64 },
}

impl SourceError {
    /// The most that the call may have cost.
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

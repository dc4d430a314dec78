//! Who is signed in.

use super::api::{Failure, Me};

/// Who is signed in, as far as is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Who {
    /// The request is pending.
    Unknown,
    /// The request failed.
    Unclear(Failure),
    Nobody {
        /// Why the visitor was signed out, if they were.
        notice: Option<&'static str>,
    },
    Somebody(Me),
}

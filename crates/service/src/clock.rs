//! The one place where the time of day is read.

use std::time::{SystemTime, UNIX_EPOCH};

use odds::Timestamp;

#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is to use")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

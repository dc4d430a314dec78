//! The only place that reads the system clock.

use std::time::{SystemTime, UNIX_EPOCH};

use odds::Timestamp;

#[expect(clippy::disallowed_methods, reason = "all other code reads the time through this function")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

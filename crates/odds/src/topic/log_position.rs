//! Where a step is in its log: what recorded steps are ordered by. Terms and clocks would be guesses: terms skip, and
//! clocks are wrong.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Marker;
use crate::{StepId, Timestamp};

/// A new log begins if the last step's time is further than this ahead of the leader's clock, because one of the two
/// clocks is wrong. Without this limit, one wrong clock would move the times of all later steps.
const MAX_AHEAD_MS: i64 = 3_600_000;

/// A log: steps of one topic that follow each other without a gap. Named by its first step, so that no two have the same
/// name. Later logs of a topic are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(StepId);

/// A step's place among all steps of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    pub log: LogId,
    /// Counts the steps of the log, from 1.
    pub seq: u64,
}

impl LogId {
    /// Bytes whose order is that of logs.
    pub fn to_be_bytes(self) -> [u8; 20] {
        self.0.to_be_bytes()
    }

    pub fn from_be_bytes(bytes: [u8; 20]) -> Self {
        Self(StepId::from_be_bytes(bytes))
    }
}

impl LogPosition {
    /// The greatest number of a step: programs in any language can read it. After it, a new log begins.
    pub const MAX_SEQ: u64 = 1 << 53;

    /// The position and the time of the step `id` after `last`. The time is that of the clock, or a millisecond after
    /// the last step if that is later.
    pub(super) fn after(last: Option<&Marker>, id: StepId, now: Timestamp) -> (Self, Timestamp) {
        let next = last.and_then(|last| {
            let LogPosition { log, seq } = last.position?;
            let is_plausible = last.at.millis_since(now) <= MAX_AHEAD_MS;
            let seq = seq.checked_add(1).filter(|seq| *seq <= Self::MAX_SEQ && is_plausible)?;
            Some((Self { log, seq }, now.max(last.at.plus_millis(1))))
        });
        next.unwrap_or((Self { log: LogId(id), seq: 1 }, now))
    }

    /// Whether this is the step right after `previous`.
    pub fn follows(self, previous: Self) -> bool {
        self.log == previous.log && previous.seq.checked_add(1) == Some(self.seq)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LogId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().map(Self)
    }
}

impl Serialize for LogId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|()| de::Error::custom("not the name of a log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;

    const HOUR: i64 = MAX_AHEAD_MS;

    fn marker(at: i64, position: Option<LogPosition>) -> Marker {
        let json = r#"{"digest":"00000000000000000000000000000001","at":"2026-11-21T12:00:00Z",
            "next_by":"2026-11-21T12:00:25Z","state":"live","source":"test"}"#;
        Marker { at: Timestamp::from_millis(at), position, ..serde_json::from_str(json).unwrap() }
    }

    fn log(term: u64) -> LogId {
        LogId(StepId::new(Term::new(term, 0), 3))
    }

    fn after(last: &Marker, term: u64, now: i64) -> (u64, u64, i64) {
        let (position, at) = LogPosition::after(Some(last), log(term).0, Timestamp::from_millis(now));
        let log = (1..10).find(|term| position.log == log(*term)).unwrap();
        (log, position.seq, at.as_millis())
    }

    #[test]
    fn a_step_continues_the_log_of_the_last_one_with_a_later_time() {
        let position = |seq| Some(LogPosition { log: log(1), seq });
        assert_eq!(after(&marker(10 * HOUR, position(4)), 2, 10 * HOUR + 70), (1, 5, 10 * HOUR + 70));
        assert_eq!(after(&marker(10 * HOUR, position(4)), 2, 9 * HOUR), (1, 5, 10 * HOUR + 1), "the clock is behind");
        assert_eq!(after(&marker(10 * HOUR, position(4)), 2, 10 * HOUR), (1, 5, 10 * HOUR + 1));
    }

    #[test]
    fn a_new_log_begins_where_the_last_step_can_not_be_continued() {
        let position = |seq| Some(LogPosition { log: log(1), seq });
        let (first, at) = LogPosition::after(None, log(2).0, Timestamp::from_millis(7));
        assert_eq!((first, at.as_millis()), (LogPosition { log: log(2), seq: 1 }, 7));
        assert_eq!(after(&marker(10, None), 2, 70), (2, 1, 70), "its leader was of an earlier version");
        assert_eq!(after(&marker(10 * HOUR, position(4)), 2, 9 * HOUR - 1), (2, 1, 9 * HOUR - 1), "a clock is wrong");
        assert_eq!(after(&marker(10, position(LogPosition::MAX_SEQ)), 2, 70), (2, 1, 70));
        assert_eq!(after(&marker(10, position(u64::MAX)), 2, 70), (2, 1, 70), "nothing overflows");
    }
}

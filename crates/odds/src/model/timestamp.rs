//! Points in time: milliseconds since 1970 in UTC, written as RFC 3339.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// RFC 3339 can express the years 0 to 9999.
const EARLIEST: i64 = -62_167_219_200_000;
const LATEST: i64 = 253_402_300_799_999;

impl Timestamp {
    /// Clamps to the years 0 to 9999.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < EARLIEST {
            Self(EARLIEST)
        } else if millis > LATEST {
            Self(LATEST)
        } else {
            Self(millis)
        }
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`; negative if this is before it.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time like 2026-11-21T12:00:00Z")]
pub struct InvalidTimestamp(pub String);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp(text.to_owned()))?;
        Ok(Self::from_millis(moment.unix_timestamp() * 1000 + i64::from(moment.millisecond())))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).map_err(|_| fmt::Error)?;
        // Frames contain many timestamps, and no formatter is as fast as writing digits over a template.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: std::ops::Range<usize>, mut number: u32| {
            for digit in text[at].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, moment.year().unsigned_abs());
        put(5..7, u8::from(moment.month()).into());
        put(8..10, moment.day().into());
        put(11..13, moment.hour().into());
        put(14..16, moment.minute().into());
        put(17..19, moment.second().into());
        let millis = self.0.rem_euclid(1000) as u32;
        put(20..23, millis);
        if millis == 0 {
            text[19] = b'Z';
        }
        let length = if millis == 0 { 20 } else { 24 };
        f.write_str(str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time like 2026-11-21T12:00:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_written_in_utc() {
        for (read, written) in [
            ("2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z"),
            ("2026-11-21T12:00:00.250Z", "2026-11-21T12:00:00.250Z"),
            ("2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00Z"),
            ("2026-11-21T12:00:00.123999Z", "2026-11-21T12:00:00.123Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(read.parse::<Timestamp>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn the_extremes_can_be_written() {
        for millis in [i64::MIN, i64::MAX] {
            let text = Timestamp::from_millis(millis).to_string();
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn text_that_is_not_a_time_is_an_error() {
        for text in ["", "yesterday", "2026-11-21", "2026-13-01T00:00:00Z", "1732190400"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}

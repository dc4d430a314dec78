//! Where users are reached when they don't watch: their e-mail address and phone number.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use jiff::{Timestamp as Moment, tz::TimeZone};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    store::StoreError,
    user::{User, UserId},
};

const DAY_MINUTES: u16 = 24 * 60;

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactKind {
    Email,
    Phone,
}

/// A user's addresses, and when messages may be sent there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Contact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Contact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// When messages were sent that anybody can ask for, in the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) asked: Vec<Timestamp>,
}

/// An address. Whoever sets it has checked what it looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub address: String,
    /// When it was shown to be the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// Whether alerts are sent there.
    pub alerts: bool,
    /// The code that was sent to a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<SentCode>,
}

/// A code that was sent, without the code itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentCode {
    pub(crate) nonce: String,
    pub(crate) until: Timestamp,
    /// How often it may still be entered.
    pub(crate) tries: u32,
}

impl Contacts {
    pub fn get(&self, kind: ContactKind) -> Option<&Contact> {
        match kind {
            ContactKind::Email => self.email.as_ref(),
            ContactKind::Phone => self.phone.as_ref(),
        }
    }

    pub(crate) fn of_kind(&mut self, kind: ContactKind) -> &mut Option<Contact> {
        match kind {
            ContactKind::Email => &mut self.email,
            ContactKind::Phone => &mut self.phone,
        }
    }

    /// The address, if it is confirmed.
    pub fn confirmed(&self, kind: ContactKind) -> Option<&str> {
        self.get(kind).filter(|it| it.confirmed_at.is_some()).map(|it| it.address.as_str())
    }

    /// By which its user is found.
    pub(crate) fn email_key(&self) -> Option<String> {
        self.confirmed(ContactKind::Email).map(email_key)
    }
}

/// An e-mail address without its case, which hardly any mail server tells apart.
pub(crate) fn email_key(address: &str) -> String {
    address.to_lowercase()
}

/// A time of day, as `22:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayTime(u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuietHours {
    #[error("expected a time of day, such as 22:00")]
    Time,
    #[error("expected a time zone, such as Europe/London")]
    Zone,
    #[error("they begin when they end")]
    Empty,
}

impl FromStr for DayTime {
    type Err = InvalidQuietHours;

    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        let two = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
        let parsed = text.split_once(':').and_then(|(hours, minutes)| Some((two(hours)?, two(minutes)?)));
        match parsed {
            Some((hours, minutes)) if hours < 24 && minutes < 60 => Ok(Self(60 * hours + minutes)),
            _ => Err(InvalidQuietHours::Time),
        }
    }
}

impl fmt::Display for DayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl TryFrom<String> for DayTime {
    type Error = InvalidQuietHours;

    fn try_from(text: String) -> Result<Self, InvalidQuietHours> {
        text.parse()
    }
}

impl From<DayTime> for String {
    fn from(time: DayTime) -> Self {
        time.to_string()
    }
}

/// The hours in which no alerts are sent, where the user lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    pub from: DayTime,
    pub until: DayTime,
    pub time_zone: String,
}

impl QuietHours {
    pub fn new(from: &str, until: &str, time_zone: &str) -> Result<Self, InvalidQuietHours> {
        let quiet = Self { from: from.parse()?, until: until.parse()?, time_zone: time_zone.to_owned() };
        if quiet.from == quiet.until {
            return Err(InvalidQuietHours::Empty);
        }
        TimeZone::get(time_zone).map_err(|_| InvalidQuietHours::Zone)?;
        Ok(quiet)
    }

    /// The time of day there, in minutes.
    fn minute_of(&self, at: Timestamp) -> u16 {
        // A zone that is not known any more is taken for UTC.
        let zone = TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC);
        let moment = Moment::from_millisecond(at.as_millis()).unwrap_or(Moment::UNIX_EPOCH).to_zoned(zone);
        60 * moment.hour().unsigned_abs() as u16 + moment.minute().unsigned_abs() as u16
    }

    pub fn contain(&self, at: Timestamp) -> bool {
        let (minute, from, until) = (self.minute_of(at), self.from.0, self.until.0);
        if from < until { (from..until).contains(&minute) } else { minute >= from || minute < until }
    }

    /// When they begin next, to the minute. Where clocks are changed in between, up to an hour earlier or later.
    pub fn next_after(&self, at: Timestamp) -> Timestamp {
        let minutes = (DAY_MINUTES + self.from.0 - self.minute_of(at) - 1) % DAY_MINUTES + 1;
        at.plus_millis(i64::from(minutes) * 60_000 - at.as_millis().rem_euclid(60_000))
    }
}

/// Users' addresses. Several gateways and notifiers may use the same store.
#[async_trait]
pub trait ContactStore {
    /// A user's addresses, and the version to change them by; `None` if there is no such user.
    async fn contacts(&self, user: &UserId) -> Result<Option<(Contacts, u64)>, StoreError>;
    /// Replaces the addresses, if they have this version. Returns whether they had.
    async fn set_contacts(&self, user: &UserId, version: u64, contacts: &Contacts) -> Result<bool, StoreError>;
    /// Up to `most` users who have shown that this e-mail address, in any case, is theirs.
    async fn users_with_email(&self, email: &str, most: usize) -> Result<Vec<User>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn quiet_hours_are_those_where_the_user_lives() {
        let night = QuietHours::new("22:00", "07:30", "Europe/London").unwrap();
        for (time, quiet) in [
            ("2026-01-01T21:59:59Z", false),
            ("2026-01-01T22:00:00Z", true),
            ("2026-01-02T07:29:59Z", true),
            ("2026-01-02T07:30:00Z", false),
            // An hour ahead in summer.
            ("2026-07-01T20:59:59Z", false),
            ("2026-07-01T21:00:00Z", true),
        ] {
            assert_eq!(night.contain(at(time)), quiet, "{time}");
        }
        let noon = QuietHours::new("12:00", "13:00", "Asia/Kolkata").unwrap();
        assert!(noon.contain(at("2026-01-01T06:30:00Z")) && !noon.contain(at("2026-01-01T07:30:00Z")));
        assert_eq!(noon.next_after(at("2026-01-01T06:29:30Z")), at("2026-01-01T06:30:00Z"));
        assert_eq!(noon.next_after(at("2026-01-01T06:30:00Z")), at("2026-01-02T06:30:00Z"));
    }

    #[test]
    fn quiet_hours_that_make_no_sense_are_refused() {
        for (from, until, zone, error) in [
            ("24:00", "07:00", "UTC", InvalidQuietHours::Time),
            ("22", "07:00", "UTC", InvalidQuietHours::Time),
            ("22:00", "7:00", "UTC", InvalidQuietHours::Time),
            ("+1:00", "07:00", "UTC", InvalidQuietHours::Time),
            ("22:00", "22:00", "UTC", InvalidQuietHours::Empty),
            ("22:00", "07:00", "Mars/Olympus", InvalidQuietHours::Zone),
            ("22:00", "07:00", "", InvalidQuietHours::Zone),
        ] {
            assert_eq!(QuietHours::new(from, until, zone), Err(error), "{from} {until} {zone}");
        }
        let text = serde_json::to_string(&QuietHours::new("22:00", "07:05", "UTC").unwrap()).unwrap();
        assert_eq!(text, r#"{"from":"22:00","until":"07:05","time_zone":"UTC"}"#);
        assert!(serde_json::from_str::<QuietHours>(&text.replace("22", "99")).is_err());
    }
}

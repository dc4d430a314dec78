//! The report of one program.

use std::collections::BTreeMap;

use odds::Timestamp;
use serde::{Deserialize, Serialize};
use service::Trouble;

use crate::values::{Sports, Values};

/// What a program says of itself, every few seconds. Readers skip fields that they don't know, and a later form of a
/// report keeps those that are here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub v: u32,
    /// The program's name, such as `gateway`.
    pub role: String,
    /// Tells programs of one name apart.
    pub instance: String,
    /// Absent if it was reported not long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it started.
    pub since: Timestamp,
    pub at: Timestamp,
    /// Its most important metrics.
    #[serde(default)]
    pub values: Values,
    /// The sports that it polls, by region. Absent if they were reported not long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sports: Option<Sports>,
    /// Its clients, if it is a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// How much memory it uses, in bytes. Absent if it was reported not long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What it has logged as a warning or an error, the oldest first. Absent if it was reported not long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubles: Option<Vec<LoggedTrouble>>,
    /// It was asked to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// It ends because something went wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// The clients of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// How many users are connected.
    pub users: u64,
    /// How many connections some of them have, by id: those with the most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub most: BTreeMap<String, u64>,
    /// Those that have not taken what they were sent for the longest time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<SlowClient>,
}

/// A client that does not take what it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowClient {
    /// Its socket.
    pub id: String,
    /// Its user's id.
    pub user: String,
    pub since: Timestamp,
}

/// A warning or an error in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedTrouble {
    pub at: Timestamp,
    pub level: String,
    pub text: String,
    /// How often, if more than once.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u64,
}

fn once() -> u64 {
    1
}

fn is_once(count: &u64) -> bool {
    *count == 1
}

impl Report {
    pub(crate) const VERSION: u32 = 2;

    /// Its name and instance, which are the key of its records: the newest replaces those before it.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.role, self.instance)
    }
}

impl From<Trouble> for LoggedTrouble {
    fn from(Trouble { at, is_error, text, count }: Trouble) -> Self {
        Self { at, level: if is_error { "error" } else { "warning" }.to_owned(), text, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_later_version_can_be_read() {
        let text = r#"{ "v": 2, "role": "gateway", "instance": "a", "version": "9", "since": "2026-01-01T00:00:00Z",
            "at": "2026-01-01T00:01:00Z", "values": { "gateway_connections": 3 }, "mood": "good", "sports": { "uk": { "golf": [60.0, null] } } }"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((report.v, report.key().as_str(), report.ends), (2, "gateway a", false));
        assert_eq!(report.sports.as_ref().unwrap()["uk"]["golf"].0, Some(60.0));
        assert_eq!(report.values.one("gateway_connections"), Some(3.0));
    }
}

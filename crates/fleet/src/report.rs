//! The report of one program.

use odds::Timestamp;
use serde::{Deserialize, Serialize};
use service::Trouble;

use crate::values::Values;

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
    pub version: String,
    /// When it started.
    pub since: Timestamp,
    pub at: Timestamp,
    /// Its most important metrics.
    #[serde(default)]
    pub values: Values,
    /// What it has logged as a warning or an error, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<LoggedTrouble>,
    /// It was asked to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
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
    pub(crate) const VERSION: u32 = 1;

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
            "at": "2026-01-01T00:01:00Z", "values": { "gateway_connections": 3 }, "mood": "good" }"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((report.v, report.key().as_str(), report.ends), (2, "gateway a", false));
        assert_eq!(report.values.one("gateway_connections"), Some(3.0));
    }
}

//! `auth`: what a client sends when it connects.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use serde_json::Value;

use crate::{Cursor, Filter, InvalidReplay, PROTOCOL_VERSION, Region, Replay, UnknownRegion};

/// Valid values of `max_rate`, in frames a second.
const RATES: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;

/// The parsed `auth` of a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hello {
    pub token: Option<String>,
    /// Regions for this connection only, instead of those of the account.
    pub regions: Option<BTreeSet<Region>>,
    pub resume: HashMap<Region, Cursor>,
    pub filter: Filter,
    /// The least time between two frames, from `max_rate`.
    pub gap: Option<Duration>,
    /// The past that the client wants instead of the present.
    pub replay: Option<Replay>,
    /// The last alert that the client has: it gets those after it.
    pub alerts: Option<String>,
    /// Whether each complete frame must have the digest of the client's board.
    pub digest: bool,
    /// Whether the client wants what operators see.
    pub operator: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadHello {
    pub field: &'static str,
    reason: String,
}

fn bad(field: &'static str, reason: impl Into<String>) -> BadHello {
    BadHello { field, reason: reason.into() }
}

impl BadHello {
    pub fn not_json() -> Self {
        bad("auth", "expected JSON")
    }

    pub fn replay(error: &InvalidReplay) -> Self {
        bad("replay", error.to_string())
    }
}

impl Hello {
    /// Parses `auth`. Unknown fields are ignored, and an invalid cursor leads to a snapshot. Every field but the token
    /// may be JSON text, because some client libraries can only send strings.
    pub fn read(auth: &Value) -> Result<Self, BadHello> {
        if auth.is_null() {
            return Ok(Self::default());
        }
        let auth = auth.as_object().ok_or_else(|| bad("auth", "expected an object"))?;
        let given = |field: &str| auth.get(field).filter(|value| !value.is_null());
        let decoded = |field: &str| given(field).map(decoded);
        if let Some(v) = decoded("v")
            && v.as_u64() != Some(u64::from(PROTOCOL_VERSION))
        {
            return Err(bad("v", format!("this gateway speaks version {PROTOCOL_VERSION}")));
        }
        let token = given("token").map(|token| token.as_str().ok_or_else(|| bad("token", "expected a string")));
        let regions =
            decoded("regions").map(|it| read_regions(&it)).transpose().map_err(|reason| bad("regions", reason))?;
        let resume = decoded("resume");
        let resume = resume.as_deref().map(|it| it.as_object().ok_or_else(|| bad("resume", "expected an object")));
        let resume = resume.transpose()?.into_iter().flatten();
        let cursor = |(region, cursor): (&String, &Value)| Some((region.parse().ok()?, cursor.as_str()?.parse().ok()?));
        let filter = decoded("filter").map(|it| Filter::from_value(&it)).transpose();
        let filter = filter.map_err(|error| bad("filter", error.to_string()))?.unwrap_or_default();
        let rate = decoded("max_rate").map(|rate| {
            let rate = rate.as_f64().filter(|rate| RATES.contains(rate));
            rate.ok_or_else(|| bad("max_rate", format!("expected a number from {} to {}", RATES.start(), RATES.end())))
        });
        let replay = decoded("replay").map(|it| Replay::from_value(&it)).transpose();
        let replay = replay.map_err(|error| BadHello::replay(&error))?;
        let digest = decoded("digest").map(|it| it.as_bool().ok_or_else(|| bad("digest", "expected true or false")));
        let alerts = given("alerts").map(|id| id.as_str().ok_or_else(|| bad("alerts", "expected the id of an alert")));
        Ok(Self {
            token: token.transpose()?.map(str::to_owned),
            regions,
            resume: resume.filter_map(cursor).collect(),
            filter,
            gap: rate.transpose()?.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            replay,
            alerts: alerts.transpose()?.map(str::to_owned),
            digest: digest.transpose()?.unwrap_or_default(),
            // Whatever it is, those who are no operators get no other answer than without it.
            operator: decoded("operator").is_some_and(|it| it.as_bool() == Some(true)),
        })
    }
}

/// Parses a string as JSON. A string that isn't JSON stays as it is, and the field's own check rejects it.
fn decoded(value: &Value) -> Cow<'_, Value> {
    let text = value.as_str().and_then(|text| serde_json::from_str(text).ok());
    text.map_or(Cow::Borrowed(value), Cow::Owned)
}

/// Parses a list of regions. The error names the first that isn't one.
pub fn read_regions(value: &Value) -> Result<BTreeSet<Region>, String> {
    let list = value.as_array().ok_or("expected a list of regions")?;
    let region = |value: &Value| {
        let name = value.as_str().ok_or_else(|| format!("{value} is not a region"))?;
        name.parse().map_err(|error: UnknownRegion| error.to_string())
    };
    list.iter().map(region).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_is_optional() {
        assert_eq!(Hello::read(&Value::Null), Ok(Hello::default()));
        assert_eq!(Hello::read(&json!({ "later": 1, "resume": null })), Ok(Hello::default()));
    }

    #[test]
    fn given_fields_are_read() {
        let cursor = "1.2-3-99aa06d3014798d86001c324468d497f";
        let hello = Hello::read(&json!({
            "v": 1, "token": "tb_x", "regions": ["uk", "us", "uk"], "max_rate": 4,
            "resume": { "us": cursor, "uk": "nonsense", "mars": cursor },
            "filter": { "sports": ["soccer_epl"] }, "replay": { "at": "2026-11-21T12:00:00Z" }, "alerts": "a-1-2",
        }))
        .unwrap();
        assert_eq!(hello.token.as_deref(), Some("tb_x"));
        assert_eq!(hello.regions, Some([Region::Us, Region::Uk].into()));
        assert_eq!(hello.resume, HashMap::from([(Region::Us, cursor.parse().unwrap())]));
        assert_eq!(hello.gap, Some(Duration::from_millis(250)));
        assert!(!hello.filter.is_all());
        assert_eq!(hello.alerts.as_deref(), Some("a-1-2"));
        assert_eq!(hello.replay.map(|it| it.speed), Some(Some(1.0)));
    }

    #[test]
    fn every_field_may_be_json_text() {
        let cursor = "1.2-3-99aa06d3014798d86001c324468d497f";
        let plain = json!({
            "v": 1, "token": "tb_x", "regions": ["uk", "us"], "max_rate": 4,
            "resume": { "us": cursor }, "filter": { "sports": ["soccer_epl"] },
            "replay": { "at": "2026-11-21T12:00:00Z", "speed": 2 },
        });
        let texts = plain.as_object().unwrap().iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), Value::String(text))
        });
        assert_eq!(Hello::read(&Value::Object(texts.collect())), Hello::read(&plain));
        // A token is always a string, even if it looks like JSON.
        assert_eq!(Hello::read(&json!({ "token": "7" })).unwrap().token.as_deref(), Some("7"));
    }

    #[test]
    fn the_wrong_field_is_named() {
        for (auth, field) in [
            (json!([]), "auth"),
            (json!({ "v": 2 }), "v"),
            (json!({ "token": 7 }), "token"),
            (json!({ "regions": ["us", "xx"] }), "regions"),
            (json!({ "regions": "us" }), "regions"),
            (json!({ "resume": [] }), "resume"),
            (json!({ "filter": { "sport": [] } }), "filter"),
            (json!({ "max_rate": 0 }), "max_rate"),
            (json!({ "max_rate": "fast" }), "max_rate"),
            (json!({ "regions": "[\"xx\"]" }), "regions"),
            (json!({ "resume": "[]" }), "resume"),
            (json!({ "v": "2" }), "v"),
            (json!({ "replay": { "speed": 2 } }), "replay"),
            (json!({ "alerts": 7 }), "alerts"),
        ] {
            assert_eq!(Hello::read(&auth).unwrap_err().field, field, "{auth}");
        }
    }
}

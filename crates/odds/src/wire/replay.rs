//! `auth.replay`: a connection that gets the past instead of the present.

use serde_json::Value;

use crate::Timestamp;

/// Valid speeds, relative to reality; 0 is as fast as the client takes it.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;

/// What a client wants to be replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// The time to begin at.
    pub at: Timestamp,
    /// How many seconds pass in one. `None`: as fast as the client takes it.
    pub speed: Option<f64>,
    /// The last time. Without it, all that is recorded is replayed.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidReplay(String);

fn invalid(reason: impl Into<String>) -> InvalidReplay {
    InvalidReplay(reason.into())
}

impl Replay {
    /// Parses `{ at, speed?, until? }`. Unknown fields are ignored.
    pub fn from_value(value: &Value) -> Result<Self, InvalidReplay> {
        let fields = value.as_object().ok_or_else(|| invalid("expected an object with `at`"))?;
        let given = |field: &str| fields.get(field).filter(|value| !value.is_null());
        let time = |field: &str| {
            let time = given(field).map(|value| value.as_str().unwrap_or_default().parse::<Timestamp>());
            time.transpose().map_err(|error| invalid(format!("{field}: {error}")))
        };
        let speed = given("speed").map(|value| {
            let speed = value.as_f64().filter(|speed| *speed == 0.0 || SPEEDS.contains(speed));
            let (least, most) = (SPEEDS.start(), SPEEDS.end());
            speed.ok_or_else(|| invalid(format!("speed: expected 0, or a number from {least} to {most}")))
        });
        let speed = speed.transpose()?.unwrap_or(1.0);
        let at = time("at")?.ok_or_else(|| invalid("at: expected the time to begin at"))?;
        let until = time("until")?;
        if until.is_some_and(|until| until < at) {
            return Err(invalid("until: it is before the beginning"));
        }
        Ok(Self { at, speed: (speed > 0.0).then_some(speed), until })
    }

    /// Parses the query of an address, `replay=TIME&speed=NUMBER&until=TIME`. `None` if it has no `replay`. So a client
    /// whose `auth` can't be changed can be given a replay.
    pub fn from_query<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, InvalidReplay> {
        let mut fields = serde_json::Map::new();
        for (name, value) in parameters {
            let (name, value) = match name {
                "replay" => ("at", Value::from(value)),
                "speed" => ("speed", value.parse::<f64>().map_or_else(|_| Value::from(value), Value::from)),
                "until" => ("until", Value::from(value)),
                _ => continue,
            };
            fields.insert(name.to_owned(), value);
        }
        fields.contains_key("at").then(|| Self::from_value(&Value::Object(fields))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: &str = "2026-11-21T12:00:00Z";
    const LATER: &str = "2026-11-21T12:10:00Z";

    fn replay(speed: Option<f64>, until: Option<&str>) -> Replay {
        Replay { at: AT.parse().unwrap(), speed, until: until.map(|it| it.parse().unwrap()) }
    }

    #[test]
    fn a_speed_is_a_number_and_the_default_is_that_of_reality() {
        assert_eq!(Replay::from_value(&json!({ "at": AT, "later": 1 })), Ok(replay(Some(1.0), None)));
        let given = json!({ "at": AT, "speed": 60, "until": LATER });
        assert_eq!(Replay::from_value(&given), Ok(replay(Some(60.0), Some(LATER))));
        assert_eq!(Replay::from_value(&json!({ "at": AT, "speed": 0, "until": null })), Ok(replay(None, None)));
    }

    #[test]
    fn the_query_of_an_address_says_the_same() {
        let query = [("EIO", "4"), ("speed", "0"), ("replay", AT), ("until", LATER)];
        assert_eq!(Replay::from_query(query), Ok(Some(replay(None, Some(LATER)))));
        assert_eq!(Replay::from_query([("speed", "2")]), Ok(None));
        assert!(Replay::from_query([("replay", "yesterday")]).unwrap_err().to_string().starts_with("at: "));
        assert!(
            Replay::from_query([("replay", AT), ("speed", "fast")]).unwrap_err().to_string().starts_with("speed: ")
        );
    }

    #[test]
    fn the_wrong_field_is_named() {
        for (value, field) in [
            (json!([]), "expected an object"),
            (json!({}), "at: "),
            (json!({ "at": 7 }), "at: "),
            (json!({ "at": AT, "speed": -1 }), "speed: "),
            (json!({ "at": AT, "speed": 1e9 }), "speed: "),
            (json!({ "at": AT, "speed": "1" }), "speed: "),
            (json!({ "at": LATER, "until": AT }), "until: "),
        ] {
            let error = Replay::from_value(&value).unwrap_err().to_string();
            assert!(error.starts_with(field), "{value}: {error}");
        }
    }
}

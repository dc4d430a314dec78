//! Markers, recorded as what differs from the marker before: a JSON merge patch (RFC 7386). Most of a marker stays the
//! same from step to step, and a whole one takes more space than the prices that the step changed.

use odds::Marker;
use serde_json::{Map, Value};

/// Returns the patch that turns one marker into another.
pub(crate) fn between(from: &Marker, to: &Marker) -> Value {
    difference(&value(from), value(to)).unwrap_or_else(|| Value::Object(Map::new()))
}

/// A marker as JSON. `null` means the same as an absent field in a marker, but removes it in a patch.
pub(crate) fn value(marker: &Marker) -> Value {
    serde_json::to_value(marker).expect("plain values")
}

/// Applies a patch to a marker as JSON.
pub(crate) fn apply(to: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *to = patch;
        return;
    };
    if !to.is_object() {
        *to = Value::Object(Map::new());
    }
    let fields = to.as_object_mut().expect("it is one by now");
    for (name, value) in patch {
        match value {
            Value::Null => drop(fields.remove(&name)),
            value => apply(fields.entry(name).or_insert(Value::Null), value),
        }
    }
}

/// `None` if nothing differs.
fn difference(from: &Value, to: Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, &to) else {
        return (*from != to).then_some(to);
    };
    let mut patch = Map::new();
    for (name, new) in to {
        let changed = match from.get(name) {
            Some(old) => difference(old, new.clone()),
            None => Some(new.clone()),
        };
        patch.extend(changed.map(|changed| (name.clone(), changed)));
    }
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    patch.extend(gone.map(|name| (name.clone(), Value::Null)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(json: &str) -> Marker {
        serde_json::from_str(json).unwrap()
    }

    /// By default, serde_json may read another number than it wrote.
    #[test]
    fn numbers_are_read_as_they_were_written() {
        for n in 1..20_000 {
            let number = 1_000.0 / f64::from(n);
            let text = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), number.to_bits(), "{text}");
        }
    }

    #[test]
    fn a_patch_holds_only_what_differs_and_leads_to_the_second_marker() {
        let first = marker(
            r#"{"digest":"00000000000000000000000000000001","at":"2026-11-21T12:00:00Z","log":"5.1","seq":7,
            "next_by":"2026-11-21T12:00:25Z","state":"stale","reason":"late","source":"test",
            "credits":{"remaining":9.5,"used":null},
            "sports":{"a":{"polled_at":"2026-11-21T12:00:00Z","stale_after":"2026-11-21T12:02:00Z"},
                      "b":{"polled_at":"2026-11-21T12:00:00Z","stale_after":"2026-11-21T12:02:00Z"}},
            "bookmakers":{"x":"2026-11-21T11:59:00Z","y":"2026-11-21T11:59:00Z"},"bookmaker_names":{"x":"X"}}"#,
        );
        let second = marker(
            r#"{"digest":"00000000000000000000000000000001","at":"2026-11-21T12:00:01Z","log":"5.1","seq":8,
            "next_by":"2026-11-21T12:00:25Z","state":"live","source":"test","credits":{"remaining":null,"used":1.0},
            "sports":{"a":{"polled_at":"2026-11-21T12:00:01Z","stale_after":"2026-11-21T12:02:00Z"}},
            "bookmakers":{"x":"2026-11-21T11:59:00Z","y":"2026-11-21T11:59:30Z"},
            "spent_today":{"day_ends":"2026-11-22T00:00:00Z","credits":{"test":4.5}}}"#,
        );
        for (from, to) in [(&first, &second), (&second, &first), (&first, &first)] {
            let patch = between(from, to);
            let mut json = value(from);
            apply(&mut json, patch.clone());
            assert_eq!(&serde_json::from_value::<Marker>(json).unwrap(), to, "{patch}");
        }
        let patch = between(&first, &second);
        assert_eq!(patch["bookmakers"], serde_json::json!({ "y": "2026-11-21T11:59:30Z" }));
        assert_eq!(patch.get("source"), None);
        assert_eq!(between(&first, &first), serde_json::json!({}));
    }
}

//! A program's most important metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The metrics that are reported, without their common prefix: those by which a fault can be told.
pub const REPORTED: [&str; 18] = [
    "alerter_lag",
    "alerter_shards",
    "alerter_store_available",
    "gateway_connections",
    "gateway_lag",
    "gateway_store_writable",
    "historian_leading",
    "historian_store_available",
    "historian_waiting_steps",
    "notifier_dead_letters",
    "notifier_lag",
    "notifier_oldest_seconds",
    "notifier_provider_failing",
    "notifier_store_available",
    "notifier_waiting",
    "producer_credits_remaining",
    "producer_leading",
    "producer_pending_events",
];
const PREFIX: &str = "toteboard_";
/// The labels by which values are told apart. Those of others, such as partitions, are added up.
const LABELS: [&str; 2] = ["region", "channel"];

/// Metrics by name, with the region or channel in braces: `producer_leading{uk}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, f64>);

impl Values {
    /// Picks what is reported from metrics in the OpenMetrics text format.
    pub(crate) fn of_metrics(text: &str) -> Self {
        let mut values = BTreeMap::new();
        for (name, of, value) in text.lines().filter_map(sample) {
            let key = of.map_or_else(|| name.to_owned(), |of| key(name, of));
            *values.entry(key).or_insert(0.0) += value;
        }
        Self(values)
    }

    /// A metric without a region or channel.
    pub fn one(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A metric of a region or channel.
    pub fn of(&self, name: &str, of: &str) -> Option<f64> {
        self.one(&key(name, of))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

fn key(name: &str, of: &str) -> String {
    format!("{name}{{{of}}}")
}

/// A line's metric, region or channel, and value, if it is reported. What is unknown is not a number.
fn sample(line: &str) -> Option<(&str, Option<&str>, f64)> {
    let (metric, value) = line.strip_prefix(PREFIX)?.rsplit_once(' ')?;
    let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
    let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    let mut labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    let of = labels.find(|(label, _)| LABELS.contains(label)).map(|(_, value)| value.trim_matches('"'));
    REPORTED.contains(&name).then_some((name, of, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_is_picked_and_partitions_are_added_up() {
        let text = "# HELP toteboard_gateway_lag Records.\n\
            toteboard_gateway_lag{region=\"uk\",partition=\"0\"} 3\n\
            toteboard_gateway_lag{region=\"uk\",partition=\"1\"} 4\n\
            toteboard_gateway_connections 2\n\
            toteboard_gateway_frames_total{region=\"uk\"} 9\n\
            toteboard_producer_credits_remaining{region=\"uk\"} NaN\n\
            toteboard_notifier_waiting{channel=\"sms\"} 1\n# EOF\n";
        let values = Values::of_metrics(text);
        let expected = [("gateway_connections", 2.0), ("gateway_lag{uk}", 7.0), ("notifier_waiting{sms}", 1.0)];
        assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        assert_eq!((values.of("gateway_lag", "uk"), values.of("gateway_lag", "eu")), (Some(7.0), None));
    }
}

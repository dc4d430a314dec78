//! A program's most important metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// The metrics that are reported, without their common prefix: those by which a fault can be told, and those that
/// operators watch.
pub const REPORTED: [&str; 31] = [
    "alerter_lag",
    "alerter_rules",
    "alerter_shards",
    "alerter_store_available",
    "gateway_connections",
    "gateway_connections_refused_total",
    "gateway_frames_total",
    "gateway_lag",
    "gateway_late_ticks_total",
    "gateway_members_behind",
    "gateway_sent_bytes_total",
    "gateway_store_writable",
    "historian_lag",
    "historian_leading",
    "historian_steps_total",
    "historian_store_available",
    "historian_waiting_steps",
    "notifier_dead_letters",
    "notifier_emails_total",
    "notifier_lag",
    "notifier_oldest_seconds",
    "notifier_provider_failing",
    "notifier_sms_total",
    "notifier_store_available",
    "notifier_waiting",
    "producer_credits_remaining",
    "producer_leading",
    "producer_pending_events",
    POLL_AGE,
    POLL_INTERVAL,
    "producer_polls_total",
];
const POLL_AGE: &str = "producer_poll_age_seconds";
const POLL_INTERVAL: &str = "producer_poll_interval_seconds";
/// Those that are added up over all labels.
const SUMMED: [&str; 4] =
    ["gateway_frames_total", "gateway_late_ticks_total", "gateway_members_behind", "gateway_sent_bytes_total"];
/// Those whose zeros say something. Other zeros are not reported.
const ZEROS: [&str; 10] = [
    "alerter_shards",
    "alerter_store_available",
    "gateway_connections",
    "gateway_store_writable",
    "historian_leading",
    "historian_store_available",
    "notifier_store_available",
    "notifier_waiting",
    "producer_credits_remaining",
    "producer_leading",
];
const PREFIX: &str = "toteboard_";
/// The labels by which values are told apart. Those of others, such as partitions, are added up.
const LABELS: [&str; 3] = ["region", "channel", "outcome"];

/// How each sport of a region is polled.
pub type Sports = BTreeMap<String, BTreeMap<String, SportPolls>>;

/// How often a sport is polled, and how long ago the last time was, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SportPolls(pub Option<f64>, pub Option<f64>);

/// Metrics by name, with the region, channel or outcome in braces: `producer_leading{uk}`, `producer_polls_total{uk,ok}`.
/// Written, those in braces are an object under the name, which is shorter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, Written>", from = "BTreeMap<String, Written>")]
pub struct Values(BTreeMap<String, f64>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(Number),
    Of(BTreeMap<String, Number>),
}

/// A number that is written without a point if it is whole.
#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl From<Values> for BTreeMap<String, Written> {
    fn from(Values(values): Values) -> Self {
        let mut written = Self::new();
        for (key, value) in values {
            match key.strip_suffix('}').and_then(|key| key.split_once('{')) {
                None => drop(written.insert(key, Written::One(Number(value)))),
                Some((name, of)) => {
                    let under = written.entry(name.to_owned()).or_insert_with(|| Written::Of(BTreeMap::new()));
                    if let Written::Of(under) = under {
                        under.insert(of.to_owned(), Number(value));
                    }
                }
            }
        }
        written
    }
}

impl From<BTreeMap<String, Written>> for Values {
    fn from(written: BTreeMap<String, Written>) -> Self {
        let mut values = BTreeMap::new();
        for (name, written) in written {
            match written {
                Written::One(Number(value)) => drop(values.insert(name, value)),
                Written::Of(under) => values.extend(under.into_iter().map(|(of, Number(it))| (key(&name, &of), it))),
            }
        }
        Self(values)
    }
}

impl Values {
    /// Picks what is reported from metrics in the OpenMetrics text format.
    pub(crate) fn of_metrics(text: &str) -> (Self, Sports) {
        let (mut values, mut sports) = (BTreeMap::new(), Sports::new());
        for Sample { name, labels, value } in text.lines().filter_map(Sample::read) {
            if [POLL_AGE, POLL_INTERVAL].contains(&name) {
                let label = |wanted| labels.clone().find(|(label, _)| *label == wanted).map(|(_, value)| value);
                if let (Some(region), Some(sport)) = (label("region"), label("sport")) {
                    if name == POLL_AGE {
                        // Of the sport that was polled last.
                        let newest = values.entry(key(name, region)).or_insert(f64::INFINITY);
                        *newest = f64::min(*newest, rounded(value));
                    }
                    let polls = sports.entry(region.to_owned()).or_default().entry(sport.to_owned()).or_default();
                    *(if name == POLL_AGE { &mut polls.1 } else { &mut polls.0 }) = Some(rounded(value));
                }
                continue;
            }
            let of: Vec<&str> = match SUMMED.contains(&name) {
                true => Vec::new(),
                false => LABELS
                    .iter()
                    .filter_map(|it| labels.clone().find(|(label, _)| label == it))
                    .map(|it| it.1)
                    .collect(),
            };
            let key = if of.is_empty() { name.to_owned() } else { key(name, &of.join(",")) };
            *values.entry(key).or_insert(0.0) += value;
        }
        values.retain(|key, value| *value != 0.0 || ZEROS.iter().any(|it| key.split('{').next() == Some(it)));
        (Self(values), sports)
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

/// To tenths: more would only be more bytes.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A line of metrics that is reported.
struct Sample<'a, L> {
    name: &'a str,
    labels: L,
    value: f64,
}

impl<'a> Sample<'a, ()> {
    /// What is unknown is not a number, and not reported.
    fn read(line: &'a str) -> Option<Sample<'a, impl Iterator<Item = (&'a str, &'a str)> + Clone>> {
        let (metric, value) = line.strip_prefix(PREFIX)?.rsplit_once(' ')?;
        let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
        let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, value)| (label, value.trim_matches('"')));
        REPORTED.contains(&name).then_some(Sample { name, labels, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_is_picked_and_partitions_are_added_up() {
        let text = "# HELP toteboard_gateway_lag Records.\n\
            toteboard_gateway_lag{region=\"uk\",partition=\"0\"} 3\n\
            toteboard_gateway_lag{region=\"uk\",partition=\"1\"} 4\n\
            toteboard_gateway_connections 0\n\
            toteboard_gateway_lag{region=\"eu\",partition=\"0\"} 0\n\
            toteboard_gateway_frames_total{region=\"uk\"} 9\n\
            toteboard_gateway_frames_total{region=\"us\"} 2\n\
            toteboard_gateway_rooms{region=\"uk\"} 9\n\
            toteboard_producer_credits_remaining{region=\"uk\"} NaN\n\
            toteboard_producer_polls_total{region=\"uk\",outcome=\"outage\"} 5\n\
            toteboard_producer_poll_age_seconds{region=\"uk\",sport=\"golf\"} 1.2345\n\
            toteboard_producer_poll_interval_seconds{region=\"uk\",sport=\"golf\"} 60.0\n\
            toteboard_notifier_waiting{channel=\"sms\"} 1\n# EOF\n";
        let (values, sports) = Values::of_metrics(text);
        let expected = [
            ("gateway_connections", 0.0),
            ("gateway_frames_total", 11.0),
            ("gateway_lag{uk}", 7.0),
            ("notifier_waiting{sms}", 1.0),
            ("producer_poll_age_seconds{uk}", 1.2),
            ("producer_polls_total{uk,outage}", 5.0),
        ];
        assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        assert_eq!((values.of("gateway_lag", "uk"), values.of("gateway_lag", "eu")), (Some(7.0), None));
        let written = serde_json::to_string(&values).unwrap();
        let expected = r#"{"gateway_connections":0,"gateway_frames_total":11,"gateway_lag":{"uk":7},"notifier_waiting":{"sms":1},"producer_poll_age_seconds":{"uk":1.2},"producer_polls_total":{"uk,outage":5}}"#;
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_str::<Values>(&written).unwrap(), values);
        assert_eq!(serde_json::to_string(&sports).unwrap(), r#"{"uk":{"golf":[60.0,1.2]}}"#);
    }
}

//! A producer's metrics.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use odds::{Credits, Region, SportFreshness, SportKey, Timestamp};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::Counter,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Unit,
};
use service::{Labelled, MetricRegistry};

use crate::Unreadable;

/// When each sport was last polled, and how often it is, in milliseconds.
type Sports = Arc<Mutex<BTreeMap<SportKey, (Option<Timestamp>, Option<i64>)>>>;

/// A producer's metrics. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) leading: Gauge,
    pub(crate) pending: Gauge,
    polls: Labelled<Counter>,
    records: Labelled<Counter>,
    pub(crate) steps: Counter,
    pub(crate) mismatches: Counter,
    pub(crate) too_large: Counter,
    unreadable: Labelled<Counter>,
    pub(crate) delivery: Histogram,
    credits_remaining: Gauge<f64, AtomicU64>,
    credits_used: Gauge<f64, AtomicU64>,
    sports: Sports,
}

impl Metrics {
    pub fn new(registry: &mut MetricRegistry, region: Region, clock: fn() -> Timestamp) -> Self {
        let mut producer = registry.scope("toteboard_producer");
        let mut scope = producer.of_region(region);
        let sports = Sports::default();
        scope.collector(SportPolls { sports: sports.clone(), clock });
        let credits_remaining =
            scope.float_gauge("credits_remaining", "Credits that the key has left, as last reported");
        // Unknown: a producer that stands by must not look as if it had none.
        credits_remaining.set(f64::NAN);
        Self {
            leading: scope.gauge("leading", "1 while this producer leads its region, 0 while it stands by"),
            pending: scope.gauge("pending_events", "Events waiting to be published"),
            polls: scope.counters("polls", "Polls of the odds API, by outcome", "outcome"),
            records: scope.counters("records", "Records that Kafka acknowledged, by kind", "kind"),
            steps: scope.counter("steps", "Steps published"),
            mismatches: scope.counter("digest_mismatches", "Boards that did not match their digest"),
            too_large: scope.counter("events_too_large", "Events left out because of their size"),
            unreadable: scope.counters(
                "unreadable",
                "Parts of the odds API's answers that could not be read and were left out, by level",
                "level",
            ),
            delivery: scope.seconds("delivery", "Time from sending a record to its acknowledgement", 0.001, 15),
            credits_remaining,
            credits_used: scope.float_gauge("credits_used", "Credits that the key has used, as last reported"),
            sports,
        }
    }

    pub(crate) fn polled(&self, outcome: &'static str) {
        self.polls.with(outcome).inc();
    }

    pub(crate) fn left_out(&self, unreadable: &Unreadable) {
        for (level, count) in unreadable.iter() {
            self.unreadable.with(level.key()).inc_by(count);
        }
    }

    pub(crate) fn delivered(&self, kind: &'static str, count: u64) {
        self.records.with(kind).inc_by(count);
    }

    pub(crate) fn set_credits(&self, credits: Credits) {
        if let Some(remaining) = credits.remaining {
            self.credits_remaining.set(remaining);
        }
        if let Some(used) = credits.used {
            self.credits_used.set(used);
        }
    }

    /// Notes each sport's last good poll, and how often it is polled, in milliseconds.
    pub(crate) fn set_sports<'a>(
        &self,
        polled: impl Iterator<Item = (&'a SportKey, &'a SportFreshness)>,
        plan: impl Iterator<Item = (SportKey, i64)>,
    ) {
        let mut sports = BTreeMap::new();
        for (sport, freshness) in polled {
            sports.insert(sport.clone(), (Some(freshness.polled_at), None));
        }
        for (sport, interval) in plan {
            sports.entry(sport).or_insert((None, None)).1 = Some(interval);
        }
        *self.sports.lock().expect("no code panics while holding the lock") = sports;
    }

    /// This producer polls nothing from now on.
    pub(crate) fn stands_by(&self) {
        self.leading.set(0);
        self.pending.set(0);
        // The next leader uses them.
        self.credits_remaining.set(f64::NAN);
        self.set_sports(std::iter::empty(), std::iter::empty());
    }
}

/// A collector of what is known of each sport's polls, computed when metrics are read.
struct SportPolls {
    sports: Sports,
    clock: fn() -> Timestamp,
}

impl Debug for SportPolls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SportPolls")
    }
}

impl Collector for SportPolls {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = (self.clock)();
        let sports = self.sports.lock().expect("no code panics while holding the lock").clone();
        let mut encode = |name, help, values: Vec<(&SportKey, f64)>| {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut encoder = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
            for (sport, value) in values {
                let label = [("sport", sport.as_str())];
                ConstGauge::new(value).encode(encoder.encode_family(&label)?)?;
            }
            Ok(())
        };
        let age = |at: Timestamp| now.millis_since(at) as f64 / 1000.0;
        let ages = sports.iter().filter_map(|(sport, (polled_at, _))| Some((sport, age((*polled_at)?)))).collect();
        encode("poll_age", "Time since the last good poll of each sport", ages)?;
        let plan = sports.iter().filter_map(|(sport, (_, every))| Some((sport, (*every)? as f64 / 1000.0))).collect();
        encode("poll_interval", "How often each sport is polled", plan)
    }
}

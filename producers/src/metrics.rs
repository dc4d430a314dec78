//! What a producer tells about itself on `/metrics`.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use odds::{Credits, SportFreshness, SportKey, Timestamp};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::Unreadable;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct OfLevel {
    level: &'static str,
}

/// Cheap to clone: all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) leading: Gauge,
    pub(crate) pending: Gauge,
    polls: Family<Outcome, Counter>,
    records: Family<Kind, Counter>,
    pub(crate) steps: Counter,
    pub(crate) mismatches: Counter,
    pub(crate) too_large: Counter,
    unreadable: Family<OfLevel, Counter>,
    pub(crate) delivery: Histogram,
    credits_remaining: Gauge<f64, AtomicU64>,
    credits_used: Gauge<f64, AtomicU64>,
    polled_at: Arc<Mutex<Vec<(SportKey, Timestamp)>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            leading: Gauge::default(),
            pending: Gauge::default(),
            polls: Family::default(),
            records: Family::default(),
            steps: Counter::default(),
            mismatches: Counter::default(),
            too_large: Counter::default(),
            unreadable: Family::default(),
            delivery: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            credits_remaining: Gauge::default(),
            credits_used: Gauge::default(),
            polled_at: Arc::default(),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry, clock: fn() -> Timestamp) {
        let registry = registry.sub_registry_with_prefix("toteboard_producer");
        registry.register(
            "leading",
            "1 while this producer leads its region, 0 while it stands by",
            self.leading.clone(),
        );
        registry.register("pending_events", "Events that wait to be published", self.pending.clone());
        registry.register("polls", "Polls of the odds API, by outcome", self.polls.clone());
        registry.register("records", "Records that Kafka acknowledged, by kind", self.records.clone());
        registry.register("steps", "Steps published", self.steps.clone());
        registry.register("digest_mismatches", "Boards that did not fit their digest", self.mismatches.clone());
        registry.register("events_too_large", "Events left out because of their size", self.too_large.clone());
        registry.register(
            "unreadable",
            "What could not be read of upstream's answers and was left out, by level",
            self.unreadable.clone(),
        );
        registry.register_with_unit(
            "delivery",
            "From sending to acknowledgement",
            Unit::Seconds,
            self.delivery.clone(),
        );
        registry.register(
            "credits_remaining",
            "What the key has left, as upstream last said",
            self.credits_remaining.clone(),
        );
        registry.register("credits_used", "What the key has used, as upstream last said", self.credits_used.clone());
        registry.register_collector(Box::new(PollAges { polled_at: self.polled_at.clone(), clock }));
    }

    pub(crate) fn polled(&self, outcome: &'static str) {
        self.polls.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn left_out(&self, unreadable: &Unreadable) {
        for (level, count) in unreadable.iter() {
            self.unreadable.get_or_create(&OfLevel { level: level.key() }).inc_by(count);
        }
    }

    pub(crate) fn delivered(&self, kind: &'static str, count: u64) {
        self.records.get_or_create(&Kind { kind }).inc_by(count);
    }

    pub(crate) fn say_credits(&self, credits: Credits) {
        if let Some(remaining) = credits.remaining {
            self.credits_remaining.set(remaining);
        }
        if let Some(used) = credits.used {
            self.credits_used.set(used);
        }
    }

    pub(crate) fn say_freshness<'a>(&self, sports: impl Iterator<Item = (&'a SportKey, &'a SportFreshness)>) {
        let ages = sports.map(|(sport, freshness)| (sport.clone(), freshness.polled_at)).collect();
        *self.polled_at.lock().expect("nobody panics while holding it") = ages;
    }
}

/// Ages grow by themselves, so they are told when they are asked for.
struct PollAges {
    polled_at: Arc<Mutex<Vec<(SportKey, Timestamp)>>>,
    clock: fn() -> Timestamp,
}

impl Debug for PollAges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PollAges")
    }
}

impl Collector for PollAges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = (self.clock)();
        let ages = self.polled_at.lock().expect("nobody panics while holding it").clone();
        let help = "Since the last good poll of each sport";
        let gauge = ConstGauge::new(0.0);
        let mut encoder = encoder.encode_descriptor("poll_age", help, Some(&Unit::Seconds), gauge.metric_type())?;
        for (sport, polled_at) in ages {
            let age = now.millis_since(polled_at) as f64 / 1000.0;
            let label = [("sport", sport.as_str())];
            ConstGauge::new(age).encode(encoder.encode_family(&label)?)?;
        }
        Ok(())
    }
}

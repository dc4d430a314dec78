//! A producer's metrics.

use std::{
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

type PolledAt = Arc<Mutex<Vec<(SportKey, Timestamp)>>>;

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
    polled_at: PolledAt,
}

impl Metrics {
    pub fn new(registry: &mut MetricRegistry, region: Region, clock: fn() -> Timestamp) -> Self {
        let mut producer = registry.scope("toteboard_producer");
        let mut scope = producer.of_region(region);
        let polled_at = PolledAt::default();
        scope.collector(PollAges { polled_at: polled_at.clone(), clock });
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
            polled_at,
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

    pub(crate) fn set_freshness<'a>(&self, sports: impl Iterator<Item = (&'a SportKey, &'a SportFreshness)>) {
        let polled_at = sports.map(|(sport, freshness)| (sport.clone(), freshness.polled_at)).collect();
        *self.polled_at.lock().expect("no code panics while holding the lock") = polled_at;
    }
}

/// A collector of the age of each sport's last good poll, computed when metrics are read.
struct PollAges {
    polled_at: PolledAt,
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
        let ages = self.polled_at.lock().expect("no code panics while holding the lock").clone();
        let help = "Time since the last good poll of each sport";
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

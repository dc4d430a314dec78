//! An alerter's metrics.

use std::time::Duration;

use odds::{Region, Timestamp};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use service::{Labelled, MetricRegistry};

/// The metrics of an alerter. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) shards: Gauge,
    pub(crate) rules: Gauge,
    pub(crate) steps: Counter,
    pub(crate) evaluations: Counter,
    pub(crate) fired: Counter,
    pub(crate) missed: Counter,
    pub(crate) refused: Counter,
    pub(crate) unwatched: Labelled<Counter>,
    pub(crate) published: Counter,
    pub(crate) store_available: Gauge,
    decided_after: Histogram,
    published_after: Histogram,
    lag_seconds: Labelled<Gauge>,
    lag: Labelled<Gauge>,
}

impl Metrics {
    pub fn new(registry: &mut MetricRegistry) -> Self {
        let mut scope = registry.scope("toteboard_alerter");
        let metrics = Self {
            shards: scope.gauge("shards", "Shards of users whose rules this alerter evaluates"),
            rules: scope.gauge("rules", "Rules that this alerter evaluates"),
            steps: scope.counter("steps", "Steps that were evaluated"),
            evaluations: scope.counter("evaluations", "Measurements that were compared with rules"),
            fired: scope.counter("fired", "Firings that were recorded"),
            missed: scope.counter("missed", "Firings that were found too late: their condition no longer held"),
            refused: scope
                .counter("refused", "Decisions that the store did not accept, because another alerter was first"),
            unwatched: scope.counters(
                "unwatched",
                "Times of a region whose steps were not evaluated, because the topic no longer had them",
                "region",
            ),
            published: scope.counter("published", "Alerts that Kafka acknowledged"),
            store_available: scope.gauge("store_available", "0 while the account store can't be used"),
            decided_after: scope.seconds(
                "delay",
                "Time from a step's marker until what it decides is recorded",
                0.01,
                14,
            ),
            published_after: scope.seconds(
                "alert_delay",
                "Time from a step's marker until its alert is published",
                0.01,
                14,
            ),
            lag_seconds: scope.gauges("lag_seconds", "The age of a region's newest evaluated step", "region"),
            lag: scope.gauges("lag", "Records of a region that are not read yet", "region"),
        };
        metrics.store_available.set(1);
        metrics
    }

    /// A step of this time is decided and recorded now.
    pub(crate) fn decided(&self, at: Timestamp, now: Timestamp) {
        self.decided_after.observe(seconds(at, now));
    }

    pub(crate) fn published(&self, at: Timestamp, now: Timestamp) {
        self.published.inc();
        self.published_after.observe(seconds(at, now));
    }

    pub(crate) fn set_lag_seconds(&self, region: Region, at: Timestamp, now: Timestamp) {
        self.lag_seconds.with(region).set(seconds(at, now) as i64);
    }

    pub(crate) fn set_lag(&self, region: Region, records: i64) {
        self.lag.with(region).set(records);
    }
}

fn seconds(at: Timestamp, now: Timestamp) -> f64 {
    Duration::from_millis(now.millis_since(at).max(0) as u64).as_secs_f64()
}

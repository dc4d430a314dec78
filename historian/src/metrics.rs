//! A historian's metrics.

use std::{sync::atomic::AtomicU64, time::Duration};

use history::RecordedStep;
use odds::{Region, Timestamp};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use service::{Labelled, MetricRegistry};

/// The metrics of one region's historian. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) leading: Gauge,
    pub(crate) steps: Counter,
    pub(crate) quotes: Counter,
    pub(crate) gaps: Counter,
    pub(crate) batches: Counter,
    pub(crate) failures: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) store_available: Gauge,
    recorded_after: Histogram,
    newest_at: Gauge<f64, AtomicU64>,
    lag: Labelled<Gauge>,
}

impl Metrics {
    pub fn new(registry: &mut MetricRegistry, region: Region) -> Self {
        let mut historian = registry.scope("toteboard_historian");
        let mut scope = historian.of_region(region);
        let metrics = Self {
            leading: scope.gauge("leading", "1 while this historian records its region, 0 while it stands by"),
            steps: scope.counter("steps", "Steps that the store acknowledged, those that it already had included"),
            quotes: scope.counter("quotes", "Quotes of these steps: those that changed, and those of whole boards"),
            gaps: scope.counter("gaps", "Steps that were recorded as the first after a gap"),
            batches: scope.counter("batches", "Writes that the store acknowledged"),
            failures: scope.counter("write_failures", "Writes that failed and are tried again"),
            waiting: scope.gauge("waiting_steps", "Steps that wait for the store"),
            store_available: scope.gauge("store_available", "0 while the store refuses or can't be reached"),
            recorded_after: scope.seconds("delay", "Time from a step's marker until it is recorded", 0.01, 14),
            newest_at: scope.float_gauge("newest_step_seconds", "The time of the newest recorded step, since 1970"),
            lag: scope.gauges("lag", "Records of a partition that are not read yet", "partition"),
        };
        metrics.store_available.set(1);
        metrics
    }

    /// A step is recorded now.
    pub(crate) fn recorded(&self, step: &RecordedStep) {
        self.steps.inc();
        let changes = step.difference.iter().flat_map(|difference| &difference.changes);
        let quotes = changes.chain(step.keyframe.iter().flatten()).map(|change| change.quotes().len() as u64);
        self.quotes.inc_by(quotes.sum());
        self.gaps.inc_by(step.difference.is_none().into());
        self.newest_at.set(step.marker.at.as_millis() as f64 / 1_000.0);
    }

    /// A step of this time, which was published after this historian had begun, is recorded now.
    pub(crate) fn recorded_after(&self, at: Timestamp, now: Timestamp) {
        let delay = Duration::from_millis(now.millis_since(at).max(0) as u64);
        self.recorded_after.observe(delay.as_secs_f64());
    }

    /// How many records of each partition are not read yet.
    pub(crate) fn set_lag(&self, lag: &[i64]) {
        self.lag.set_each(lag);
    }
}

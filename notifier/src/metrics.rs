//! A notifier's metrics.

use std::{sync::Arc, time::Duration};

use kafka::ConsumerCounts;
use messages::{Channel, OutboxCounts, State};
use odds::Timestamp;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use service::{Labelled, MetricRegistry};

/// The metrics of one channel. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) added: Counter,
    pub(crate) retried: Counter,
    pub(crate) provider_failing: Gauge,
    pub(crate) store_available: Gauge,
    finished: Labelled<Counter>,
    open: Gauge,
    oldest: Gauge,
    lag: Gauge,
    dead: Gauge,
    sent_after: Histogram,
}

impl Metrics {
    pub fn new(registry: &mut MetricRegistry, channel: Channel) -> Self {
        let mut scope = registry.scope("toteboard_notifier");
        let metrics = Self {
            added: scope.counters("added", "Messages put into the outbox", "channel").with(channel),
            retried: scope.counters("retried", "Attempts that failed and are repeated", "channel").with(channel),
            provider_failing: scope
                .gauges("provider_failing", "1 while the provider accepts nothing", "channel")
                .with(channel),
            store_available: scope
                .gauges("store_available", "0 while the outbox can't be used", "channel")
                .with(channel),
            finished: match channel {
                Channel::Email => {
                    scope.counters("emails", "E-mails that need no further attempt, by outcome", "outcome")
                }
                Channel::Sms => scope.counters("sms", "SMS that need no further attempt, by outcome", "outcome"),
            },
            open: scope.gauges("waiting", "Messages in the outbox that are still to be sent", "channel").with(channel),
            oldest: scope.gauges("oldest_seconds", "The age of the oldest of them", "channel").with(channel),
            lag: scope.gauges("lag", "Records that are not in the outbox yet", "channel").with(channel),
            dead: scope
                .gauges("dead_letters", "Records written to the dead-letter topic since the start", "channel")
                .with(channel),
            sent_after: match channel {
                Channel::Email => {
                    scope.seconds("email_delay", "Time from a record until its e-mail was accepted", 0.01, 16)
                }
                Channel::Sms => scope.seconds("sms_delay", "Time from a record until its SMS was accepted", 0.01, 16),
            },
        };
        metrics.store_available.set(1);
        metrics
    }

    /// A message that was created then needs no further attempt now.
    pub(crate) fn finished(&self, state: State, created_at: Timestamp, now: Timestamp) {
        self.finished.with(state.key()).inc();
        if state == State::Sent {
            self.sent_after.observe(seconds(created_at, now));
        }
    }

    pub(crate) fn set_counts(&self, counts: OutboxCounts, now: Timestamp) {
        self.open.set(counts.open as i64);
        self.oldest.set(counts.oldest.map_or(0, |at| seconds(at, now) as i64));
    }

    pub(crate) fn set_intake(&self, counts: &Arc<ConsumerCounts>) {
        self.lag.set(counts.lag());
        self.dead.set(counts.dead() as i64);
    }
}

fn seconds(at: Timestamp, now: Timestamp) -> f64 {
    Duration::from_millis(now.millis_since(at).max(0) as u64).as_secs_f64()
}

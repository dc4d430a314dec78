//! One channel: its intake, its worker, and what is done from time to time.

use std::{sync::Arc, time::Duration};

use accounts::Store;
use anyhow::Context;
use kafka::{ALERTS, ConsumerCounts, ConsumerSpec, KafkaSettings, TRANSACTIONS, TopicConsumer};
use messages::{Channel, Outbox, Provider};
use odds::Timestamp;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, error_span, warn};

use crate::{Metrics, intake::Intake, worker::Worker};

/// How often messages in the outbox are counted,
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// and those that wait on Kafka.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After how many counts old messages are deleted.
const FORGET_AFTER: u32 = 120;
const FORGOTTEN_AT_ONCE: usize = 1_000;
/// How long requests to produce are remembered.
const REQUESTS_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// A channel with its provider.
#[derive(Clone)]
pub struct ChannelOf {
    pub channel: Channel,
    pub provider: Arc<dyn Provider>,
    /// How many messages are sent at the same time.
    pub at_once: usize,
    /// After this time, a message is given up.
    pub deliver_within: Duration,
    /// The same for an alert, which is of use for a shorter time.
    pub deliver_alerts_within: Duration,
    /// How many alerts one user gets in a day.
    pub alerts_a_day: u32,
    /// How many messages are sent in a day, if that is limited.
    pub most_a_day: Option<u32>,
    /// How long messages are kept after their end.
    pub keep: Duration,
    /// How long a worker has a recipient for itself. Sending begins only if two fifths are left, and takes one fifth at
    /// most.
    pub lease: Duration,
}

/// Sends the messages of one channel.
pub struct Notifier {
    kafka: KafkaSettings,
    outbox: Arc<dyn Outbox>,
    accounts: Arc<dyn Store>,
    channel: ChannelOf,
    clock: fn() -> Timestamp,
    metrics: Metrics,
}

impl Notifier {
    pub fn new(
        kafka: KafkaSettings,
        outbox: Arc<dyn Outbox>,
        accounts: Arc<dyn Store>,
        channel: ChannelOf,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        Self { kafka, outbox, accounts, channel, clock, metrics }
    }

    /// Runs until `stop` is cancelled. Fails if librdkafka refuses the settings or a task ends unexpectedly.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { kafka, outbox, accounts, channel, clock, metrics } = self;
        let span = error_span!("messages", channel = %channel.channel);
        let added = Arc::new(Notify::new());
        let intake = Intake {
            channel: channel.channel,
            outbox: outbox.clone(),
            accounts,
            clock,
            deliver_within: channel.deliver_within,
            deliver_alerts_within: channel.deliver_alerts_within,
            added: added.clone(),
            metrics: metrics.clone(),
        };
        let spec = ConsumerSpec::new(channel.channel.key(), &[TRANSACTIONS, ALERTS]);
        let consumer = TopicConsumer::new(&kafka, spec, Arc::new(intake), clock).context("joining the group failed")?;
        let keep = channel.keep;
        let upkeep = Upkeep {
            channel: channel.channel,
            outbox: outbox.clone(),
            clock,
            keep,
            metrics: metrics.clone(),
            intake: consumer.counts(),
        };
        let _upkeep = AbortOnDropHandle::new(tokio::spawn(upkeep.run().instrument(span.clone())));
        let worker = Worker { channel, outbox, clock, added, metrics };
        let working = tokio::spawn(worker.run(stop.clone()).instrument(span.clone()));
        consumer.run(stop).instrument(span).await?;
        working.await.context("the worker ended unexpectedly")
    }
}

/// What is done from time to time.
struct Upkeep {
    channel: Channel,
    outbox: Arc<dyn Outbox>,
    clock: fn() -> Timestamp,
    keep: Duration,
    metrics: Metrics,
    intake: Arc<ConsumerCounts>,
}

impl Upkeep {
    async fn run(self) {
        // What waits on Kafka is known while the outbox does not answer.
        tokio::join!(self.watch_intake(), self.keep_outbox());
    }

    async fn watch_intake(&self) {
        loop {
            self.metrics.set_intake(&self.intake);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn keep_outbox(&self) {
        let mut counts = 0;
        loop {
            match self.outbox.counts(self.channel).await {
                Ok(counts) => self.metrics.set_counts(counts, (self.clock)()),
                Err(error) => warn!(%error, "the outbox can't be counted"),
            }
            if counts % FORGET_AFTER == 0 {
                self.forget().await;
            }
            counts += 1;
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    async fn forget(&self) {
        let before = |time: Duration| (self.clock)().plus_millis(-(time.as_millis() as i64));
        loop {
            let (kept, requests) = (before(self.keep), before(REQUESTS_KEPT));
            match self.outbox.forget(kept, requests, (self.clock)(), FORGOTTEN_AT_ONCE).await {
                Ok(0) => return,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return warn!(%error, "old messages can't be deleted"),
            }
        }
    }
}

//! Publishes recorded alerts on the topic `alerts`.
//!
//! The store is the queue: what is recorded and not marked is read in pages, so any number of alerts takes bounded
//! memory, and a new owner publishes what a former one left.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use accounts::{Alert, AlertRecord, AlertState, Shard, Store};
use anyhow::Context;
use futures::{StreamExt, future::join_all, stream};
use kafka::TopicWriter;
use odds::Timestamp;
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::Metrics;

/// How many alerts of a shard are read from the store at once.
const PAGE: usize = 500;
/// How many of a shard are in flight to Kafka.
const IN_FLIGHT: usize = 100;
/// How often the store is asked although nothing was recorded, for alerts of a former owner.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The pause after an error.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Publication {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) writer: TopicWriter<AlertRecord>,
    pub(crate) shards: watch::Receiver<BTreeSet<Shard>>,
    /// Something was recorded.
    pub(crate) recorded: Arc<Notify>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) metrics: Metrics,
}

impl Publication {
    /// Publishes until this future is dropped.
    pub(crate) async fn run(self) {
        loop {
            let shards = self.shards.borrow().clone();
            // At the same time, so that no shard waits for Kafka and the store to finish with the others.
            join_all(shards.into_iter().map(|shard| self.publish_all(shard))).await;
            // Fails only by its time.
            let _ = tokio::time::timeout(LOOK_EVERY, self.recorded.notified()).await;
        }
    }

    /// Publishes what is waiting in a shard, unless another alerter gets it.
    async fn publish_all(&self, shard: Shard) {
        while let Err(error) = self.publish(shard).await {
            warn!(%shard, error = %format!("{error:#}"), "alerts can't be published: trying again");
            tokio::time::sleep(PAUSE).await;
            if !self.shards.borrow().contains(&shard) {
                return;
            }
        }
    }

    async fn publish(&self, shard: Shard) -> anyhow::Result<()> {
        loop {
            let page = self.store.pending_alerts(shard, AlertState::Waiting, PAGE).await?;
            let is_last = page.len() < PAGE;
            let sent = stream::iter(page).map(|alert| self.send(shard, alert)).buffer_unordered(IN_FLIGHT);
            let sent: Vec<_> = sent.collect().await;
            let (done, failed): (Vec<_>, Vec<_>) = sent.into_iter().partition(Result::is_ok);
            let ids: Vec<_> = done.into_iter().filter_map(Result::ok).collect();
            if !ids.is_empty() {
                self.store.mark_notified(&ids).await?;
            }
            if let Some(Err(error)) = failed.into_iter().next() {
                return Err(error).context("Kafka");
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn send(&self, shard: Shard, alert: Alert) -> Result<alerts::FiringId, kafka::KafkaError> {
        self.writer.send(shard.number(), alert.user.as_str(), &AlertRecord::of(&alert)).await?;
        self.metrics.published(alert.at, (self.clock)());
        Ok(alert.id)
    }
}

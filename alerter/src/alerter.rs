//! An alerter: takes part in the group that divides the shards, and watches those that it holds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use accounts::{Shard, Store};
use anyhow::Context;
use kafka::{ALERTS, GroupEvent, KafkaSettings, PartitionGroup, TopicWriter};
use odds::Timestamp;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::info;

use crate::{
    Metrics,
    publication::Publication,
    watch::{Setup, Watch},
};

/// The consumer group that divides the shards.
const GROUP: &str = "alerter";
/// How often changed rules are looked up, unless a setting says otherwise.
const RECHECK: Duration = Duration::from_secs(60);

/// Evaluates rules and publishes alerts.
pub struct Alerter {
    kafka: KafkaSettings,
    store: Arc<dyn Store>,
    clock: fn() -> Timestamp,
    metrics: Metrics,
    recheck: Duration,
}

/// A running watch, told which shards it loses.
struct Running {
    shards: BTreeSet<Shard>,
    lost: mpsc::UnboundedSender<Vec<Shard>>,
}

impl Alerter {
    pub fn new(kafka: KafkaSettings, store: Arc<dyn Store>, clock: fn() -> Timestamp, metrics: Metrics) -> Self {
        Self { kafka, store, clock, metrics, recheck: RECHECK }
    }

    /// Looks up changed rules this often.
    #[must_use]
    pub fn with_recheck(self, recheck: Duration) -> Self {
        Self { recheck, ..self }
    }

    /// Runs until `stop` is cancelled. Fails if librdkafka refuses the settings or a task ends unexpectedly.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut group = PartitionGroup::join(&self.kafka, GROUP, ALERTS).context("joining the group failed")?;
        let setup = Setup {
            kafka: self.kafka.clone(),
            store: self.store.clone(),
            clock: self.clock,
            recheck: self.recheck,
            metrics: self.metrics.clone(),
            recorded: Arc::new(Notify::new()),
        };
        let (held, shards) = watch::channel(BTreeSet::new());
        let publication = Publication {
            store: self.store,
            writer: TopicWriter::new(&self.kafka, ALERTS)?,
            shards,
            recorded: setup.recorded.clone(),
            clock: self.clock,
            metrics: self.metrics.clone(),
        };
        let _publishing = AbortOnDropHandle::new(tokio::spawn(publication.run()));
        // Ends the watches when this is dropped.
        let mut watches = JoinSet::new();
        let mut running: Vec<Running> = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    group.leave();
                    return Ok(());
                }
                Some(ended) = watches.join_next() => ended.context("a watch ended unexpectedly")??,
                event = group.next() => match event {
                    GroupEvent::Assigned(partitions) => {
                        let shards: BTreeSet<Shard> = partitions.into_iter().filter_map(Shard::numbered).collect();
                        info!(?shards, "watching");
                        held.send_modify(|held| held.extend(&shards));
                        let (lost, losses) = mpsc::unbounded_channel();
                        watches.spawn(Watch::run(setup.clone(), shards.clone(), losses));
                        running.push(Running { shards, lost });
                    }
                    GroupEvent::Revoked(partitions) => {
                        let shards: Vec<Shard> = partitions.into_iter().filter_map(Shard::numbered).collect();
                        info!(?shards, "no longer watching");
                        held.send_modify(|held| held.retain(|shard| !shards.contains(shard)));
                        lose(&mut running, &shards);
                    }
                },
            }
            self.metrics.shards.set(held.borrow().len() as i64);
        }
    }
}

fn lose(running: &mut Vec<Running>, shards: &[Shard]) {
    for watch in running.iter_mut() {
        let lost: Vec<Shard> = shards.iter().copied().filter(|shard| watch.shards.remove(shard)).collect();
        if !lost.is_empty() {
            // Fails only if the watch has ended.
            let _ = watch.lost.send(lost);
        }
    }
    running.retain(|watch| !watch.shards.is_empty());
}

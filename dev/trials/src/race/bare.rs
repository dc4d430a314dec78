//! A bare consumer, the baseline for latency: it only reads the region's topic, as fast as Kafka allows.

use std::collections::HashMap;

use kafka::{KEEP_CHANGES, Role, region_topic, topic_of};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{author::Times, micros, server::Ground, world::newest_step};

/// A bare consumer in the background.
#[derive(Debug)]
pub struct Bare {
    task: JoinHandle<anyhow::Result<HashMap<u64, Whole>>>,
    stop: CancellationToken,
    partitions: usize,
}

/// When a step's last record and its marker in each partition arrived. A reader knows a step only with all of them.
#[derive(Clone, Debug, Default)]
struct Whole {
    records: u64,
    markers: HashMap<i32, u64>,
}

impl Bare {
    pub fn start(ground: &Ground) -> anyhow::Result<Self> {
        // The same settings as the gateway's consumers.
        let defaults = [("group.id", "race-bare"), ("enable.auto.commit", "false")];
        let consumer: StreamConsumer = ground.kafka.client(Role::Consumer, &defaults).create()?;
        let topic = topic_of(ground.region);
        let partitions = region_topic(ground.region, KEEP_CHANGES).partitions;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::End)?;
        }
        consumer.assign(&assignment)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut steps: HashMap<u64, Whole> = HashMap::new();
            let mut newest = 0;
            loop {
                let message = tokio::select! {
                    () = stopped.cancelled() => return Ok(steps),
                    message = consumer.recv() => message?,
                };
                let at = micros();
                if message.key().is_some_and(|key| key.starts_with(b"~")) {
                    if let Some(step) = steps.get_mut(&newest) {
                        step.markers.entry(message.partition()).or_insert(at);
                    }
                } else if let Some(step) = message.payload_view::<str>().and_then(Result::ok).and_then(newest_step) {
                    newest = newest.max(step);
                    steps.entry(step).or_default().records = at;
                }
            }
        });
        Ok(Self { task, stop, partitions: usize::try_from(partitions)? })
    }

    /// Stops and returns the latencies of the steps' records and of whole steps, sorted, in microseconds.
    pub async fn stop(self, times: &Times) -> anyhow::Result<(Vec<u64>, Vec<u64>)> {
        self.stop.cancel();
        let (mut records, mut steps) = (Vec::new(), Vec::new());
        for (step, whole) in self.task.await?? {
            let Some(handed) = times.of(step) else { continue };
            records.push(whole.records.saturating_sub(handed));
            let last = whole.markers.values().max().filter(|_| whole.markers.len() == self.partitions);
            steps.extend(last.map(|at| at.saturating_sub(handed)));
        }
        records.sort_unstable();
        steps.sort_unstable();
        Ok((records, steps))
    }
}

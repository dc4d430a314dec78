//! An author that writes a region's topic at a steady rate, and records when each step was handed to Kafka.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use kafka::{KafkaSettings, SoleLeader};
use odds::{Digest, Pending, Region, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{micros, world::World};

const STEPS_A_SECOND: u32 = 20;

/// When each step was handed to Kafka, in microseconds, and the times of the markers.
#[derive(Clone, Debug, Default)]
pub struct Times {
    handed: Arc<Mutex<HashMap<u64, u64>>>,
    markers: Arc<Mutex<Vec<Timestamp>>>,
}

impl Times {
    pub fn note(&self, step: u64) {
        self.handed.lock().expect("no panic while the lock is held").insert(step, micros());
    }

    pub fn of(&self, step: u64) -> Option<u64> {
        self.handed.lock().expect("no panic while the lock is held").get(&step).copied()
    }

    fn note_marker(&self, at: Timestamp) {
        self.markers.lock().expect("no panic while the lock is held").push(at);
    }

    /// The times of all markers so far, in order.
    pub fn markers(&self) -> Vec<Timestamp> {
        self.markers.lock().expect("no panic while the lock is held").clone()
    }
}

/// Writes a region's topic, like a producer that leads the region.
pub struct Author {
    leader: SoleLeader,
    region: Region,
    world: World,
    pub times: Times,
}

impl Author {
    /// Becomes the region's leader and publishes a board of a quarter of a megabyte.
    pub async fn start(kafka: &KafkaSettings, region: Region) -> anyhow::Result<Self> {
        let mut kafka = kafka.clone();
        // The race's Kafka client for Node.js supports only gzip without extra packages.
        kafka.properties.push("producer.compression.type=none".parse()?);
        Self::lead(&kafka, region, World::default()).await
    }

    /// Becomes the region's leader and publishes the board of this world.
    pub async fn lead(kafka: &KafkaSettings, region: Region, world: World) -> anyhow::Result<Self> {
        let leader = SoleLeader::start(kafka, region, service::now(), 0).await?;
        let mut this = Self { leader, region, world, times: Times::default() };
        this.publish_all().await?;
        Ok(this)
    }

    pub fn region(&self) -> Region {
        self.region
    }

    pub fn digest(&self) -> Digest {
        self.leader.reader().board().digest()
    }

    /// Publishes the whole board again. The embedded cluster keeps little, and a new reader needs all events.
    pub async fn publish_all(&mut self) -> anyhow::Result<()> {
        self.leader.republish_all();
        let pending = self.world.poll_all(self.leader.reader().board());
        self.publish(&pending).await
    }

    /// Publishes a poll of one sport, in which this many quotes have a new price.
    pub async fn step(&mut self, changes: usize) -> anyhow::Result<()> {
        let mut pending = Pending::default();
        self.world.change(changes, self.leader.reader().board(), &mut pending)?;
        self.times.note(self.world.step);
        self.publish(&pending).await
    }

    async fn publish(&mut self, pending: &Pending) -> anyhow::Result<()> {
        self.leader.publish(pending, self.world.status(service::now())).await?;
        self.times.note_marker(self.leader.reader().marker().context("a step was published")?.at);
        Ok(())
    }
}

/// An author that publishes steps in the background until it is stopped.
pub struct Writing {
    task: JoinHandle<anyhow::Result<Author>>,
    stop: CancellationToken,
}

impl Writing {
    /// Starts publishing twenty steps a second, each with this many changes.
    pub fn start(author: Author, changes: usize) -> Self {
        Self::start_at(author, changes, STEPS_A_SECOND)
    }

    pub fn start_at(mut author: Author, changes: usize, steps_a_second: u32) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / steps_a_second);
            while !stopped.is_cancelled() {
                pace.tick().await;
                author.step(changes).await?;
            }
            Ok(author)
        });
        Self { task, stop }
    }

    pub async fn stop(self) -> anyhow::Result<Author> {
        self.stop.cancel();
        self.task.await?
    }
}

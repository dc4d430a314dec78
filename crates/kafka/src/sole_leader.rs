//! Leads a region without an election: in a replay and in tests, where no other producer runs.

use odds::{LeaderState, Outgoing, Pending, Phase, Reader, Region, Status, StepId, StepRecords, Timestamp, Writer};
use rdkafka::error::KafkaError;

use crate::{
    ConsumerMode, FollowerEvent, KafkaSettings, LostBoard, MAX_RECORD_BYTES, Publisher, ReadError, RegionFollower,
    Steps,
};

/// Writes a region's topic, and reads back what it has written.
pub struct SoleLeader {
    follower: RegionFollower,
    publisher: Publisher,
    writer: Writer,
}

#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] KafkaError),
    #[error(transparent)]
    Lost(#[from] LostBoard),
    #[error("another producer leads this region")]
    Deposed,
}

impl SoleLeader {
    /// Reads the topic and begins a term. `tie` decides between terms that begin at the same time.
    pub async fn start(kafka: &KafkaSettings, region: Region, now: Timestamp, tie: u32) -> Result<Self, LeadError> {
        let mut follower = RegionFollower::new(kafka.clone(), region, ConsumerMode::Alone, Steps::Newest);
        while !follower.is_loaded() {
            follower.next().await?;
        }
        let publisher = Publisher::new(kafka, region)?;
        let (writer, fence) = begin(follower.reader(), now, tie);
        let mut this = Self { follower, publisher, writer };
        this.send_fence(&fence).await?;
        Ok(this)
    }

    /// Begins a new term, as another leader would.
    pub async fn begin_term(&mut self, now: Timestamp, tie: u32) -> Result<(), LeadError> {
        let (writer, fence) = begin(self.follower.reader(), now, tie);
        self.writer = writer;
        self.send_fence(&fence).await
    }

    async fn send_fence(&mut self, fence: &[Outgoing]) -> Result<(), LeadError> {
        self.publisher.send(fence).await?;
        self.read_back().await
    }

    /// The topic as it was read back.
    pub fn reader(&self) -> &Reader {
        self.follower.reader()
    }

    /// The step that was written last.
    pub fn last_step(&self) -> StepId {
        self.writer.last()
    }

    /// Makes the next step publish everything again.
    pub fn republish_all(&mut self) {
        self.writer.republish_all();
    }

    /// Builds the next step, which must be sent then.
    pub fn next_step(&mut self, pending: &Pending, status: Status) -> StepRecords {
        self.writer.next_step(self.follower.reader_mut(), pending, status, MAX_RECORD_BYTES)
    }

    /// Sends a step, and returns when it is read back.
    pub async fn send(&mut self, step: &StepRecords) -> Result<(), LeadError> {
        self.publisher.send(&step.records).await?;
        self.publisher.send(&step.markers).await?;
        self.read_back().await
    }

    /// Builds the next step and sends it.
    pub async fn publish(&mut self, pending: &Pending, status: Status) -> Result<(), LeadError> {
        let step = self.next_step(pending, status);
        self.send(&step).await
    }

    async fn read_back(&mut self) -> Result<(), LeadError> {
        loop {
            match self.writer.state(self.follower.reader()) {
                LeaderState::Ready => return Ok(()),
                LeaderState::Deposed => return Err(LeadError::Deposed),
                LeaderState::Fencing | LeaderState::Publishing => {}
            }
            if let FollowerEvent::Lost(cause) = self.follower.next().await? {
                return Err(cause.into());
            }
        }
    }
}

fn begin(reader: &Reader, now: Timestamp, tie: u32) -> (Writer, Vec<Outgoing>) {
    Writer::begin(reader, now, tie, reader.phase() != Phase::Live)
}

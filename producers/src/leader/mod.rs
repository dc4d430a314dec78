//! A producer of one region. It stands by until it wins the election; then it fences, polls and publishes until it
//! loses the leadership.

mod delivery;
mod fence_pause;
mod spending_file;
mod task;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use kafka::{ConsumerMode, Election, FollowerEvent, KafkaSettings, RegionFollower, Steps};
use odds::{Region, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span};

use self::{spending_file::SpendingFile, task::ProducerTask};
use crate::{Metrics, Source, polling::Polling, settings::PollSettings};

/// A producer of one region.
#[derive(Debug)]
pub struct Producer {
    region: Region,
    polling: PollSettings,
    kafka: KafkaSettings,
    source: Arc<dyn Source>,
    clock: fn() -> Timestamp,
    metrics: Metrics,
    spending_file: Option<SpendingFile>,
}

impl Producer {
    pub fn new(
        region: Region,
        polling: PollSettings,
        kafka: KafkaSettings,
        source: Arc<dyn Source>,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        Self { region, polling, kafka, source, clock, metrics, spending_file: None }
    }

    /// Also stores each day's spent credits in a file, for processes whose topics are lost when they end.
    #[must_use]
    pub fn with_spending_file(self, path: PathBuf) -> Self {
        Self { spending_file: Some(SpendingFile::new(path)), ..self }
    }

    /// Runs until `stop` is cancelled. Fails if the API refuses the key, librdkafka refuses the settings, the spending
    /// file can't be read, or a task ends unexpectedly.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // Each line of the log names the region.
        let span = error_span!("producer", region = %self.region);
        self.take_part(stop).instrument(span).await
    }

    async fn take_part(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut follower = RegionFollower::new(self.kafka.clone(), self.region, ConsumerMode::Alone, Steps::Newest);
        // A producer that can't read the topic must not win the election.
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = follower.next() => {
                    if let FollowerEvent::Loading = event.context("reading the topic failed")? {
                        break;
                    }
                }
            }
        }
        let election = Election::join(&self.kafka, "producer", self.region)?;
        let now = (self.clock)();
        let mut polling = Polling::new(self.region, self.polling.clone(), self.source.clone(), now);
        if let Some(published) = self.spending_file.as_ref().map(SpendingFile::read).transpose()?.flatten() {
            polling.spending_mut().take_over(&published, now);
        }
        ProducerTask::new(self, follower, election, polling).run(stop).await
    }
}

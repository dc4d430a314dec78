//! A historian of one region: stands by until it wins the election, then records until it loses it.

use std::sync::Arc;

use anyhow::Context;
use history::Store;
use kafka::{Election, ElectionEvent, KafkaSettings};
use odds::{Region, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span, info};

use crate::{
    Metrics,
    recording::{End, Recording},
};

/// A historian of one region.
#[derive(Debug)]
pub struct Historian {
    pub(crate) region: Region,
    pub(crate) kafka: KafkaSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) metrics: Metrics,
}

impl Historian {
    pub fn new(
        region: Region,
        kafka: KafkaSettings,
        store: Arc<dyn Store>,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        Self { region, kafka, store, clock, metrics }
    }

    /// Runs until `stop` is cancelled. Fails if librdkafka refuses the settings or a task ends unexpectedly.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // Each line of the log names the region.
        let span = error_span!("historian", region = %self.region);
        self.take_part(stop).instrument(span).await
    }

    async fn take_part(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut election =
            Election::join(&self.kafka, "historian", self.region).context("joining the election failed")?;
        loop {
            while !election.is_won() {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    event = election.next() => if event == ElectionEvent::Won { break },
                }
            }
            info!("recording");
            self.metrics.leading.set(1);
            let end = Recording::new(&self).run(&mut election, &stop).await;
            self.metrics.leading.set(0);
            match end? {
                End::Deposed => info!("standing by: another historian records"),
                End::Stopped => {
                    election.leave();
                    return Ok(());
                }
            }
        }
    }
}

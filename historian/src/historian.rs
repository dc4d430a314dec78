//! A historian of one region: stands by until it wins the election, then records until it loses it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context;
use history::Store;
use kafka::{Election, ElectionEvent, KafkaSettings};
use odds::{Region, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span, info, warn};

use crate::{
    Metrics, Retention,
    recording::{End, Recording},
};

/// How often what is too old is forgotten. The first time is soon after this historian starts to lead.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
const FIRST_FORGET_AFTER: Duration = Duration::from_secs(60);

/// A historian of one region.
#[derive(Debug)]
pub struct Historian {
    pub(crate) region: Region,
    pub(crate) kafka: KafkaSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) metrics: Metrics,
    /// `None`: everything is kept.
    retention: Option<Retention>,
}

impl Historian {
    pub fn new(
        region: Region,
        kafka: KafkaSettings,
        store: Arc<dyn Store>,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        Self { region, kafka, store, clock, metrics, retention: None }
    }

    /// Forgets what is older, too, while it leads.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
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
            let end = tokio::select! {
                end = Recording::new(&self).run(&mut election, &stop) => end,
                never = self.forget_what_is_older() => match never {},
            };
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

    async fn forget_what_is_older(&self) -> Infallible {
        let Some(retention) = self.retention else { return std::future::pending().await };
        tokio::time::sleep(FIRST_FORGET_AFTER).await;
        loop {
            let forgotten = self.store.forget(self.region, (self.clock)(), retention.keep()).await;
            if let Err(error) = forgotten {
                warn!(%error, "what is too old can't be removed from the history: trying again later");
            }
            tokio::time::sleep(FORGET_EVERY).await;
        }
    }
}

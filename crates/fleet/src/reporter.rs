//! Writes a program's reports.

use std::{sync::Arc, time::Duration};

use kafka::{FLEET, KafkaError, KafkaSettings, TopicWriter};
use odds::Timestamp;
use service::{Lifecycle, MetricRegistry, Troubles};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};

use crate::{
    report::{Clients, LoggedTrouble, Report},
    values::{Sports, Values},
};

const EVERY: Duration = Duration::from_secs(5);
/// One of so many reports has everything. The others lack what is long and has not changed.
const WHOLE_EVERY: u32 = 6;
/// How long the last report may take while the program ends.
const LAST_WITHIN: Duration = Duration::from_secs(2);
/// How long a warning or an error is reported.
const TROUBLED_FOR: Duration = Duration::from_secs(600);

/// Reports every few seconds, for as long as the program runs.
pub struct Reporter {
    role: &'static str,
    instance: String,
    since: Timestamp,
    metrics: Arc<MetricRegistry>,
    logged: Troubles,
    clock: fn() -> Timestamp,
    clients: Option<ClientsNow>,
    writer: TopicWriter<Report>,
    /// How many reports were made since the last whole one.
    since_whole: u32,
    /// What was reported last of what is long.
    sports: Sports,
    troubles: Vec<LoggedTrouble>,
}

/// Returns the clients that a gateway has.
type ClientsNow = Box<dyn Fn() -> Clients + Send + Sync>;

impl Reporter {
    /// `instance` tells programs of one name apart; by default, it is the host and the process. Start it last: a program
    /// that can't start has nothing to report.
    pub fn new(
        role: &'static str,
        instance: Option<String>,
        kafka: &KafkaSettings,
        metrics: Arc<MetricRegistry>,
        troubles: Troubles,
        clock: fn() -> Timestamp,
    ) -> Result<Self, KafkaError> {
        let instance = instance.unwrap_or_else(Self::instance);
        let writer = TopicWriter::new(kafka, FLEET)?;
        Ok(Self {
            role,
            instance,
            since: clock(),
            metrics,
            logged: troubles,
            clock,
            clients: None,
            writer,
            since_whole: 0,
            sports: Sports::new(),
            troubles: Vec::new(),
        })
    }

    /// Also reports a gateway's clients.
    #[must_use]
    pub fn with_clients(self, clients: impl Fn() -> Clients + Send + Sync + 'static) -> Self {
        Self { clients: Some(Box::new(clients)), ..self }
    }

    /// The host and the process.
    pub fn instance() -> String {
        let host = service::hostname().unwrap_or_else(|| "host".into());
        format!("{host}-{}", std::process::id())
    }

    /// Reports until the program stops. The last report says that it was asked to, or has the error that ended it.
    pub async fn run(mut self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        let stop = lifecycle.stopping();
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fails = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            let report = self.report();
            let sent = tokio::select! {
                () = stop.cancelled() => break,
                sent = self.send(report) => sent,
            };
            // What prevents it is logged as a warning by those who depend on Kafka.
            match &sent {
                Err(error) if !fails => info!(%error, "operators don't see this program's reports"),
                Ok(()) if fails => info!("operators see this program's reports again"),
                _ => {}
            }
            fails = sent.is_err();
            if fails {
                self.since_whole = 0;
            }
        }
        let failed = lifecycle.has_failed().await;
        self.since_whole = 0;
        let last = Report { ends: !failed, failed, ..self.report() };
        if !matches!(timeout(LAST_WITHIN, self.send(last)).await, Ok(Ok(()))) {
            debug!("the last report could not be written");
        }
        Ok(())
    }

    async fn send(&self, report: Report) -> Result<(), KafkaError> {
        self.writer.send(0, &report.key(), &report).await
    }

    fn report(&mut self) -> Report {
        let at = (self.clock)();
        let is_recent = |trouble: &LoggedTrouble| at.millis_since(trouble.at) < TROUBLED_FOR.as_millis() as i64;
        let troubles: Vec<LoggedTrouble> =
            self.logged.newest().into_iter().map(LoggedTrouble::from).filter(is_recent).collect();
        let (values, sports) = Values::of_metrics(&self.metrics.encode());
        let is_whole = self.since_whole == 0;
        self.since_whole = (self.since_whole + 1) % WHOLE_EVERY;
        // Their ages always change.
        let polls_others = |one: &Sports, other: &Sports| {
            one.len() != other.len() || one.iter().zip(other).any(|(one, other)| !one.1.keys().eq(other.1.keys()))
        };
        let sports = (is_whole || polls_others(&sports, &self.sports)).then(|| {
            self.sports.clone_from(&sports);
            sports
        });
        let troubles = (is_whole || troubles != self.troubles).then(|| {
            self.troubles.clone_from(&troubles);
            troubles
        });
        Report {
            v: Report::VERSION,
            role: self.role.to_owned(),
            instance: self.instance.clone(),
            version: is_whole.then(|| env!("CARGO_PKG_VERSION").to_owned()),
            since: self.since,
            at,
            values,
            sports,
            clients: self.clients.as_ref().map(|clients| clients()),
            memory: if is_whole { service::memory() } else { None },
            troubles,
            ends: false,
            failed: false,
        }
    }
}

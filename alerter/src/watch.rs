//! Evaluates the rules of some shards on every step of all regions, and records what that decides.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use accounts::{Alert, AlertState, DecidedStep, Shard, ShardProgress, Store, StoreError, Unwatched, UserId};
use alerts::{Decision, Matcher};
use anyhow::Context;
use kafka::{ControlMessage, KafkaSettings, TopicFollower, follow_control};
use odds::{Region, Timestamp};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior},
};
use tracing::{debug, info, warn};

use crate::{
    Metrics,
    continuity::{Continuity, Gap},
    regions::Regions,
    rules::Rules,
    steady_clock::SteadyClock,
};

/// How often what depends on the time is evaluated.
const TICK: Duration = Duration::from_secs(1);
/// How often the lag is read.
const LAG_INTERVAL: Duration = Duration::from_secs(3);
/// How many decisions are recorded at once.
const MOST_AT_ONCE: usize = 500;
/// How long decisions wait for others while steps that were missed are read.
const GATHER_FOR: Duration = Duration::from_millis(200);
/// How often progress is recorded if nothing is decided.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// How many late alerts are settled at once.
const LATE_PAGE: usize = 200;
/// How long late alerts wait for all regions.
const LOADED_WITHIN: Duration = Duration::from_secs(120);
/// The pause after the store failed. It doubles each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What watches need.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) kafka: KafkaSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) recheck: Duration,
    pub(crate) metrics: Metrics,
    /// Something was recorded that must be published.
    pub(crate) recorded: Arc<Notify>,
}

pub(crate) struct Watch {
    context: Setup,
    clock: SteadyClock,
    regions: Regions,
    rules: Rules,
    matcher: Matcher,
    /// Decided and not recorded.
    decisions: Vec<Decision>,
    /// The times of the steps that decided them.
    decided_at: Vec<Timestamp>,
    /// The newest of these steps.
    progress: ShardProgress,
    continuity: Continuity,
    /// Found and not recorded.
    gaps: Vec<Gap>,
    gathering_since: Option<Instant>,
    saved_at: Instant,
    /// Whether there may be late alerts.
    has_late: bool,
    started_at: Instant,
}

impl Watch {
    /// Runs until it has lost all shards, which others send it.
    pub(crate) async fn run(
        context: Setup,
        shards: BTreeSet<Shard>,
        mut lost: mpsc::UnboundedReceiver<Vec<Shard>>,
    ) -> anyhow::Result<()> {
        // Before the rules are read, so that no change in between is missed.
        let mut control = follow_control(&context.kafka)?;
        let mut retry = Retry::new(&context.metrics);
        let (rules, matcher) = loop {
            match Rules::load(context.store.clone(), &shards).await {
                Ok(loaded) => break loaded,
                Err(error) => retry.after(error).await,
            }
        };
        retry.done();
        let mut watch = Self {
            clock: SteadyClock::new(context.clock),
            regions: Regions::new(&context.kafka),
            continuity: Continuity::new(rules.decided().clone()),
            rules,
            matcher,
            decisions: Vec::new(),
            decided_at: Vec::new(),
            progress: ShardProgress::default(),
            gaps: Vec::new(),
            gathering_since: None,
            saved_at: Instant::now(),
            has_late: true,
            started_at: Instant::now(),
            context,
        };
        // Changes that were made while the rules were read may have been announced before.
        watch.look_up_changes().await;
        loop {
            match lost.try_recv() {
                Ok(shards) => watch.drop_shards(&shards),
                Err(mpsc::error::TryRecvError::Empty) => {}
                Err(mpsc::error::TryRecvError::Disconnected) => return Ok(()),
            }
            if watch.rules.shards().is_empty() {
                info!("another alerter evaluates these rules now");
                return Ok(());
            }
            watch.work(&mut control, &mut lost).await?;
        }
    }

    /// Works until some shards are lost.
    async fn work(
        &mut self,
        control: &mut TopicFollower<ControlMessage>,
        lost: &mut mpsc::UnboundedReceiver<Vec<Shard>>,
    ) -> anyhow::Result<()> {
        let timer = |every| {
            let mut timer = tokio::time::interval(every);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        };
        let (mut tick, mut lag, mut recheck) = (timer(TICK), timer(LAG_INTERVAL), timer(self.context.recheck));
        loop {
            self.context.metrics.rules.set(self.matcher.len() as i64);
            tokio::select! {
                biased;
                shards = lost.recv() => {
                    if let Some(shards) = shards {
                        self.drop_shards(&shards);
                    }
                    return Ok(());
                }
                region = self.regions.next() => {
                    self.step(region.context("reading a region failed")?);
                    self.record_if_due().await;
                }
                message = control.next() => self.handle_message(message).await,
                _ = tick.tick() => self.tick().await,
                _ = recheck.tick() => self.look_up_changes().await,
                _ = lag.tick() => {
                    for (region, gauge) in self.regions.lag_gauges() {
                        if let Ok(lag) = gauge.read().await {
                            self.context.metrics.set_lag(region, lag.iter().sum());
                        }
                    }
                }
            }
        }
    }

    fn drop_shards(&mut self, shards: &[Shard]) {
        self.rules.drop_shards(shards, &mut self.matcher);
        self.continuity.drop_shards(shards);
    }

    fn step(&mut self, region: Region) {
        let now = self.clock.now();
        let changes = self.regions.changes(region);
        let step = self.regions.step(region, &changes, now);
        let before = self.matcher.evaluations();
        self.decisions.extend(self.matcher.step(&step, now));
        let metrics = &self.context.metrics;
        metrics.evaluations.inc_by(self.matcher.evaluations() - before);
        metrics.steps.inc();
        let Some(marker) = self.regions.newest(region) else { return };
        self.decided_at.push(marker.at);
        metrics.set_lag_seconds(region, marker.at, now);
        let Some(position) = marker.position else { return self.continuity.read_unordered(region) };
        self.gaps.extend(self.continuity.read(region, position, marker.at, changes.1));
        if self.matcher.decided().get(region) == Some(position) {
            self.progress.set(region, DecidedStep { position, at: Some(marker.at) });
        }
    }

    async fn tick(&mut self) {
        let now = self.clock.now();
        let decided = self.matcher.tick(&self.regions.boards(), now);
        self.decisions.extend(decided);
        self.record_if_due().await;
        // A region that can't be read doesn't delay the alerts of others for ever.
        let is_ready = self.regions.are_loaded() || self.started_at.elapsed() > LOADED_WITHIN;
        if self.has_late && is_ready && self.regions.are_read_to_the_end(now).await {
            self.settle_late_alerts().await;
        }
    }

    /// Records at once, unless there are many steps to catch up with.
    async fn record_if_due(&mut self) {
        if self.decisions.is_empty() {
            if self.saved_at.elapsed() >= SAVE_INTERVAL {
                self.record().await;
            }
            return;
        }
        let since = *self.gathering_since.get_or_insert_with(Instant::now);
        let is_full = self.decisions.len() >= MOST_AT_ONCE || since.elapsed() >= GATHER_FOR;
        if is_full || self.regions.are_loaded() {
            self.record().await;
        }
    }

    /// Records all decisions, however long the store takes: until then, nothing else is decided.
    async fn record(&mut self) {
        self.note_gaps().await;
        let decisions = std::mem::take(&mut self.decisions);
        let (shards, progress) = (self.rules.shards(), self.progress.clone());
        let mut chunks: Vec<&[Decision]> = decisions.chunks(MOST_AT_ONCE).collect();
        let last = chunks.pop().unwrap_or_default();
        for chunk in chunks {
            // The steps are decided only with the last of them.
            self.record_some(&[], chunk, &ShardProgress::default()).await;
        }
        self.record_some(&shards, last, &progress).await;
        let now = (self.context.clock)();
        self.decided_at.drain(..).for_each(|at| self.context.metrics.decided(at, now));
        self.gathering_since = None;
        self.saved_at = Instant::now();
    }

    /// Notes the gaps before the progress is recorded: after a crash in between, they are found again.
    async fn note_gaps(&mut self) {
        let Setup { store, metrics, .. } = self.context.clone();
        let held = self.rules.shards();
        for gap in std::mem::take(&mut self.gaps) {
            let mut retry = Retry::new(&metrics);
            let shards = loop {
                match gap.note(&*store, &held).await {
                    Ok(shards) => break shards,
                    Err(error) => retry.after(error).await,
                }
            };
            retry.done();
            if !shards.is_empty() {
                let Unwatched { region, from, until } = gap.unwatched;
                info!(%region, %from, %until, ?shards, "rules were not evaluated: the topic has lost steps of this time");
                metrics.unwatched.with(region).inc();
            }
        }
    }

    async fn record_some(&mut self, shards: &[Shard], decisions: &[Decision], progress: &ShardProgress) {
        let Setup { store, clock, metrics, recorded: news, .. } = self.context.clone();
        let mut retry = Retry::new(&metrics);
        let recorded = loop {
            match store.record(shards, decisions, progress, clock()).await {
                Ok(recorded) => break recorded,
                Err(error) => retry.after(error).await,
            }
        };
        retry.done();
        metrics.fired.inc_by(recorded.alerts.len() as u64);
        self.has_late |= recorded.alerts.iter().any(|alert| alert.state == AlertState::Late);
        if recorded.alerts.iter().any(|alert| alert.state == AlertState::Waiting) {
            news.notify_one();
        }
        metrics.refused.inc_by(recorded.refused.len() as u64);
        for rule in recorded.refused {
            debug!(%rule, "a decision was not accepted: reading the rule again");
            let (rules, matcher, boards) = (&mut self.rules, &mut self.matcher, self.regions.boards());
            let mut retry = Retry::new(&metrics);
            while let Err(error) = rules.reload(rule, matcher, &boards).await {
                retry.after(error).await;
            }
            retry.done();
        }
    }

    async fn handle_message(&mut self, message: ControlMessage) {
        if let ControlMessage::Rules { user } | ControlMessage::User { user, .. } = message {
            self.rules.outdate(UserId::named(&user));
            self.reload_outdated().await;
        }
    }

    async fn look_up_changes(&mut self) {
        // A former owner may have left some after this one looked.
        self.has_late = true;
        if let Err(error) = self.rules.look_up_changes().await {
            warn!(%error, "changed rules can't be looked up: trying again later");
        }
        self.reload_outdated().await;
    }

    async fn reload_outdated(&mut self) {
        let boards = self.regions.boards();
        if let Err(error) = self.rules.reload_outdated(&mut self.matcher, &boards).await {
            warn!(%error, "changed rules can't be read: trying again later");
        }
    }

    /// Notifies of late alerts whose conditions hold now. The others were missed.
    async fn settle_late_alerts(&mut self) {
        match self.try_to_settle().await {
            Ok(has_more) => self.has_late = has_more,
            Err(error) => warn!(%error, "late alerts can't be settled: trying again"),
        }
    }

    async fn try_to_settle(&mut self) -> Result<bool, StoreError> {
        let store = self.context.store.clone();
        let mut has_more = false;
        for shard in self.rules.shards() {
            let page = store.pending_alerts(shard, AlertState::Late, LATE_PAGE).await?;
            has_more |= page.len() == LATE_PAGE;
            for alert in page {
                let holds = self.holds(&alert).await?;
                if store.settle_alert(alert.id, !holds).await?.is_none() {
                    continue;
                }
                match holds {
                    true => self.context.recorded.notify_one(),
                    false => drop(self.context.metrics.missed.inc()),
                }
            }
        }
        Ok(has_more)
    }

    async fn holds(&self, alert: &Alert) -> Result<bool, StoreError> {
        let stored = self.context.store.rule(&alert.user, alert.id.rule).await?;
        let stored = stored.filter(|stored| stored.revision == alert.id.revision);
        Ok(stored.is_some_and(|it| self.matcher.holds(&it.rule, &alert.content.facts, &self.regions.boards())))
    }
}

/// Waits longer after each failure of the store.
struct Retry<'a> {
    metrics: &'a Metrics,
    pause: Duration,
}

impl<'a> Retry<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self { metrics, pause: FIRST_PAUSE }
    }

    async fn after(&mut self, error: StoreError) {
        self.metrics.store_available.set(0);
        warn!(%error, "nothing is decided until the store works again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn done(self) {
        self.metrics.store_available.set(1);
    }
}

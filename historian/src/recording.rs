//! Follows a region and writes its steps to the store, in order and in batches: what arrives between two writes is
//! written at once.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use futures::future::{BoxFuture, OptionFuture};
use history::{Append, RecordedStep, Recorder, Store, StoreError};
use kafka::{ConsumerMode, Election, ElectionEvent, FollowerEvent, LagGauge, RegionFollower, Steps};
use odds::{Region, Timestamp};
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, debug, info, warn};

use crate::{Historian, Metrics};

/// How many steps may wait for the store. More are left on the topic.
const MOST_WAITING: usize = 1_000;
/// How many steps are written at once.
const MOST_AT_ONCE: usize = 200;
/// A write begins so long after the one before, unless as many steps wait as can be written at once. Each write costs
/// a wait for the disk and several requests, however few steps it has.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// The pause after a write that failed. It doubles each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long a shutdown waits for the store.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// How often the lag is read.
const LAG_INTERVAL: Duration = Duration::from_secs(3);

/// Why a recording ended.
pub(crate) enum End {
    Stopped,
    /// Another historian leads.
    Deposed,
}

/// Records a region while this process leads.
pub(crate) struct Recording<'a> {
    historian: &'a Historian,
    follower: RegionFollower,
    recorder: Recorder,
    waiting: Vec<RecordedStep>,
    writing: Option<Write>,
    /// When the next write may begin.
    not_before: Instant,
    /// Whether a step without a position was seen last.
    is_without_position: bool,
    begun: Timestamp,
    watching: Option<AbortOnDropHandle<()>>,
}

type Done = (Arc<[RecordedStep]>, Result<Append, StoreError>);

/// A write that is under way.
struct Write {
    done: BoxFuture<'static, Done>,
    /// How often it failed.
    failures: u32,
}

impl<'a> Recording<'a> {
    pub(crate) fn new(historian: &'a Historian) -> Self {
        let Historian { kafka, region, .. } = historian;
        Self {
            historian,
            follower: RegionFollower::new(kafka.clone(), *region, ConsumerMode::Alone, Steps::Every),
            recorder: Recorder::default(),
            waiting: Vec::new(),
            writing: None,
            not_before: Instant::now(),
            is_without_position: false,
            begun: (historian.clock)(),
            watching: None,
        }
    }

    pub(crate) async fn run(mut self, election: &mut Election, stop: &CancellationToken) -> anyhow::Result<End> {
        loop {
            self.historian.metrics.waiting.set(self.waiting.len() as i64);
            if self.waiting.len() >= MOST_AT_ONCE || Instant::now() >= self.not_before {
                self.write_next();
            }
            let has_room = self.waiting.len() < MOST_WAITING;
            let must_wait = self.writing.is_none() && !self.waiting.is_empty();
            let writing = self.writing.as_mut().map(|write| &mut write.done);
            tokio::select! {
                () = stop.cancelled() => {
                    self.flush().await;
                    return Ok(End::Stopped);
                }
                // The next leader reads from the topic what was not written.
                event = election.next() => if event == ElectionEvent::Lost { return Ok(End::Deposed) },
                Some(done) = OptionFuture::from(writing) => self.written(done),
                () = sleep_until(self.not_before), if must_wait => {}
                event = self.follower.next(), if has_room => self.read(&event.context("reading the topic failed")?),
            }
        }
    }

    fn read(&mut self, event: &FollowerEvent) {
        match event {
            FollowerEvent::Verified(step) => {
                let recorded = self.recorder.record(self.follower.reader());
                let is_without_position = recorded.is_none();
                if is_without_position && !self.is_without_position {
                    warn!(%step, "steps of an earlier version's producer can't be recorded");
                }
                self.is_without_position = is_without_position;
                self.waiting.extend(recorded);
            }
            FollowerEvent::Loading => {
                self.recorder.restart();
                let gauge = self.follower.lag_gauge().expect("the topic is being read");
                self.watching = Some(watch_lag(gauge, self.historian.metrics.clone()));
            }
            FollowerEvent::Lost(_) => self.recorder.restart(),
            FollowerEvent::Unavailable(_) | FollowerEvent::Loaded | FollowerEvent::Advanced => {}
        }
    }

    /// Starts a write if there is something to write and none is under way.
    fn write_next(&mut self) {
        if self.writing.is_some() || self.waiting.is_empty() {
            return;
        }
        let steps = self.waiting.drain(..self.waiting.len().min(MOST_AT_ONCE)).collect();
        let done = write(self.historian.store.clone(), self.historian.region, steps, Duration::ZERO);
        self.writing = Some(Write { done, failures: 0 });
        self.not_before = Instant::now() + WRITE_INTERVAL;
    }

    fn written(&mut self, (steps, done): Done) {
        let metrics = &self.historian.metrics;
        let Write { failures, .. } = self.writing.take().expect("one was under way");
        match done {
            Ok(append) => {
                if failures > 0 {
                    info!("the store is available again");
                }
                metrics.store_available.set(1);
                metrics.batches.inc();
                let now = (self.historian.clock)();
                for step in &*steps {
                    metrics.recorded(step);
                    // What is read again after a start was recorded long ago.
                    if step.marker.at >= self.begun {
                        metrics.recorded_after(step.marker.at, now);
                    }
                }
                if append == Append::Unconnected {
                    // What is waiting follows the step that was not stored.
                    self.waiting.clear();
                    self.recorder.restart();
                }
            }
            Err(error) => {
                metrics.failures.inc();
                metrics.store_available.set(0);
                if failures == 0 {
                    warn!(%error, "the history can't be written: trying again until it can");
                }
                let pause = FIRST_PAUSE * 2u32.pow(failures.min(6));
                let done = write(self.historian.store.clone(), self.historian.region, steps, pause.min(LONGEST_PAUSE));
                self.writing = Some(Write { done, failures: failures + 1 });
            }
        }
    }

    /// Writes what is waiting, as long as the store takes it.
    async fn flush(&mut self) {
        let deadline = Instant::now() + FLUSH_WITHIN;
        self.write_next();
        while let Some(write) = &mut self.writing {
            match tokio::time::timeout_at(deadline, &mut write.done).await {
                Ok(done) if done.1.is_ok() => self.written(done),
                _ => return,
            }
            self.write_next();
        }
    }
}

/// Periodically notes how far the reader is behind, until the returned handle is dropped.
fn watch_lag(gauge: LagGauge, metrics: Metrics) -> AbortOnDropHandle<()> {
    let watching = async move {
        loop {
            match gauge.read().await {
                Ok(lag) => metrics.set_lag(&lag),
                Err(error) => debug!(%error, "can't read the consumers' lag"),
            }
            tokio::time::sleep(LAG_INTERVAL).await;
        }
    };
    AbortOnDropHandle::new(tokio::spawn(watching.in_current_span()))
}

fn write(
    store: Arc<dyn Store>,
    region: Region,
    steps: Arc<[RecordedStep]>,
    pause: Duration,
) -> BoxFuture<'static, Done> {
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        let done = store.append(region, steps.clone()).await;
        (steps, done)
    })
}

//! Follows the odds topic of one region for as long as a program runs, and returns verified boards.
//!
//! It recovers by itself from any failure of Kafka or the topic. It retries; it reads the topic from its beginning when
//! the log that it read is no longer the topic's; and it asks the leading producer to publish everything when a freshly
//! read board does not match its digest. Its caller sees only [`FollowerEvent`]s, not Kafka.

use std::time::Duration;

use futures::future::OptionFuture;
use odds::{Board, Phase, Progress, Reader, Region, StepId, Term};
use rdkafka::error::KafkaError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, error, info, warn};

use crate::{
    ControlMessage, ControlWriter, KafkaSettings,
    region_log::{ConsumerMode, LagGauge, LogEvent, ReadError, RegionLog, TopicState},
};

/// The pause between attempts to reach Kafka.
const RETRY: Duration = Duration::from_secs(2);
/// How long a board may stay unverified before it is dropped.
const VERIFIED_WITHIN: Duration = Duration::from_secs(30);
/// The pause before a board that did not match right after it was read is read again. It doubles each time, up to the
/// longest.
const FIRST_RELOAD_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_RELOAD_PAUSE: Duration = Duration::from_secs(60);
/// The shortest time between two requests to publish everything.
const REPUBLISH_REQUEST_INTERVAL: Duration = Duration::from_secs(60);

/// Which verified steps are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// All, including those that are read while the topic is being loaded.
    Every,
    /// Only those after the topic is loaded.
    Newest,
}

#[derive(Debug)]
pub enum FollowerEvent {
    /// The topic can't be read. The follower will retry.
    Unavailable(ReadError),
    /// The topic is being read from its beginning.
    Loading,
    /// Every partition is read to where it ended when loading began. The board may still be unverified.
    Loaded,
    /// The board has this step applied and matches its digest.
    Verified(StepId),
    /// A fence was read, or a step that verifies nothing. A leader waits for both.
    Advanced,
    /// The board that was returned is void. The topic will be read from its beginning, at once or after a pause.
    Lost(LostBoard),
}

/// Why a board is void.
#[derive(Debug, thiserror::Error)]
pub enum LostBoard {
    #[error("the board does not match the digest of step {0}")]
    Mismatch(StepId),
    #[error("no step has verified the board for {} s", VERIFIED_WITHIN.as_secs())]
    Unverified,
    #[error(transparent)]
    Topic(ReadError),
}

pub struct RegionFollower {
    settings: KafkaSettings,
    region: Region,
    mode: ConsumerMode,
    steps: Steps,
    /// Sends requests to publish everything. If none, the topic is only read again.
    control: Option<ControlWriter>,
    state: State,
    /// None until Kafka has answered for the first time.
    log: Option<RegionLog>,
    /// An empty reader, shown while there is no valid board.
    nothing: Reader,
    /// Whether a step has verified the board since the topic was last read from its beginning.
    was_verified: bool,
    unverified_since: Option<Instant>,
    is_writer: bool,
    mismatches_in_a_row: u32,
    republish_requested_at: Option<Instant>,
    grown: Option<Grown>,
}

/// The topic has more partitions than are read.
struct Grown {
    error: ReadError,
    /// Until a later term begins, its leader writes only to the partitions that are read.
    term: Term,
}

enum State {
    /// Waits until the next attempt.
    Paused(Instant),
    Opening(Task<RegionLog>),
    Reading,
    /// Looks up where the topic's partitions end now.
    Reopening(Task<TopicState>),
}

/// A spawned task: it makes progress even while its result isn't awaited.
type Task<T> = AbortOnDropHandle<Result<T, ReadError>>;

impl RegionFollower {
    /// Returns a follower that starts to read with the first call of [`Self::next`].
    pub fn new(settings: KafkaSettings, region: Region, mode: ConsumerMode, steps: Steps) -> Self {
        Self {
            settings,
            region,
            mode,
            steps,
            control: None,
            state: State::Paused(Instant::now()),
            log: None,
            nothing: Reader::new(&[1]),
            was_verified: false,
            unverified_since: None,
            is_writer: false,
            mismatches_in_a_row: 0,
            republish_requested_at: None,
            grown: None,
        }
    }

    /// Makes the follower ask the leading producer to publish everything when a freshly read board does not match.
    #[must_use]
    pub fn requesting_republish(self, control: ControlWriter) -> Self {
        Self { control: Some(control), ..self }
    }

    pub fn region(&self) -> Region {
        self.region
    }

    /// The reader of the topic. While there is no valid board, it is an empty one in phase `Loading`.
    pub fn reader(&self) -> &Reader {
        match (&self.state, &self.log) {
            (State::Reading, Some(log)) => log.reader(),
            _ => &self.nothing,
        }
    }

    pub fn reader_mut(&mut self) -> &mut Reader {
        match (&self.state, &mut self.log) {
            (State::Reading, Some(log)) => log.reader_mut(),
            _ => &mut self.nothing,
        }
    }

    pub fn board(&self) -> &Board {
        self.reader().board()
    }

    /// Whether every partition is read to where it ended when loading began.
    pub fn is_loaded(&self) -> bool {
        self.reader().phase() != Phase::Loading
    }

    /// The number of unreadable records that were written since the process started.
    pub fn unreadable(&self) -> u64 {
        self.log.as_ref().map_or(0, RegionLog::unreadable)
    }

    /// When a consumer read the newest record that was applied. Exact as long as no more than a thousand records are
    /// queued.
    pub fn read_at(&self) -> Instant {
        self.log.as_ref().map_or_else(Instant::now, RegionLog::read_at)
    }

    /// A gauge of the reader's lag; none before the first [`FollowerEvent::Loading`].
    pub fn lag_gauge(&self) -> Option<LagGauge> {
        self.log.as_ref().map(RegionLog::lag_gauge)
    }

    /// Sets whether this process writes the topic. A writer's board is verified by its own next step, so it may stay
    /// unverified for any time. No other process can repair a writer's board, so after a mismatch it is read again at
    /// once.
    pub fn set_writer(&mut self, is_writer: bool) {
        if is_writer
            && !self.is_writer
            && let State::Paused(until) = &mut self.state
        {
            *until = Instant::now();
        }
        self.is_writer = is_writer;
    }

    /// Lets new records wait until this time, if all others are read: many are then read together, which costs less.
    /// For a caller that has no use for them sooner.
    pub fn rest_until(&self, end: Instant) {
        if let (State::Reading, Some(log)) = (&self.state, &self.log) {
            log.rest_until(end);
        }
    }

    /// Waits for the next event. Nothing is lost if the future is dropped. Fails only if a retry can't help: for
    /// example, if librdkafka refuses the settings or another process uses the same instance name.
    pub async fn next(&mut self) -> Result<FollowerEvent, ReadError> {
        loop {
            match &mut self.state {
                State::Paused(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.open();
                }
                State::Opening(opening) => match done(opening.await, self.region) {
                    Ok(log) => {
                        self.log = Some(log);
                        self.state = State::Reading;
                        return Ok(FollowerEvent::Loading);
                    }
                    Err(error) => return self.unavailable(error),
                },
                State::Reopening(reopening) => match done(reopening.await, self.region) {
                    Ok(topic) => {
                        self.log.as_mut().expect("reopening follows opening").restart(topic);
                        self.state = State::Reading;
                        return Ok(FollowerEvent::Loading);
                    }
                    Err(error) => return self.unavailable(error),
                },
                State::Reading => {
                    // A writer must write to every partition.
                    if let Some(Grown { error, .. }) = self.grown.take_if(|_| self.is_writer) {
                        return Ok(self.lose(LostBoard::Topic(error)));
                    }
                    let verified_by = self.unverified_since.filter(|_| !self.is_writer).map(|at| at + VERIFIED_WITHIN);
                    let log = self.log.as_mut().expect("set while reading");
                    let event = tokio::select! {
                        event = log.next() => event,
                        Some(()) = OptionFuture::from(verified_by.map(tokio::time::sleep_until)) => return Ok(self.lose(LostBoard::Unverified)),
                    };
                    if let Some(event) = self.read(event)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Opens the topic for the first time, or looks up its current state to read it again.
    fn open(&mut self) {
        self.state = match &self.log {
            None => {
                let (settings, region, mode) = (self.settings.clone(), self.region, self.mode.clone());
                State::Opening(spawn(async move { RegionLog::start(&settings, region, &mode).await }))
            }
            Some(log) => {
                info!("reading the topic from its beginning");
                State::Reopening(spawn(log.topic_state()))
            }
        };
    }

    fn unavailable(&mut self, error: ReadError) -> Result<FollowerEvent, ReadError> {
        self.state = State::Paused(Instant::now() + RETRY);
        if let ReadError::Kafka { error: KafkaError::ClientConfig(..), .. } = error {
            return Err(error);
        }
        warn!(%error, "the topic can't be read: retrying");
        Ok(FollowerEvent::Unavailable(error))
    }

    fn read(&mut self, event: Result<LogEvent, ReadError>) -> Result<Option<FollowerEvent>, ReadError> {
        let event = match event {
            Ok(LogEvent::Loaded) => {
                let (events, quotes) = (self.board().event_count(), self.board().quote_count());
                info!(events, quotes, "the topic is loaded");
                Some(FollowerEvent::Loaded)
            }
            Ok(LogEvent::Progress(Progress::Applied(step))) => self.applied(step),
            Ok(LogEvent::Progress(Progress::Mismatched(step))) => Some(self.lose(LostBoard::Mismatch(step))),
            Ok(LogEvent::Progress(_)) => Some(FollowerEvent::Advanced),
            Err(error @ (ReadError::Fenced { .. } | ReadError::Ended(_))) => return Err(error),
            Err(error @ ReadError::OtherPartitions { partitions, known, .. })
                if partitions > known && self.reader().phase() == Phase::Live =>
            {
                // The leader may notice it later. What it writes until then could not be verified with more partitions.
                let term = self.reader().applied().term;
                self.grown.get_or_insert(Grown { error, term });
                None
            }
            Err(error) => Some(self.lose(LostBoard::Topic(error))),
        };
        let applied = self.reader().applied().term;
        if let Some(Grown { error, .. }) = self.grown.take_if(|grown| applied > grown.term) {
            return Ok(Some(self.lose(LostBoard::Topic(error))));
        }
        match self.reader().phase() {
            Phase::Unverified => drop(self.unverified_since.get_or_insert_with(Instant::now)),
            _ => self.unverified_since = None,
        }
        Ok(event)
    }

    fn applied(&mut self, step: StepId) -> Option<FollowerEvent> {
        debug!(%step, "applied");
        if self.reader().phase() == Phase::Live {
            self.was_verified = true;
            self.mismatches_in_a_row = 0;
        }
        let is_wanted = self.steps == Steps::Every || self.log.as_ref().is_some_and(RegionLog::is_loaded);
        match self.reader().is_verified() {
            true => is_wanted.then_some(FollowerEvent::Verified(step)),
            false => Some(FollowerEvent::Advanced),
        }
    }

    /// Drops a wrong board. If it was verified before, the topic is read again at once. If it was just read and still
    /// doesn't match, only the leading producer can repair it: the topic is read again later, unless this process is
    /// the leading producer.
    fn lose(&mut self, cause: LostBoard) -> FollowerEvent {
        error!(reason = %cause, "dropping the board");
        self.unverified_since = None;
        self.grown = None;
        let was_verified = std::mem::take(&mut self.was_verified);
        if was_verified || self.is_writer || matches!(cause, LostBoard::Topic(_)) {
            self.open();
        } else {
            self.request_republish();
            self.mismatches_in_a_row += 1;
            let pause = FIRST_RELOAD_PAUSE * 2u32.pow(self.mismatches_in_a_row.min(6) - 1);
            self.state = State::Paused(Instant::now() + pause.min(LONGEST_RELOAD_PAUSE));
        }
        FollowerEvent::Lost(cause)
    }

    fn request_republish(&mut self) {
        let Some(control) = self.control.clone() else { return };
        if self.republish_requested_at.is_some_and(|at| at.elapsed() < REPUBLISH_REQUEST_INTERVAL) {
            return;
        }
        self.republish_requested_at = Some(Instant::now());
        let region = self.region;
        let request = async move {
            if let Err(error) = control.send(&ControlMessage::Republish { region }).await {
                warn!(%error, "the request to publish everything can't be sent");
            }
        };
        tokio::spawn(request.in_current_span());
    }
}

fn spawn<T: Send + 'static>(task: impl Future<Output = Result<T, ReadError>> + Send + 'static) -> Task<T> {
    AbortOnDropHandle::new(tokio::spawn(task.in_current_span()))
}

fn done<T>(done: Result<Result<T, ReadError>, tokio::task::JoinError>, region: Region) -> Result<T, ReadError> {
    done.unwrap_or_else(|_| Err(ReadError::Ended(crate::topic_of(region))))
}

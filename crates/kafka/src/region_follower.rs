//! Follows the odds topic of one region for as long as a program runs, and hands over verified boards.
//!
//! Whatever happens to Kafka or to the topic, it comes back by itself: it tries again, reads the topic from its
//! beginning when what it read is no longer what the topic has, and asks the leading producer to publish everything
//! when a board that was just read does not match its digest. Its caller sees [`FollowerEvent`]s and nothing of Kafka.

use std::{future::pending, time::Duration};

use odds::{Board, Phase, Progress, Reader, Region, StepId};
use rdkafka::error::KafkaError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, error, info, warn};

use crate::{
    ControlMessage, ControlWriter, KafkaSettings,
    region_log::{ConsumerMode, LagGauge, LogEvent, ReadError, RegionLog, TopicState},
};

/// Between attempts to reach Kafka.
const RETRY: Duration = Duration::from_secs(2);
/// How long a board is kept that no step has verified.
const VERIFIED_WITHIN: Duration = Duration::from_secs(30);
/// A board that did not match right after it was read is read again after this, and later and later each time.
const FIRST_RELOAD_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_RELOAD_PAUSE: Duration = Duration::from_secs(60);
/// The leader is asked to publish everything at most this often.
const REPUBLISH_REQUEST_INTERVAL: Duration = Duration::from_secs(60);

/// Which verified steps are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Every one, also those that are passed while the topic is read from its beginning.
    Every,
    /// Only those after that: the newest board is enough.
    Newest,
}

#[derive(Debug)]
pub enum FollowerEvent {
    /// The topic can't be read; it is tried again.
    Unavailable(ReadError),
    /// The topic is being read from its beginning.
    Loading,
    /// Every partition is read to where it ended when loading began. The board may still wait to be verified.
    Loaded,
    /// The board is that of this step, and matches its digest.
    Verified(StepId),
    /// Something else that a leader waits for was read: a fence, or a step that verifies nothing.
    Advanced,
    /// The board that was handed over is void. The topic is read from its beginning, sooner or later.
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
    /// Where to ask for everything. Without it, the topic is only read again.
    control: Option<ControlWriter>,
    state: State,
    /// What was read; nothing before Kafka answered for the first time.
    log: Option<RegionLog>,
    /// In place of a board that there is not, or not any more.
    nothing: Reader,
    /// Some step verified the board since the topic was last read from its beginning.
    was_verified: bool,
    unverified_since: Option<Instant>,
    is_writer: bool,
    mismatches_in_a_row: u32,
    republish_requested_at: Option<Instant>,
}

enum State {
    /// Until the next attempt.
    Paused(Instant),
    Opening(Task<RegionLog>),
    Reading,
    /// Kafka is asked where the topic's partitions end now.
    Reopening(Task<TopicState>),
}

/// Runs on whether or not its result is waited for.
type Task<T> = AbortOnDropHandle<Result<T, ReadError>>;

impl RegionFollower {
    /// Begins with the first call of [`Self::next`].
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
        }
    }

    /// Asks the leading producer to publish everything when the board does not match although it was just read.
    #[must_use]
    pub fn requesting_republish(self, control: ControlWriter) -> Self {
        Self { control: Some(control), ..self }
    }

    pub fn region(&self) -> Region {
        self.region
    }

    /// What was read. While there is no board, it is one that is loading.
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

    /// Every partition is read to where it ended when loading began.
    pub fn is_loaded(&self) -> bool {
        self.reader().phase() != Phase::Loading
    }

    /// How many records could not be read, of those that came since the start.
    pub fn unreadable(&self) -> u64 {
        self.log.as_ref().map_or(0, RegionLog::unreadable)
    }

    /// When a consumer read the newest record that was handed over. Exact as long as no more than a thousand records
    /// wait to be handed over.
    pub fn read_at(&self) -> Instant {
        self.log.as_ref().map_or_else(Instant::now, RegionLog::read_at)
    }

    /// How far behind reading is; nothing before [`FollowerEvent::Loading`].
    pub fn lag_gauge(&self) -> Option<LagGauge> {
        self.log.as_ref().map(RegionLog::lag_gauge)
    }

    /// Whether this process is to write the topic. Then its own next step verifies the board, however long that takes,
    /// and nobody else can mend a board that does not match: it is read again at once.
    pub fn set_writer(&mut self, is_writer: bool) {
        if is_writer
            && !self.is_writer
            && let State::Paused(until) = &mut self.state
        {
            *until = Instant::now();
        }
        self.is_writer = is_writer;
    }

    /// Waits until something happened. Nothing is lost if the future is dropped. Fails only if going on makes no
    /// sense: settings that librdkafka refuses, or an instance's name that another process has.
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
                        self.log.as_mut().expect("it was open before").restart(topic);
                        self.state = State::Reading;
                        return Ok(FollowerEvent::Loading);
                    }
                    Err(error) => return self.unavailable(error),
                },
                State::Reading => {
                    let verified_by = self.unverified_since.filter(|_| !self.is_writer).map(|at| at + VERIFIED_WITHIN);
                    let log = self.log.as_mut().expect("it is being read");
                    let event = tokio::select! {
                        event = log.next() => event,
                        () = sleep_until(verified_by) => return Ok(self.lose(LostBoard::Unverified)),
                    };
                    if let Some(event) = self.read(event)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Opens the topic for the first time, or asks what it is now.
    fn open(&mut self) {
        self.state = match &self.log {
            None => {
                let (settings, region, mode) = (self.settings.clone(), self.region, self.mode.clone());
                State::Opening(spawn(async move { RegionLog::start(&settings, region, &mode).await }))
            }
            Some(log) => {
                info!("the topic is read from its beginning");
                State::Reopening(spawn(log.topic_state()))
            }
        };
    }

    fn unavailable(&mut self, error: ReadError) -> Result<FollowerEvent, ReadError> {
        self.state = State::Paused(Instant::now() + RETRY);
        if let ReadError::Kafka { error: KafkaError::ClientConfig(..), .. } = error {
            return Err(error);
        }
        warn!(%error, "the topic can't be read yet");
        Ok(FollowerEvent::Unavailable(error))
    }

    fn read(&mut self, event: Result<LogEvent, ReadError>) -> Result<Option<FollowerEvent>, ReadError> {
        let event = match event {
            Ok(LogEvent::Loaded) => {
                let (events, quotes) = (self.board().event_count(), self.board().quote_count());
                info!(events, quotes, "the topic is read");
                Some(FollowerEvent::Loaded)
            }
            Ok(LogEvent::Progress(Progress::Applied(step))) => self.applied(step),
            Ok(LogEvent::Progress(Progress::Mismatched(step))) => Some(self.lose(LostBoard::Mismatch(step))),
            Ok(LogEvent::Progress(_)) => Some(FollowerEvent::Advanced),
            Err(error @ (ReadError::Fenced { .. } | ReadError::Ended(_))) => return Err(error),
            Err(error) => Some(self.lose(LostBoard::Topic(error))),
        };
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

    /// The board is wrong. One that was right before may be read again at once. One that was just read and still does
    /// not match can only be mended by the leading producer, and is read again later, unless this is it.
    fn lose(&mut self, cause: LostBoard) -> FollowerEvent {
        error!(reason = %cause, "the board is void");
        self.unverified_since = None;
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
                warn!(%error, "the producer can't be asked to publish everything");
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

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}

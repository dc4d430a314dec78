//! The task of a producer.
//!
//! It always reads the odds topic, also while it isn't the leader, because the topic holds its state. This task makes
//! all decisions. Polls and sends run concurrently and report back, so a slow upstream or broker can't stop it from
//! reading, or from noticing that it lost the leadership.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use futures::future::OptionFuture;
use kafka::{
    Election, ElectionEvent, FollowerEvent, KafkaError, KafkaSettings, LostBoard, MAX_RECORD_BYTES, Publisher,
    ReadError, RegionFollower,
};
use odds::{Board, EventId, FeedState, Image, LeaderState, Pending, Region, StepRecords, Timestamp, Writer};
use rand::RngExt;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use super::{
    Producer,
    delivery::{Delivery, Sent, send},
    fence_pause::FencePause,
    spending_file::SpendingFile,
};
use crate::{
    Answer, Metrics, Source,
    polling::{PollOutcome, PollRequest, Polling},
};

/// The longest time between two markers.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// A reader that sees no marker for this long, in milliseconds, knows that the producer is gone.
const NEXT_BY: i64 = 25_000;
/// A fence or step that isn't read back from every partition by then is lost.
const READ_BACK_WITHIN: Duration = Duration::from_secs(10);
/// After this time, librdkafka has reported on every record or never will.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// The shortest time between two requested publications of everything.
const REPUBLISH_INTERVAL: Duration = Duration::from_secs(60);
/// How long a shutdown waits for records in flight.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// A producer that reads its topic and takes part in the election.
pub(super) struct ProducerTask {
    source: Arc<dyn Source>,
    clock: fn() -> Timestamp,
    metrics: Metrics,
    follower: RegionFollower,
    election: Election,
    polling: Polling,
    spending_file: Option<SpendingFile>,
    kafka: KafkaSettings,
    region: Region,
    leading: Option<Leading>,
    /// Whether the topic was reloaded since this process last began a term.
    must_republish: bool,
    fence: FencePause,
    republished_at: Option<Instant>,
}

/// The state of a term.
struct Leading {
    /// Used for this term only, so that unsent or unacknowledged records of a former term can't get in its way.
    publisher: Publisher,
    writer: Writer,
    pending: Pending,
    sending: Option<Delivery>,
    /// When the fence or step was sent; after its acknowledgement, when it was acknowledged.
    sent_at: Instant,
    next_marker: Instant,
    poll: Option<JoinHandle<PollOutcome>>,
    /// The request that waits until its cost is on the topic.
    poll_request: Option<PollRequest>,
    /// Everything before the fence is read, including the last leader's status.
    taken_over: bool,
    /// There is something to publish once the last step is read back.
    dirty: bool,
    /// The last published feed state and its reason.
    published: Option<(FeedState, Option<String>)>,
}

/// Why the loop woke up.
enum WakeUp {
    Stop,
    Read(Result<FollowerEvent, ReadError>),
    Election(ElectionEvent),
    Sent(Result<Sent, KafkaError>),
    Polled(Result<PollOutcome, tokio::task::JoinError>),
    PollDue(PollRequest),
    Timer,
}

impl ProducerTask {
    pub(super) fn new(producer: Producer, follower: RegionFollower, election: Election, polling: Polling) -> Self {
        let Producer { region, kafka, source, clock, metrics, spending_file, .. } = producer;
        Self {
            source,
            clock,
            metrics,
            follower,
            election,
            polling,
            spending_file,
            kafka,
            region,
            leading: None,
            must_republish: false,
            fence: FencePause::default(),
            republished_at: None,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            self.act().await?;
            match self.wait(&stop).await {
                WakeUp::Stop => break,
                WakeUp::Read(event) => self.read(event.context("reading the topic failed")?),
                WakeUp::Election(ElectionEvent::Won) => info!("won the election"),
                WakeUp::Election(ElectionEvent::Lost) => self.stop_leading("lost the election"),
                WakeUp::Election(ElectionEvent::RepublishRequested) => self.handle_republish_request(),
                WakeUp::Sent(sent) => self.sent(sent),
                WakeUp::Polled(outcome) => self.polled(outcome)?,
                WakeUp::PollDue(poll_request) => self.poll(poll_request),
                WakeUp::Timer => {}
            }
        }
        self.finish().await;
        Ok(())
    }

    async fn wait(&mut self, stop: &CancellationToken) -> WakeUp {
        let now = (self.clock)();
        let poll_request = match &self.leading {
            Some(leading) if self.may_poll(leading) => self.polling.next(now),
            _ => None,
        };
        let due_in = poll_request.as_ref().map(|(_, due)| Duration::from_millis(due.millis_since(now).max(0) as u64));
        let wake_at = self.wake_at();
        let (sending, poll) = match &mut self.leading {
            Some(leading) => (leading.sending.as_mut(), leading.poll.as_mut()),
            None => (None, None),
        };
        tokio::select! {
            () = stop.cancelled() => WakeUp::Stop,
            event = self.election.next() => WakeUp::Election(event),
            read = self.follower.next() => WakeUp::Read(read),
            Some(sent) = OptionFuture::from(sending) => WakeUp::Sent(sent),
            Some(polled) = OptionFuture::from(poll) => WakeUp::Polled(polled),
            Some(()) = OptionFuture::from(due_in.map(tokio::time::sleep)) => WakeUp::PollDue(poll_request.expect("only a request has a due time").0),
            () = tokio::time::sleep_until(wake_at) => WakeUp::Timer,
        }
    }

    /// Whether a poll may start: one at a time, and none before the fence is read back, because only the leader may
    /// spend credits.
    fn may_poll(&self, leading: &Leading) -> bool {
        let fenced =
            !leading.writer.last().is_fence() || leading.writer.state(self.follower.reader()) == LeaderState::Ready;
        leading.poll.is_none() && leading.poll_request.is_none() && leading.taken_over && fenced
    }

    fn wake_at(&self) -> Instant {
        let soon = Instant::now() + Duration::from_secs(1);
        match &self.leading {
            Some(leading) => leading.next_marker.min(soon),
            None => soon,
        }
    }

    /// Does what is due next in the election, the term or the publishing.
    async fn act(&mut self) -> anyhow::Result<()> {
        self.follower.set_writer(self.leading.is_some() || self.election.is_won());
        if self.leading.is_none() {
            if self.election.is_won() && self.follower.is_loaded() && self.fence.may_be(Instant::now()) {
                self.begin()?;
            }
            return Ok(());
        }
        let leading = self.leading.as_mut().expect("checked above");
        match leading.writer.state(self.follower.reader()) {
            LeaderState::Deposed => {
                self.stop_leading("another leader began a greater term");
                self.fence_again().await?;
            }
            LeaderState::Fencing | LeaderState::Publishing => {
                let (within, reason) = match leading.sending {
                    Some(_) => (ACKNOWLEDGED_WITHIN, "a fence or step was not acknowledged in time"),
                    None => (READ_BACK_WITHIN, "a fence or step was not read back in time"),
                };
                if leading.sent_at.elapsed() > within {
                    self.stop_leading(reason);
                    self.fence_again().await?;
                }
            }
            LeaderState::Ready if leading.sending.is_none() => {
                if !leading.writer.last().is_fence() {
                    self.fence.has_led();
                }
                if !leading.taken_over {
                    leading.taken_over = true;
                    if let Some(marker) = self.follower.reader().marker() {
                        self.polling.take_over(marker, (self.clock)());
                    }
                }
                let on_topic = self.follower.reader().marker().and_then(|marker| marker.spent_today.as_ref());
                if leading.poll_request.is_some() && self.polling.spending().is_to_be_noted(on_topic) {
                    leading.dirty = true;
                } else if let Some(poll_request) = leading.poll_request.take() {
                    self.start(poll_request);
                }
                let Some(leading) = &mut self.leading else { return Ok(()) };
                let has_changed = leading.published.as_ref() != Some(&self.polling.state((self.clock)()));
                if leading.dirty || has_changed || leading.next_marker <= Instant::now() {
                    self.publish();
                }
            }
            LeaderState::Ready => {}
        }
        Ok(())
    }

    /// Starts a new term at once, if the group confirms that this process still leads and the fence pause is over.
    /// Otherwise, [`Self::act`] starts one later. The pauses grow until a step is accepted.
    async fn fence_again(&mut self) -> anyhow::Result<()> {
        if !self.election.confirm().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        } else if self.fence.may_be(Instant::now()) {
            self.begin()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        let now = (self.clock)();
        let republish = std::mem::take(&mut self.must_republish);
        let (writer, fence) = Writer::begin(self.follower.reader(), now, rand::rng().random(), republish);
        self.fence.begins(Instant::now());
        info!(term = %writer.term(), "leading: fencing off earlier leaders");
        let publisher = Publisher::new(&self.kafka, self.region)?;
        let sending =
            send(publisher.clone(), StepRecords { records: Vec::new(), markers: fence, ..StepRecords::default() });
        self.metrics.leading.set(1);
        self.leading = Some(Leading {
            publisher,
            writer,
            pending: Pending::default(),
            sending: Some(sending),
            sent_at: Instant::now(),
            next_marker: Instant::now(),
            poll: None,
            poll_request: None,
            taken_over: false,
            dirty: false,
            published: None,
        });
        Ok(())
    }

    /// Ends the term and discards unsent records. The next leader polls the odds that this one could not publish.
    fn stop_leading(&mut self, reason: &str) {
        let Some(leading) = self.leading.take() else { return };
        if let Some(poll) = &leading.poll {
            poll.abort();
        }
        self.polling.spending_mut().abandon((self.clock)());
        drop(leading.sending);
        leading.publisher.purge();
        // Dropping the publisher may block.
        tokio::task::spawn_blocking(move || drop(leading.publisher));
        self.metrics.stands_by();
        warn!(term = %leading.writer.term(), reason, "no longer leading");
    }

    fn publish(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        let now = (self.clock)();
        let status = self.polling.status(now, now.plus_millis(NEXT_BY));
        leading.published = Some((status.state, status.reason.clone()));
        leading.pending.settle(self.follower.board());
        let step = leading.writer.next_step(self.follower.reader_mut(), &leading.pending, status, MAX_RECORD_BYTES);
        for event in &step.too_large {
            error!(%event, "an event is too large for a record and is left out");
            leading.pending.leave_out(self.follower.board(), event, MAX_RECORD_BYTES);
        }
        self.metrics.too_large.inc_by(step.too_large.len() as u64);
        debug!(step = %leading.writer.last(), records = step.records.len(), "publishing");
        leading.sending = Some(send(leading.publisher.clone(), step));
        leading.sent_at = Instant::now();
        leading.next_marker = Instant::now() + HEARTBEAT;
        leading.dirty = false;
    }

    fn sent(&mut self, sent: Result<Sent, KafkaError>) {
        let Some(leading) = &mut self.leading else { return };
        leading.sending = None;
        leading.sent_at = Instant::now();
        match sent {
            Ok(Sent { images, removals, delivered }) => {
                self.metrics.delivered("image", images as u64);
                self.metrics.delivered("removal", removals as u64);
                self.metrics.delivered("marker", (delivered.records - images - removals) as u64);
                if !leading.writer.last().is_fence() {
                    self.metrics.steps.inc();
                }
                for latency in &delivered.latencies {
                    self.metrics.delivery.observe(latency.as_secs_f64());
                }
                let longest = delivered.latencies.iter().max().copied().unwrap_or_default();
                let step = leading.writer.last();
                let bytes = delivered.bytes;
                if images + removals > 0 {
                    info!(%step, images, removals, bytes, ?longest, "published");
                } else {
                    debug!(%step, ?longest, "marked");
                }
            }
            Err(error) => {
                error!(%error, "a fence or step can't be delivered: ending the term");
                self.stop_leading("a fence or step can't be delivered");
            }
        }
    }

    fn poll(&mut self, poll_request: PollRequest) {
        let Some(leading) = &mut self.leading else { return };
        let cost = self.polling.cost(&poll_request);
        if cost > 0.0 && !self.polling.spending_mut().reserve(cost, (self.clock)()) {
            return;
        }
        let on_topic = self.follower.reader().marker().and_then(|marker| marker.spent_today.as_ref());
        if cost > 0.0 && self.polling.spending().is_to_be_noted(on_topic) {
            leading.poll_request = Some(poll_request);
            leading.dirty = true;
        } else {
            self.start(poll_request);
        }
    }

    /// Starts a request. Its cost must already be on the topic if there is a daily limit.
    fn start(&mut self, poll_request: PollRequest) {
        let Some(leading) = &mut self.leading else { return };
        let source = self.source.clone();
        let settings = self.polling.settings().clone();
        let costs = self.polling.cost(&poll_request) > 0.0;
        let note = self.spending_file.clone().zip(self.polling.spending().recorded((self.clock)())).filter(|_| costs);
        let poll = async move {
            if let Some((file, spending)) = note {
                let written = tokio::task::spawn_blocking(move || file.write(&spending)).await;
                if let Err(error) = written.map_err(std::io::Error::from).flatten() {
                    return poll_request.fails(&format!("today's spending can't be stored: {error}"));
                }
            }
            poll_request.run(&*source, &settings).await
        };
        leading.poll = Some(tokio::spawn(poll.in_current_span()));
    }

    fn polled(&mut self, outcome: Result<PollOutcome, tokio::task::JoinError>) -> anyhow::Result<()> {
        let Some(leading) = &mut self.leading else { return Ok(()) };
        leading.poll = None;
        let now = (self.clock)();
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => anyhow::bail!("the task of a poll failed: {error}"),
        };
        self.metrics.polled(outcome.outcome());
        let board = self.follower.board();
        let believed = match &outcome {
            PollOutcome::Odds { sport, answer: Ok(answer), .. } => {
                leading.pending.poll(board, sport, offered(&leading.pending, board, answer))
            }
            _ => true,
        };
        self.polling.poll_finished(&outcome, believed, now)?;
        self.metrics.set_credits(self.polling.credits());
        self.metrics.set_sports(self.polling.freshness().iter(), self.polling.plan(now));
        match outcome {
            PollOutcome::Odds { sport, answer: Ok(answer), .. } => {
                let (events, unreadable) = (answer.events.len(), answer.unreadable.total());
                self.metrics.left_out(&answer.unreadable);
                let pending = leading.pending.len();
                let credits = self.polling.credits().remaining;
                info!(%sport, events, unreadable, changed = pending, credits, "polled");
                leading.dirty = true;
            }
            PollOutcome::Sports(Ok(listed)) => {
                self.metrics.left_out(&listed.unreadable);
                if let Some(sports) = self.polling.known_sports() {
                    leading.pending.keep_sports(board, &sports);
                    leading.dirty |= !leading.pending.is_empty();
                }
            }
            PollOutcome::Odds { .. } => leading.dirty = true,
            PollOutcome::Sports(Err(_)) | PollOutcome::Credits(_) => {}
        }
        self.metrics.pending.set(leading.pending.len() as i64);
        Ok(())
    }

    fn read(&mut self, event: FollowerEvent) {
        match event {
            FollowerEvent::Lost(cause) => {
                if let LostBoard::Mismatch(_) = cause {
                    self.metrics.mismatches.inc();
                }
                self.stop_leading(&cause.to_string());
                self.must_republish = true;
            }
            FollowerEvent::Verified(_) | FollowerEvent::Advanced => {
                if let Some(leading) = &mut self.leading {
                    leading.pending.settle(self.follower.board());
                    self.metrics.pending.set(leading.pending.len() as i64);
                }
            }
            FollowerEvent::Unavailable(_) | FollowerEvent::Loading | FollowerEvent::Loaded => {}
        }
    }

    fn handle_republish_request(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        if self.republished_at.is_none_or(|at| at.elapsed() > REPUBLISH_INTERVAL) {
            info!("a reader's board does not match its digest: publishing everything again");
            self.republished_at = Some(Instant::now());
            leading.writer.republish_all();
            leading.dirty = true;
        }
    }

    /// Waits for records in flight, and leaves the group so that the next leader takes over at once.
    async fn finish(self) {
        let Some(mut leading) = self.leading else { return self.election.leave() };
        if let Some(sending) = leading.sending.take()
            && tokio::time::timeout(FLUSH_WITHIN, sending).await.is_err()
        {
            warn!("the last step was not acknowledged before the stop");
        }
        self.election.leave();
        let flushed = tokio::task::spawn_blocking(move || leading.publisher.flush(FLUSH_WITHIN)).await;
        if let Ok(Err(error)) = flushed {
            warn!(%error, "some records were not sent before the stop");
        }
    }
}

/// The events of an answer. Incomplete ones are completed from what is already known.
fn offered(pending: &Pending, board: &Board, answer: &Answer) -> Vec<(EventId, Image)> {
    let incomplete = answer.incomplete.iter().filter_map(|event| {
        let details = pending.details(board, &event.id).or(event.details.as_ref())?.clone();
        Some((event.id.clone(), Image { polled_at: event.polled_at, details, quotes: event.quotes.clone() }))
    });
    answer.events.iter().cloned().chain(incomplete).collect()
}

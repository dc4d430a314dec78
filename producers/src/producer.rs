//! One producer of a region: stands by until the election is won, then fences, polls and publishes
//! until it is lost.
//!
//! Leading or not, it reads the odds topic all the time: the topic is its memory. One task does
//! everything that decides; polls and sends run beside it and report back, so that neither a slow
//! upstream nor a slow broker keeps it from reading, or from hearing that it was deposed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use futures::future::BoxFuture;
use kafka::{
    ConsumerMode, Delivered, Election, ElectionEvent, FollowerEvent, KafkaError, KafkaSettings, LostBoard,
    MAX_RECORD_BYTES, Publisher, ReadError, RegionFollower, Steps,
};
use odds::{
    Board, EventId, FeedState, Image, LeaderState, Outgoing, Pending, Region, SportKey, StepRecords, Timestamp, Writer,
};
use rand::RngExt;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, error_span, info, warn};

use crate::{
    Answer, Metrics, Source,
    polling::{PollOutcome, PollRequest, Polling},
    settings::PollSettings,
    spending_file::SpendingFile,
};

/// A marker goes out at least this often.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// Whoever sees no marker for this long knows that the producer is gone.
const NEXT_BY: i64 = 25_000;
/// A fence or a step that isn't read in every partition by then will not be.
const READ_BACK_WITHIN: Duration = Duration::from_secs(10);
/// By then librdkafka has said what became of every record, or never will.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// Everything is published anew on request at most this often.
const REPUBLISH_INTERVAL: Duration = Duration::from_secs(60);
/// Between two terms of one producer if none of its steps gets through.
const FIRST_FENCE_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_FENCE_PAUSE: Duration = Duration::from_secs(15);
/// How long a stop waits for what is being sent.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

pub struct Producer<S> {
    region: Region,
    polling: PollSettings,
    kafka: KafkaSettings,
    source: Arc<S>,
    clock: fn() -> Timestamp,
    metrics: Metrics,
    spending_file: Option<SpendingFile>,
}

impl<S: Source> Producer<S> {
    pub fn new(
        region: Region,
        polling: PollSettings,
        kafka: KafkaSettings,
        source: S,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        Self { region, polling, kafka, source: Arc::new(source), clock, metrics, spending_file: None }
    }

    /// Keeps what is spent of credits a day in a file, too, where the topics don't outlive the process.
    #[must_use]
    pub fn with_spending_file(self, path: PathBuf) -> Self {
        Self { spending_file: Some(SpendingFile::new(path)), ..self }
    }

    /// Runs until told to stop. Fails only where going on makes no sense: a key that is refused,
    /// settings that librdkafka refuses.
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
                event = follower.next() => if let FollowerEvent::Loading = event.context("the topic")? { break },
            }
        }
        let election = Election::join(&self.kafka, self.region)?;
        let now = (self.clock)();
        let mut polling = Polling::new(self.region, self.polling, self.source.name().to_owned(), now);
        if let Some(published) = self.spending_file.as_ref().map(SpendingFile::read).transpose()?.flatten() {
            polling.spending_mut().take_over(&published, now);
        }
        let running = Running {
            region: self.region,
            source: self.source,
            clock: self.clock,
            metrics: self.metrics,
            follower,
            election,
            polling,
            leading: None,
            must_republish: false,
            fence: FencePause::default(),
            republished_at: None,
            kafka: self.kafka,
            spending_file: self.spending_file,
        };
        running.run(stop).await
    }
}

struct Running<S> {
    region: Region,
    source: Arc<S>,
    clock: fn() -> Timestamp,
    metrics: Metrics,
    kafka: KafkaSettings,
    spending_file: Option<SpendingFile>,
    follower: RegionFollower,
    election: Election,
    polling: Polling,
    leading: Option<Leading>,
    /// The topic had to be read anew since the last term of this process began.
    must_republish: bool,
    fence: FencePause,
    republished_at: Option<Instant>,
}

/// What there is only while leading.
struct Leading {
    /// Of this term alone: what a former term left unsent or unanswered is none of its business.
    publisher: Publisher,
    writer: Writer,
    pending: Pending,
    sending: Option<Delivery>,
    /// When the fence or step was handed over, and then when it was acknowledged.
    sent_at: Instant,
    next_marker: Instant,
    poll: Option<JoinHandle<PollOutcome>>,
    /// Waits until what it costs is on the topic.
    poll_request: Option<PollRequest>,
    /// What the last leader said is known: everything before the fence is read.
    taken_over: bool,
    /// What is on its way makes the step: published when it is read.
    dirty: bool,
    /// The feed's state and its reason as last published.
    published: Option<(FeedState, Option<String>)>,
}

/// A fence or a step on its way to Kafka.
type Delivery = BoxFuture<'static, Result<Sent, KafkaError>>;

struct Sent {
    images: usize,
    removals: usize,
    delivered: Delivered,
}

/// When the next term may begin. Two writers who fence each other off would otherwise do nothing else.
#[derive(Debug, Default)]
struct FencePause {
    not_before: Option<Instant>,
    pause: Duration,
}

impl FencePause {
    fn may_be(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    fn begins(&mut self, now: Instant) {
        self.not_before = (!self.pause.is_zero()).then(|| now + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_FENCE_PAUSE, LONGEST_FENCE_PAUSE);
    }

    /// A step got through.
    fn has_led(&mut self) {
        *self = Self::default();
    }
}

/// What the loop woke up for.
enum WakeUp {
    Stop,
    Read(Result<FollowerEvent, ReadError>),
    Election(ElectionEvent),
    Sent(Result<Sent, KafkaError>),
    Polled(Result<PollOutcome, tokio::task::JoinError>),
    PollDue(PollRequest),
    Timer,
}

impl<S: Source> Running<S> {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            self.act().await?;
            match self.wait(&stop).await {
                WakeUp::Stop => break,
                WakeUp::Read(event) => self.read(event.context("the topic")?),
                WakeUp::Election(ElectionEvent::Won) => info!("won the election"),
                WakeUp::Election(ElectionEvent::Lost) => self.stop_leading("lost the election"),
                WakeUp::Election(ElectionEvent::ReloadRequested) => self.handle_reload_request(),
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
            sent = maybe(sending) => WakeUp::Sent(sent),
            polled = maybe(poll) => WakeUp::Polled(polled),
            () = sleep_for(due_in) => WakeUp::PollDue(poll_request.expect("it has a due time").0),
            () = tokio::time::sleep_until(wake_at) => WakeUp::Timer,
        }
    }

    /// One poll at a time, and none before the fence stands: only the leader spends credits.
    fn may_poll(&self, leading: &Leading) -> bool {
        let fenced =
            !leading.writer.last().is_fence() || leading.writer.standing(self.follower.reader()) == LeaderState::Ready;
        leading.poll.is_none() && leading.poll_request.is_none() && leading.taken_over && fenced
    }

    fn wake_at(&self) -> Instant {
        let soon = Instant::now() + Duration::from_secs(1);
        match &self.leading {
            Some(leading) => leading.next_marker.min(soon),
            None => soon,
        }
    }

    /// Does whatever the state of things calls for.
    async fn act(&mut self) -> anyhow::Result<()> {
        // A stand-by's board that no step verifies is wrong in the end. A leader's own next step verifies it.
        self.follower.set_writer(self.leading.is_some() || self.election.is_won());
        if self.leading.is_none() {
            if self.election.is_won() && self.follower.is_loaded() && self.fence.may_be(Instant::now()) {
                self.begin()?;
            }
            return Ok(());
        }
        let leading = self.leading.as_mut().expect("it was just looked at");
        match leading.writer.standing(self.follower.reader()) {
            LeaderState::Deposed => {
                self.stop_leading("a greater term has begun");
                self.fence_again().await?;
            }
            LeaderState::Fencing | LeaderState::Publishing => {
                let (within, reason) = match leading.sending {
                    Some(_) => (ACKNOWLEDGED_WITHIN, "what was sent is not acknowledged"),
                    None => (READ_BACK_WITHIN, "what was sent is not read back"),
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

    /// A leader that met a greater term goes on above it, if the group says that it still leads: at once the
    /// first time, and after longer and longer pauses while none of its steps gets through.
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
        let anew = std::mem::take(&mut self.must_republish);
        let (writer, fence) = Writer::begin(self.follower.reader(), now, rand::rng().random(), anew);
        self.fence.begins(Instant::now());
        info!(term = %writer.term(), "leading: fencing off former leaders");
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

    /// Sends nothing more, whatever is waiting. What upstream said is asked for again by whoever leads.
    fn stop_leading(&mut self, reason: &str) {
        let Some(leading) = self.leading.take() else { return };
        if let Some(poll) = &leading.poll {
            poll.abort();
        }
        self.polling.spending_mut().abandon((self.clock)());
        drop(leading.sending);
        leading.publisher.purge();
        // Its end may wait for threads.
        tokio::task::spawn_blocking(move || drop(leading.publisher));
        self.metrics.leading.set(0);
        self.metrics.pending.set(0);
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
            error!(%event, "an event is too large to be published and is left out");
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
                error!(%error, "Kafka did not take a step: the term ends");
                self.stop_leading("a delivery failed for good");
            }
        }
    }

    fn poll(&mut self, poll_request: PollRequest) {
        let Some(leading) = &mut self.leading else { return };
        let price = self.polling.price(&poll_request);
        if price > 0.0 && !self.polling.spending_mut().reserve(price, (self.clock)()) {
            return;
        }
        let on_topic = self.follower.reader().marker().and_then(|marker| marker.spent_today.as_ref());
        if price > 0.0 && self.polling.spending().is_to_be_noted(on_topic) {
            leading.poll_request = Some(poll_request);
            leading.dirty = true;
        } else {
            self.start(poll_request);
        }
    }

    /// What it costs is on the topic, if it has to be.
    fn start(&mut self, poll_request: PollRequest) {
        let Some(leading) = &mut self.leading else { return };
        let source = self.source.clone();
        let wanted: Vec<SportKey> = self.polling.wanted().to_vec();
        let costs = self.polling.price(&poll_request) > 0.0;
        let note = self.spending_file.clone().zip(self.polling.spending().recorded((self.clock)())).filter(|_| costs);
        let poll = async move {
            if let Some((file, spending)) = note {
                let written = tokio::task::spawn_blocking(move || file.write(&spending)).await;
                if let Err(error) = written.map_err(std::io::Error::from).flatten() {
                    return poll_request.fails(&format!("what is spent of credits can't be stored: {error}"));
                }
            }
            poll_request.run(&*source, &wanted).await
        };
        leading.poll = Some(tokio::spawn(poll.in_current_span()));
    }

    fn polled(&mut self, outcome: Result<PollOutcome, tokio::task::JoinError>) -> anyhow::Result<()> {
        let Some(leading) = &mut self.leading else { return Ok(()) };
        leading.poll = None;
        let now = (self.clock)();
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => anyhow::bail!("a poll broke: {error}"),
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
        self.metrics.say_credits(self.polling.credits());
        self.metrics.say_freshness(self.polling.freshness().iter());
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

    fn handle_reload_request(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        if self.republished_at.is_none_or(|at| at.elapsed() > REPUBLISH_INTERVAL) {
            info!("a reader's board does not fit: everything is published anew");
            self.republished_at = Some(Instant::now());
            leading.writer.republish_all();
            leading.dirty = true;
        }
    }

    /// Ends well: what is on its way arrives, and the group knows at once.
    async fn finish(self) {
        let Some(mut leading) = self.leading else { return self.election.leave() };
        if let Some(sending) = leading.sending.take()
            && tokio::time::timeout(FLUSH_WITHIN, sending).await.is_err()
        {
            warn!("the last step was cut short");
        }
        self.election.leave();
        let flushed = tokio::task::spawn_blocking(move || leading.publisher.flush(FLUSH_WITHIN)).await;
        if let Ok(Err(error)) = flushed {
            warn!(%error, "not everything was sent");
        }
    }
}

/// The events of an answer; of those that are incomplete, what is known already completes them.
fn offered(pending: &Pending, board: &Board, answer: &Answer) -> Vec<(EventId, Image)> {
    let incomplete = answer.incomplete.iter().filter_map(|event| {
        let details = pending.details(board, &event.id).or(event.details.as_ref())?.clone();
        Some((event.id.clone(), Image { polled_at: event.polled_at, details, quotes: event.quotes.clone() }))
    });
    answer.events.iter().cloned().chain(incomplete).collect()
}

/// Markers go out when every record is acknowledged.
fn send(publisher: Publisher, step: StepRecords) -> Delivery {
    Box::pin(async move {
        let images = step.records.iter().filter(|record| Outgoing::is_image(record)).count();
        let removals = step.records.len() - images;
        let mut delivered = publisher.send(&step.records).await?;
        let markers = publisher.send(&step.markers).await?;
        delivered.records += markers.records;
        delivered.bytes += markers.bytes;
        delivered.latencies.extend(markers.latencies);
        Ok(Sent { images, removals, delivered })
    })
}

/// A future that may not be there: then it never ends.
async fn maybe<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_for(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_lead_to_nothing_begin_less_and_less_often() {
        let (start, mut fence) = (Instant::now(), FencePause::default());
        let mut begun = Vec::new();
        for millis in 0..60_000 {
            let now = start + Duration::from_millis(millis);
            if fence.may_be(now) {
                fence.begins(now);
                begun.push(millis);
            }
        }
        assert_eq!(begun, [0, 1, 251, 751, 1_751, 3_751, 7_751, 15_751, 30_751, 45_751]);
        fence.has_led();
        assert!(fence.may_be(start + Duration::from_secs(60)));
    }
}

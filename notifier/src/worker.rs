//! Sends what is in the outbox on one channel.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use messages::{
    Channel, Claim, Delivery, Fault, Finished, Lease, Limit, NewMessage, Outbox, Outcome, Refusal, State, next_day,
};
use odds::Timestamp;
use rand::RngExt;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{ChannelOf, Metrics, outcome::outcome_of};

/// How often the outbox is asked, for messages that others added or that are due again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many e-mails are leased for each that is sent at the same time.
const AHEAD: usize = 8;
/// The pause while the outbox can't be used.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a worker that is to stop tries to note outcomes. What is not noted is sent again by its successor, or, if it
/// is an SMS, is unknown.
const NOTED_WITHIN: Duration = Duration::from_secs(8);
/// How many messages about the account one address gets in a day, so that nobody can flood it through us.
const ACCOUNT_MESSAGES_A_DAY: u32 = 20;
/// Why messages are given back.
const ACCEPTS_NOTHING: &str = "the provider accepts nothing";
/// The pauses between attempts while the provider accepts nothing.
const FIRST_ATTEMPT_AFTER: Duration = Duration::from_millis(500);
const ATTEMPT_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Worker {
    pub(crate) channel: ChannelOf,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) added: Arc<Notify>,
    pub(crate) metrics: Metrics,
}

/// What a worker has in hand.
#[derive(Default)]
struct Hand {
    /// Leased, and not being sent yet.
    leased: VecDeque<Claim>,
    sending: JoinSet<Attempt>,
    /// Outcomes that the outbox has not noted yet.
    finished: Vec<Finished>,
    failing: Option<Failing>,
}

/// What came of a claim.
struct Attempt {
    finished: Vec<Finished>,
    /// When the first of its messages was created.
    created_at: Timestamp,
    /// Whether the provider answered; `None` if it was not asked.
    answered: Option<bool>,
}

/// A provider that accepts nothing.
struct Failing {
    pause: Duration,
    next: Instant,
}

impl Worker {
    /// Sends until `stop` is cancelled. What is being sent then is finished.
    ///
    /// Messages are leased, sent and noted at the same time: while some are being sent, the outbox notes what became of
    /// those before, and leases the next ones.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let worker = format!("{:016x}", rand::rng().random::<u64>());
        let mut hand = Hand::default();
        let mut claiming: Option<BoxFuture<'_, (Vec<Claim>, usize)>> = None;
        let mut reporting: Option<BoxFuture<'_, Vec<Finished>>> = None;
        let (mut claims, mut being_noted) = (0u64, 0);
        let (mut look_at, mut report_at) = (Instant::now(), Instant::now());
        let (mut stopping, mut ends) = (false, None::<Instant>);
        loop {
            while let Some(attempt) = hand.sending.try_join_next() {
                self.note(attempt, &mut hand);
            }
            if stopping {
                hand.release("the notifier stops", (self.clock)());
                if hand.sending.is_empty() && claiming.is_none() {
                    if hand.finished.is_empty() && reporting.is_none() {
                        return;
                    }
                    // From the last outcome on.
                    if *ends.get_or_insert_with(|| Instant::now() + NOTED_WITHIN) <= Instant::now() {
                        return warn!("outcomes were not noted: the outbox can't be used");
                    }
                }
            } else {
                self.send(&mut hand);
                let room = self.room(&hand, being_noted);
                if claiming.is_none() && room > 0 && look_at <= Instant::now() {
                    claims += 1;
                    claiming = Some(self.claim(format!("{worker}-{claims}"), room).boxed());
                }
            }
            if reporting.is_none() && !hand.finished.is_empty() && report_at <= Instant::now() {
                being_noted = hand.finished.len();
                reporting = Some(self.report(mem::take(&mut hand.finished)).boxed());
            }
            tokio::select! {
                Some(attempt) = hand.sending.join_next() => self.note(attempt, &mut hand),
                (claimed, most) = of(&mut claiming) => {
                    claiming = None;
                    if claimed.len() < most {
                        look_at = Instant::now() + LOOK_EVERY;
                    }
                    hand.leased.extend(claimed);
                    if hand.failing.is_some() && most > 1 {
                        hand.release(ACCEPTS_NOTHING, (self.clock)());
                    }
                }
                left = of(&mut reporting) => {
                    (reporting, being_noted) = (None, 0);
                    match left.is_empty() {
                        // The next messages of these recipients may be due.
                        true => look_at = Instant::now(),
                        false => report_at = Instant::now() + PAUSE,
                    }
                    hand.finished.extend(left);
                }
                // What is added while others are being leased is looked for afterwards.
                () = self.added.notified(), if hand.failing.is_none() && claiming.is_none() => look_at = Instant::now(),
                () = stop.cancelled(), if !stopping => stopping = true,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Begins to send what is leased. While the provider accepts nothing, it is asked with one message at a time.
    fn send(&self, hand: &mut Hand) {
        let most = match &hand.failing {
            None => self.channel.at_once,
            Some(failing) => usize::from(failing.next <= Instant::now()),
        };
        while hand.sending.len() < most
            && let Some(claim) = hand.leased.pop_front()
        {
            hand.sending.spawn(attempt(self.channel.clone(), self.outbox.clone(), claim, self.clock));
        }
    }

    /// How many more messages may be leased now. While the outbox can't note what became of those before, none are.
    fn room(&self, hand: &Hand, being_noted: usize) -> usize {
        let has = hand.leased.len() + hand.sending.len() + hand.finished.len() + being_noted;
        let most = match (&hand.failing, self.channel.channel) {
            (Some(failing), _) => usize::from(failing.next <= Instant::now()),
            // A store needs about as long to lease many as to lease one.
            (None, Channel::Email) => AHEAD * self.channel.at_once,
            // If this process is killed, each SMS that it has leased is unknown.
            (None, Channel::Sms) => self.channel.at_once,
        };
        let room = most.saturating_sub(has);
        if room * 2 >= most || self.channel.channel == Channel::Sms { room } else { 0 }
    }

    /// Leases up to `most` recipients. Returns the claims, and `most`.
    async fn claim(&self, holder: String, most: usize) -> (Vec<Claim>, usize) {
        let now = (self.clock)();
        let until = now.plus_millis(self.channel.lease.as_millis() as i64);
        let claimed = self.outbox.claim(self.channel.channel, &holder, now, until, most).await;
        self.metrics.store_available.set(claimed.is_ok().into());
        let claims = match claimed {
            Ok(claims) => claims,
            Err(error) => {
                warn!(%error, "the outbox can't be used: trying again");
                tokio::time::sleep(PAUSE).await;
                Vec::new()
            }
        };
        (claims, most)
    }

    /// Has the outbox note outcomes. Returns those that it could not note.
    async fn report(&self, finished: Vec<Finished>) -> Vec<Finished> {
        let noted = self.outbox.finish(&finished, (self.clock)()).await;
        self.metrics.store_available.set(noted.is_ok().into());
        match noted {
            Ok(()) => Vec::new(),
            Err(error) => {
                warn!(%error, waiting = finished.len(), "outcomes can't be noted: trying again");
                finished
            }
        }
    }

    fn note(&self, attempt: Result<Attempt, tokio::task::JoinError>, hand: &mut Hand) {
        // A panic leaves a lease, which ends by itself.
        let Ok(attempt) = attempt else { return };
        for it in &attempt.finished {
            match it.outcome.state() {
                State::Waiting => drop(self.metrics.retried.inc()),
                state => self.metrics.finished(state, attempt.created_at, (self.clock)()),
            }
        }
        match attempt.answered {
            Some(true) if hand.failing.take().is_some() => {
                info!("the provider accepts messages again");
                self.metrics.provider_failing.set(0);
            }
            Some(false) => {
                let pause = hand.failing.as_ref().map_or(FIRST_ATTEMPT_AFTER, |it| (2 * it.pause).min(ATTEMPT_EVERY));
                if hand.failing.is_none() {
                    let reason = attempt.finished.first().and_then(|it| it.detail.as_deref()).unwrap_or_default();
                    warn!(reason, "the provider accepts nothing: trying one message at a time");
                    self.metrics.provider_failing.set(1);
                    hand.release(ACCEPTS_NOTHING, (self.clock)());
                }
                hand.failing = Some(Failing { pause, next: Instant::now() + pause });
            }
            Some(true) | None => {}
        }
        hand.finished.extend(attempt.finished);
    }
}

impl Hand {
    /// Gives back what is leased and not being sent.
    fn release(&mut self, reason: &str, now: Timestamp) {
        let release = |claim: Claim| claim.finished(claim.postponed(now), Some(reason.to_owned()));
        self.finished.extend(self.leased.drain(..).map(release));
    }
}

/// Waits for what is under way; for ever if that is nothing.
async fn of<T>(under_way: &mut Option<BoxFuture<'_, T>>) -> T {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}

/// Tries to send what was claimed.
async fn attempt(channel: ChannelOf, outbox: Arc<dyn Outbox>, claim: Claim, clock: fn() -> Timestamp) -> Attempt {
    let now = clock();
    let created_at = claim.messages.first().map_or(now, |it| it.message.created_at);
    if let Some((outcome, reason)) = without_sending(&channel, &*outbox, &claim, clock).await {
        return Attempt { finished: vec![claim.finished(outcome, Some(reason))], created_at, answered: None };
    }
    let Some(delivery) = Delivery::of(&claim.messages) else {
        return Attempt { finished: Vec::new(), created_at, answered: None };
    };
    let within = channel.lease / 5;
    let result = match timeout(within, channel.provider.send(&delivery)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::Unknown(format!("no answer within {} s", within.as_secs()))),
    };
    let answered = match &result {
        Ok(_) | Err(Refusal::Never(_) | Refusal::NoRecipient(_) | Refusal::Later { at_fault: Fault::Message, .. }) => {
            true
        }
        Err(Refusal::Later { at_fault: Fault::Provider, .. } | Refusal::Unknown(_)) => false,
    };
    let attempts = claim.messages.iter().map(|it| it.attempts).max().unwrap_or_default();
    let (outcome, detail) = outcome_of(channel.channel, result, attempts, claim.batch(), &delivery.reference, clock());
    Attempt { finished: vec![claim.finished(outcome, detail)], created_at, answered: Some(answered) }
}

/// What becomes of a claim that is not sent now, and why.
async fn without_sending(
    channel: &ChannelOf,
    outbox: &dyn Outbox,
    claim: &Claim,
    clock: fn() -> Timestamp,
) -> Option<(Outcome, String)> {
    let Claim { lease, messages, is_taken_over, suppressed } = claim;
    let now = clock();
    // Another worker has begun to send it, and may have succeeded.
    if *is_taken_over && channel.channel == Channel::Sms {
        let batch = Delivery::of(messages)?.reference;
        return Some((Outcome::Unknown { batch }, "the worker that sent it was stopped or killed".to_owned()));
    }
    if messages.iter().all(|it| it.message.deadline <= now) {
        return Some((Outcome::Expired, "it could not be sent before its deadline".to_owned()));
    }
    let first = &messages.first()?.message;
    if let Some(reason) = suppressed
        && !first.content.is_about_the_account()
    {
        return Some((Outcome::Skipped, format!("the address takes no messages: {reason}")));
    }
    // This process may have been suspended. If the lease has ended, another worker has it already.
    let too_late = || {
        let reason = "its lease had nearly ended".to_owned();
        (!has_left(lease, clock(), channel.lease * 2 / 5)).then_some((claim.postponed(now), reason))
    };
    if let Some(late) = too_late() {
        return Some(late);
    }
    let is_first_attempt = claim.batch().is_none() && messages.iter().all(|it| it.attempts == 0);
    if is_first_attempt && let Some(over) = over_limit(channel, outbox, claim, first, now).await {
        return Some(over);
    }
    // The outbox may have been slow.
    too_late()
}

/// Counts a message that is sent for the first time, unless a limit is reached.
async fn over_limit(
    channel: &ChannelOf,
    outbox: &dyn Outbox,
    claim: &Claim,
    NewMessage { content, recipient, user, .. }: &NewMessage,
    now: Timestamp,
) -> Option<(Outcome, String)> {
    let key = channel.channel.key();
    let mut limits = Vec::new();
    if content.is_alert() {
        let user = user.as_deref().unwrap_or_default();
        limits.push(Limit { of: format!("{key} alerts of {user}"), most: channel.alerts_a_day });
    } else if content.is_about_the_account() {
        limits.push(Limit { of: format!("{key} to {recipient}"), most: ACCOUNT_MESSAGES_A_DAY });
    }
    let in_total = channel.most_a_day.map(|most| Limit { of: key.to_owned(), most });
    limits.extend(in_total.clone());
    if limits.is_empty() {
        return None;
    }
    match outbox.spend(&limits, now).await {
        Ok(None) => None,
        // What is worth something tomorrow waits until then.
        Ok(Some(reached)) if Some(&reached) == in_total.as_ref() && !content.is_alert() => {
            let reason = format!("{} messages were sent today, as many as are allowed", reached.most);
            Some((claim.postponed(next_day(now)), reason))
        }
        Ok(Some(reached)) => Some((Outcome::Skipped, format!("limit: {} a day", reached.most))),
        Err(error) => Some((claim.postponed(now.plus_millis(1_000)), error.to_string())),
    }
}

fn has_left(lease: &Lease, now: Timestamp, least: Duration) -> bool {
    lease.until.millis_since(now) > least.as_millis() as i64
}

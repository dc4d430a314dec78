//! Calls the handler with the records of one partition, one batch after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use odds::Timestamp;
use rand::RngExt;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{ConsumerCounts, ConsumerError, RecordHandler, Refused, TopicRecord, Verdict, dead_letters::DeadLetters};

/// How many records the handler gets at once.
const BATCH: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What all workers of a consumer have in common.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) handler: Arc<dyn RecordHandler>,
    pub(super) dead_letters: DeadLetters,
    pub(super) counts: Arc<ConsumerCounts>,
    pub(super) stop: mpsc::UnboundedSender<ConsumerError>,
    pub(super) handled_within: Duration,
    pub(super) clock: fn() -> Timestamp,
}

/// How far a worker is.
#[derive(Debug)]
pub(super) struct Progress {
    /// The offset behind the last record that is done; negative before the first one.
    next: AtomicI64,
    /// The size of the records that it has and is not done with.
    pub(super) bytes: AtomicUsize,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { next: AtomicI64::new(-1), bytes: AtomicUsize::new(0) }
    }

    /// The offset to commit.
    pub(super) fn next(&self) -> Option<i64> {
        let next = self.next.load(Ordering::Acquire);
        (next >= 0).then_some(next)
    }

    fn done(&self, records: &[TopicRecord]) {
        if let Some(last) = records.last() {
            self.next.store(last.offset + 1, Ordering::Release);
        }
        self.bytes.fetch_sub(records.iter().map(TopicRecord::bytes).sum(), Ordering::AcqRel);
    }
}

impl Work {
    /// Handles records until `leave` is cancelled. A call of the handler that has begun is awaited.
    pub(super) async fn run(
        self,
        mut records: mpsc::Receiver<TopicRecord>,
        progress: Arc<Progress>,
        leave: CancellationToken,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            let received = tokio::select! {
                biased;
                () = leave.cancelled() => return,
                received = records.recv_many(&mut batch, BATCH) => received,
            };
            if received == 0 || !self.finish(&batch, &progress, &leave).await {
                return;
            }
        }
    }

    /// Handles these records, however often it takes. Returns false if it was cancelled or stopped.
    async fn finish(&self, mut records: &[TopicRecord], progress: &Progress, leave: &CancellationToken) -> bool {
        let mut pause = FIRST_PAUSE;
        while !records.is_empty() {
            if leave.is_cancelled() {
                return false;
            }
            let handled = timeout(self.handled_within, self.handler.handle(records)).await;
            let (done, verdict) = match handled {
                Ok(Ok(())) => (records.len(), None),
                Ok(Err(Refused { done, verdict })) => (done.min(records.len() - 1), Some(verdict)),
                Err(_) => (0, Some(Verdict::RetryLater(format!("no result within {:?}", self.handled_within)))),
            };
            self.counts.handled.fetch_add(done as u64, Ordering::Relaxed);
            progress.done(&records[..done]);
            records = &records[done..];
            if done > 0 {
                pause = FIRST_PAUSE;
            }
            let is_dead = match verdict {
                None => false,
                Some(Verdict::RetryLater(reason)) => {
                    warn!(record = %records[0], reason, "a record can't be handled now: trying again");
                    false
                }
                Some(Verdict::DeadLetter(reason)) => self.write_dead_letter(&records[0], &reason).await,
                Some(Verdict::Stop(reason)) => {
                    // Fails only if the consumer ends anyway.
                    let _ = self.stop.send(ConsumerError::Stopped { record: records[0].to_string(), reason });
                    return false;
                }
            };
            if is_dead {
                self.counts.dead.fetch_add(1, Ordering::Relaxed);
                progress.done(&records[..1]);
                records = &records[1..];
                pause = FIRST_PAUSE;
            } else if !records.is_empty() {
                self.counts.retried.fetch_add(1, Ordering::Relaxed);
                // Full jitter, so that many partitions don't come back at the same moment.
                let wait = pause.mul_f64(rand::rng().random_range(0.5..1.0));
                pause = (2 * pause).min(LONGEST_PAUSE);
                tokio::select! {
                    () = leave.cancelled() => return false,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
        true
    }

    /// Writes a record to its dead-letter topic. Returns whether Kafka acknowledged it.
    async fn write_dead_letter(&self, record: &TopicRecord, reason: &str) -> bool {
        match self.dead_letters.write(record, reason, (self.clock)()).await {
            Ok(()) => {
                warn!(%record, reason, "a record was written to the dead-letter topic");
                true
            }
            Err(error) => {
                warn!(%record, reason, %error, "a record can't be written to the dead-letter topic: trying again");
                false
            }
        }
    }
}

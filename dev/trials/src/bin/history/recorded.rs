//! Steps of a region that are recorded with the times that they are given, and a month of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use history::{Append, RecordedStep, Recorder, Store};
use odds::{Pending, Timestamp};
use tokio::time::{Instant, sleep};
use trials::{local_region::LocalRegion, race::World};

use crate::{REGION, measured::Measured};

pub const BOOKMAKERS: usize = 50;
pub const OUTCOMES: usize = 3;
pub const DAY_MS: i64 = 86_400_000;
/// How many steps are stored at once, as a historian that catches up does.
pub const AT_ONCE: usize = 200;
pub const DENSE_CHANGES: usize = 10;
/// The month has so many days with a step every [`SPARSE_MS`], and then a day of many steps.
const SPARSE_DAYS: i64 = 30;
const SPARSE_MS: i64 = 1_200_000;
const SPARSE_CHANGES: usize = 100;
const DENSE_MS: i64 = 1_200;
/// Every so many steps of the last day, the charted event changes, and nothing else.
const CHARTED_EVERY: usize = 5;
/// How long QuestDB may take to list what it has written.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// A region whose steps are recorded. Each step is a poll of one sport.
pub struct Recorded {
    region: LocalRegion,
    recorder: Recorder,
}

impl Recorded {
    pub fn begin(at: Timestamp) -> anyhow::Result<(Self, RecordedStep)> {
        let (region, _) = LocalRegion::new(1, World::new(BOOKMAKERS), at)?;
        let mut this = Self { region, recorder: Recorder::default() };
        this.region.publish_all(at)?;
        let first = this.record()?;
        Ok((this, first))
    }

    pub fn step(&mut self, changes: usize, at: Timestamp) -> anyhow::Result<RecordedStep> {
        self.region.poll(changes, at)?;
        self.record()
    }

    /// A step in which only the charted event changes.
    fn charted(&mut self, at: Timestamp) -> anyhow::Result<RecordedStep> {
        let mut pending = Pending::default();
        self.region.world.change_first(self.region.reader.board(), &mut pending)?;
        self.region.publish(&pending, at)?;
        self.record()
    }

    fn record(&mut self) -> anyhow::Result<RecordedStep> {
        self.recorder.record(&self.region.reader).context("the step has no position")
    }
}

pub async fn append(store: &Arc<dyn Store>, steps: Vec<RecordedStep>) -> anyhow::Result<()> {
    ensure!(store.append(REGION, steps.into()).await? == Append::Stored, "the steps are not connected");
    Ok(())
}

/// A month of history, up to the last midnight (UTC).
pub struct Month {
    pub begin: Timestamp,
    pub last_day: Timestamp,
    pub end: Timestamp,
    /// Bytes of a changed outcome on the last day.
    pub bytes: f64,
}

impl Month {
    /// Records it in the history `month`.
    pub async fn record(measured: &Measured) -> anyhow::Result<Self> {
        let now = service::now();
        let end = now.plus_millis(-now.as_millis().rem_euclid(DAY_MS));
        let last_day = end.plus_millis(-DAY_MS);
        let begin = last_day.plus_millis(-SPARSE_DAYS * DAY_MS);
        let (mut recorded, first) = Recorded::begin(begin)?;
        let sparse = (1..SPARSE_DAYS * DAY_MS / SPARSE_MS)
            .map(|n| recorded.step(SPARSE_CHANGES, begin.plus_millis(n * SPARSE_MS)));
        store_all(measured, std::iter::once(Ok(first)).chain(sparse)).await?;
        let before = measured.bytes("month", REGION, last_day).await?;

        let mut outcomes = 0;
        let dense = (0..DAY_MS / DENSE_MS).zip(1..).map(|(step, n)| {
            let at = last_day.plus_millis(step * DENSE_MS);
            if usize::is_multiple_of(n, CHARTED_EVERY) {
                outcomes += OUTCOMES;
                return recorded.charted(at);
            }
            outcomes += DENSE_CHANGES * OUTCOMES;
            recorded.step(DENSE_CHANGES, at)
        });
        let count = store_all(measured, dense).await?;
        // QuestDB gives the space back that it reserved for a day when the next day begins.
        store_all(measured, std::iter::once(recorded.step(1, end))).await?;
        let grown = grown(measured, last_day, before).await?;
        println!("the last day: {count} steps with {outcomes} changed outcomes took {:.1} MB", grown / 1e6);
        Ok(Self { begin, last_day, end, bytes: grown / outcomes as f64 })
    }
}

/// By how many bytes the day has grown. QuestDB may list its partition a little later.
async fn grown(measured: &Measured, day: Timestamp, before: f64) -> anyhow::Result<f64> {
    let end = Instant::now() + LISTED_WITHIN;
    loop {
        let grown = measured.bytes("month", REGION, day).await? - before;
        if grown > 0.0 {
            return Ok(grown);
        }
        ensure!(Instant::now() < end, "the recorded day takes no space");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Stores steps, closes the store, and returns how many they were.
async fn store_all(
    measured: &Measured,
    steps: impl Iterator<Item = anyhow::Result<RecordedStep>>,
) -> anyhow::Result<usize> {
    let store = measured.open("month").await?;
    let (mut batch, mut count) = (Vec::new(), 0);
    for step in steps {
        batch.push(step?);
        count += 1;
        if batch.len() == AT_ONCE {
            append(&store, std::mem::take(&mut batch)).await?;
        }
    }
    if !batch.is_empty() {
        append(&store, batch).await?;
    }
    // QuestDB has applied what was written when this is answered.
    store.last_step(REGION).await?;
    Ok(count)
}

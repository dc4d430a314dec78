//! Reads a region's topic, and looks for crossings at each step.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::{Context, bail};
use kafka::{ConsumerMode, FollowerEvent, KafkaSettings, RegionFollower, Steps};
use odds::{Board, EventId, LogPosition, Region};
use tokio_util::task::AbortOnDropHandle;

use crate::crossings::Crossings;

/// A reader in the background.
pub struct RegionReader {
    pub region: Region,
    read: Arc<Mutex<Read>>,
    _task: AbortOnDropHandle<()>,
}

/// What was read so far.
pub struct Read {
    pub crossings: Crossings,
    pub newest: Option<LogPosition>,
    pub steps: u64,
    /// The best price of each outcome of the market h2h.
    pub prices: BTreeMap<(EventId, String), f64>,
    wrong: Option<String>,
}

impl RegionReader {
    pub fn start(kafka: &KafkaSettings, region: Region, crossings: Crossings) -> Self {
        let read = Read { crossings, newest: None, steps: 0, prices: BTreeMap::new(), wrong: None };
        let read = Arc::new(Mutex::new(read));
        let (kafka, shared) = (kafka.clone(), read.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = follow(&kafka, region, &shared).await {
                shared.lock().expect("no panic while the lock is held").wrong = Some(format!("{error:#}"));
            }
        });
        Self { region, read, _task: AbortOnDropHandle::new(task) }
    }

    pub fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().expect("no panic while the lock is held")
    }

    /// Fails if a step was not read. Then crossings may be missing.
    pub fn check(&self) -> anyhow::Result<()> {
        match &self.read().wrong {
            Some(wrong) => bail!("{}: {wrong}", self.region),
            None => Ok(()),
        }
    }
}

async fn follow(kafka: &KafkaSettings, region: Region, shared: &Mutex<Read>) -> anyhow::Result<()> {
    let mut follower = RegionFollower::new(kafka.clone(), region, ConsumerMode::Alone, Steps::Every);
    let mut revision = None;
    loop {
        match follower.next().await? {
            FollowerEvent::Verified(_) => {
                let marker = follower.reader().marker().cloned().context("a verified step has a marker")?;
                let board = follower.board();
                let last = revision.replace(board.revision());
                let changes = last.and_then(|last| board.changes_since(last));
                let is_whole = changes.is_none();
                let changes = changes.unwrap_or_else(|| board.content());
                let mut read = shared.lock().expect("no panic while the lock is held");
                read.crossings.step(board, &changes, is_whole, &marker);
                read.prices = prices(board);
                read.steps += 1;
                read.newest = Some(marker.position.context("a marker without a position")?);
            }
            FollowerEvent::Lost(cause) => bail!("the board was lost: {cause}"),
            FollowerEvent::Loading
            | FollowerEvent::Loaded
            | FollowerEvent::Advanced
            | FollowerEvent::Unavailable(_) => {}
        }
    }
}

fn prices(board: &Board) -> BTreeMap<(EventId, String), f64> {
    let mut best: BTreeMap<(EventId, String), f64> = BTreeMap::new();
    for event in board.event_ids() {
        for (_, _, outcomes) in board.quotes_of(event).filter(|(_, market, _)| market.as_str() == "h2h") {
            for outcome in outcomes.to_vec() {
                let price = outcome.price.to_f64();
                let best = best.entry((event.clone(), outcome.name)).or_insert(price);
                *best = best.max(price);
            }
        }
    }
    best
}

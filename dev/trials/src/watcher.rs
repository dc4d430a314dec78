//! Watchers: they read a region's topic and check every step's digest.

use std::time::Duration;

use anyhow::bail;
use kafka::{ConsumerMode, FollowerEvent, KafkaSettings, RegionFollower, Steps};
use odds::{Digest, Marker, Region, StepId, Timestamp};
use producers::simulator::{Shown, Simulator};
use tokio::sync::watch;

use crate::truth;

const CONVERGE_WITHIN: Duration = Duration::from_secs(300);

/// Reads a region in the background, and records the first failure.
#[derive(Debug)]
pub struct Watcher {
    pub region: Region,
    pub seen: watch::Receiver<Seen>,
    tolerant: watch::Sender<bool>,
}

/// What a watcher has read so far.
#[derive(Debug, Default)]
pub struct Seen {
    pub steps: u64,
    pub terms: u64,
    pub newest: StepId,
    /// How often the topic was read again from its start.
    pub anew: u64,
    pub events: usize,
    pub quotes: usize,
    pub wrong: Option<String>,
    /// The newest step's marker.
    pub marker: Option<Marker>,
    /// Every step, with the time and the digest of its marker.
    pub all: Vec<(StepId, Timestamp, Digest)>,
    shown: Shown,
}

impl Watcher {
    pub fn start(kafka: &KafkaSettings, region: Region) -> Self {
        let (send, seen) = watch::channel(Seen::default());
        let (tolerant, tolerates) = watch::channel(false);
        let kafka = kafka.clone();
        tokio::spawn(async move {
            if let Err(error) = watch_region(&kafka, region, &send, &tolerates).await {
                send.send_modify(|seen| seen.wrong = Some(error.to_string()));
            }
        });
        Self { region, seen, tolerant }
    }

    /// From now on, reads the topic again after a failure, as gateways do, instead of recording it. For trials that
    /// write forged records or change the topic.
    pub fn tolerate(&self) {
        self.tolerant.send_replace(true);
    }

    /// Fails if something was wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        let seen = self.seen.borrow();
        match &seen.wrong {
            Some(wrong) => bail!("{}: {wrong}", self.region),
            None => Ok(()),
        }
    }

    /// Waits until the board equals the simulator's truth. Fails on a failure of the watcher, or if it takes too long.
    pub async fn wait_for(&mut self, simulator: &Simulator) -> anyhow::Result<()> {
        let truth = truth(simulator, self.region)?;
        let decided = {
            let decided = self.seen.wait_for(|seen| seen.wrong.is_some() || seen.shown == truth);
            tokio::time::timeout(CONVERGE_WITHIN, decided).await.is_ok()
        };
        if decided {
            return self.check();
        }
        bail!("{}: the board is not the truth: {:?}", self.region, self.seen.borrow().shown.differences(&truth, 3))
    }
}

async fn watch_region(
    kafka: &KafkaSettings,
    region: Region,
    send: &watch::Sender<Seen>,
    tolerates: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut follower = RegionFollower::new(kafka.clone(), region, ConsumerMode::Alone, Steps::Every);
    loop {
        match follower.next().await? {
            FollowerEvent::Verified(step) => send.send_modify(|seen| {
                seen.steps += 1;
                seen.terms += u64::from(seen.newest.term != step.term);
                seen.newest = step;
                seen.events = follower.board().event_count();
                seen.quotes = follower.board().quote_count();
                seen.marker = follower.reader().marker().cloned();
                seen.all.extend(seen.marker.as_ref().map(|marker| (step, marker.at, marker.digest)));
                seen.shown = Shown::of_board(follower.board());
            }),
            FollowerEvent::Lost(_) if *tolerates.borrow() => send.send_modify(|seen| seen.anew += 1),
            FollowerEvent::Lost(cause) => bail!("{cause}"),
            FollowerEvent::Unavailable(_)
            | FollowerEvent::Loading
            | FollowerEvent::Loaded
            | FollowerEvent::Advanced => {}
        }
    }
}

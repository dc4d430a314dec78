//! A gateway with a history, a historian, and what clients had over time.

use std::collections::BTreeMap;

use historian::Historian;
use odds::{Change, EventId, Region};
use rand::{SeedableRng, rngs::StdRng};
use service::MetricRegistry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, draw_board, draw_changes},
    guest::BEARER,
    http,
    stage::{Running, Stage, until},
};

pub const REGION: Region = Region::Uk;
const EVENTS: u32 = 20;

pub type Events = BTreeMap<EventId, odds::Event>;

/// The events of a snapshot.
pub fn events(snapshot: &[u8]) -> Events {
    #[derive(serde::Deserialize)]
    struct Snapshot {
        events: Vec<Change>,
    }
    let snapshot: Snapshot = serde_json::from_slice(snapshot).unwrap();
    let mut events = Events::new();
    snapshot.events.into_iter().for_each(|change| change.apply_to(&mut events));
    events
}

pub async fn get(gateway: &Running, path: &str) -> http::Answer {
    http::get(&gateway.address, path, &[BEARER]).await
}

/// Starts a historian of a region, with the history of the stage.
pub async fn record(stage: &Stage, region: Region, stop: CancellationToken) -> JoinHandle<anyhow::Result<()>> {
    let store = stage.history_setting().split_once('=').unwrap().1.parse::<history::StoreUrl>().unwrap();
    let metrics = historian::Metrics::new(&mut MetricRegistry::default(), region);
    let historian = Historian::new(region, stage.kafka(), store.open().await.unwrap(), service::now, metrics);
    tokio::spawn(historian.run(stop))
}

/// A gateway with a history, a historian, and what a client had over time.
pub struct Past {
    _stage: Stage,
    pub gateway: Running,
    random: StdRng,
    author: Author,
    pub had: Vec<Had>,
    stop: CancellationToken,
    recording: JoinHandle<anyhow::Result<()>>,
}

/// What a client had at a time.
pub struct Had {
    pub cursor: String,
    pub events: Events,
    pub time: odds::Timestamp,
}

impl Past {
    pub async fn begin() -> Self {
        let stage = Stage::set().await;
        let gateway = stage.gateway("a", &[&stage.history_setting()]).await;
        let mut random = StdRng::seed_from_u64(8);
        let mut author = Author::start(&stage.kafka(), REGION).await;
        author.step(draw_board(&mut random, EVENTS)).await;
        let stop = CancellationToken::new();
        let recording = record(&stage, REGION, stop.clone()).await;
        Self { _stage: stage, gateway, random, author, had: Vec::new(), stop, recording }
    }

    pub async fn stop_recording(self) {
        self.stop.cancel();
        self.recording.await.unwrap().unwrap();
    }

    /// Writes steps, and waits until the gateway has each of them.
    pub async fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            self.author.step(draw_changes(&mut self.random, EVENTS)).await;
            let digest = self.author.board().digest().to_string();
            let Self { gateway, had, .. } = self;
            until("the gateway has the step", async || {
                let board = get(gateway, "/api/odds/uk").await;
                let cursor = board.json()["cursor"].as_str().unwrap_or_default().to_owned();
                let is_there = cursor.ends_with(&digest);
                if is_there {
                    had.push(Had { cursor, events: events(&board.body), time: service::now() });
                }
                is_there
            })
            .await;
            let time = had.last().unwrap().time;
            until("the clock goes on", async || service::now() > time).await;
        }
    }

    pub async fn newest_is_recorded(&self) -> String {
        let newest = format!("/api/history/board/uk?cursor={}", self.had.last().unwrap().cursor);
        until("the newest step is recorded", async || get(&self.gateway, &newest).await.status == 200).await;
        newest
    }
}

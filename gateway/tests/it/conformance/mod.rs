//! Conformance tests of Engine.IO 4 and Socket.IO 5: raw requests and raw websockets against a real gateway. The cases
//! follow the specifications of the two protocols, for a gateway with one namespace and without binary.
//!
//! | file | covers |
//! |---|---|
//! | `engine.rs` | handshake, sessions, long polling, websocket frames, invalid input, closing |
//! | `heartbeat.rs` | ping and pong over both transports and after an upgrade |
//! | `upgrade.rs` | every order of CONNECT, polls, posts, probe and upgrade |
//! | `socket.rs` | namespaces, CONNECT and refusals, events, acknowledgements, DISCONNECT, binary |
//!
//! Each file is one test. Its cases share a gateway and run at the same time; the test lists all that failed. Where the
//! specification leaves something open, a case fixes this gateway's behaviour, and its comment describes that of Node's
//! server if it differs.
//!
//! Known deviations from the specification come from socketioxide and engineioxide. A case fails when one of them is
//! fixed there:
//! - an event's name with JSON escapes closes the connection; bytes after a payload are ignored; packets for a
//!   namespace that is not connected are ignored; a connection has the id of its session (`socket.rs`).

mod engine;
mod heartbeat;
mod socket;
mod upgrade;
pub mod wire;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use client::{BoardMirrors, MirrorUpdate, event_of};
use futures::future::BoxFuture;
use odds::{Filter, Region};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    author::{Author, History, draw_changes},
    guest::TOKEN,
    stage::{DEADLINE, Running, Stage},
};
use wire::Session;

const REGIONS: [Region; 2] = [Region::Uk, Region::Eu];
/// Events of about 1.5 KB each.
const EVENTS: u32 = 120;
/// The least size of a board, so that its snapshot has many parts.
const BOARD_BYTES: usize = 100_000;
const STEP_EVERY: Duration = Duration::from_millis(100);
/// A connection with this many frames after the snapshot works.
const FRAMES: u32 = 10;
/// A connection has stalled if it gets no frame for this long although the board has changed.
const STALLED: Duration = Duration::from_secs(5);
const FOLLOWED_WITHIN: Duration = Duration::from_secs(40);
const CASE_WITHIN: Duration = DEADLINE;

/// A gateway with two large boards that keep changing.
struct Scene {
    address: String,
    histories: BTreeMap<Region, History>,
    _gateway: Running,
    _stage: Stage,
    /// Their tasks end with the scene.
    _authors: JoinSet<()>,
}

impl Scene {
    async fn set(settings: &[&str]) -> Arc<Self> {
        let stage = Stage::set().await;
        let mut authors = JoinSet::new();
        let mut histories = BTreeMap::new();
        for region in REGIONS {
            let mut author = Author::start(&stage.kafka(), region).await;
            let mut random = StdRng::seed_from_u64(region as u64);
            let mut board = BTreeMap::new();
            while board.len() < EVENTS as usize {
                let changes = draw_changes(&mut random, EVENTS).into_iter();
                board.extend(changes.filter_map(|(id, image)| Some((id, Some(image?)))));
            }
            author.step(board.into_iter().collect()).await;
            histories.insert(region, author.history.clone());
            authors.spawn(async move {
                loop {
                    tokio::time::sleep(STEP_EVERY).await;
                    author.step(draw_changes(&mut random, EVENTS)).await;
                }
            });
        }
        let many = [
            "--max-connections=10000",
            "--max-connections-per-address=10000",
            "--max-connections-per-user=10000",
            "--attempts-per-minute=1000000",
        ];
        let gateway = stage.gateway("one", &[&many, settings].concat()).await;
        let address = gateway.address.clone();
        Arc::new(Self { address, histories, _gateway: gateway, _stage: stage, _authors: authors })
    }
}

type Case = (&'static str, BoxFuture<'static, ()>);

/// Runs all cases and names those that failed.
async fn check(cases: Vec<Case>) {
    let count = cases.len();
    let mut running = JoinSet::new();
    let names: HashMap<_, _> =
        cases.into_iter().map(|(name, case)| (running.spawn(timeout(CASE_WITHIN, case)).id(), name)).collect();
    let mut failed = BTreeMap::new();
    while let Some(ended) = running.join_next_with_id().await {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((id, Err(_))) => drop(failed.insert(names[&id], "it takes too long".to_owned())),
            Err(error) => drop(failed.insert(names[&error.id()], message_of(error.into_panic()))),
        }
    }
    let list: Vec<String> = failed.iter().map(|(name, message)| format!("{name}:\n    {message}")).collect();
    assert!(failed.is_empty(), "{} of {count} cases failed\n\n{}\n", failed.len(), list.join("\n\n"));
}

#[expect(clippy::needless_pass_by_value, reason = "a panic's payload is owned")]
fn message_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").replace('\n', "\n    ")
}

/// Runs these cases with one scene.
macro_rules! cases {
    ($scene:ident: $($name:ident),+ $(,)?) => {
        $crate::conformance::check(vec![
            $((stringify!($name), Box::pin($name($scene.clone())) as futures::future::BoxFuture<'static, ()>)),+
        ])
    };
}
use cases;

/// The `auth` of a client that follows both boards.
fn following() -> Value {
    json!({ "token": TOKEN, "regions": REGIONS })
}

/// What a connected client has received.
#[derive(Default)]
struct Follower {
    mirrors: BoardMirrors,
    /// The bytes of each snapshot so far, and its last part.
    snapshots: BTreeMap<Region, (usize, u64)>,
    frames: BTreeMap<Region, u32>,
}

impl Follower {
    fn receive(&mut self, packet: &str) {
        let Some((name, payload)) = packet.strip_prefix("42").and_then(event_of) else { return };
        let before = self.mirrors.cursors();
        if name == "snapshot" {
            let snapshot: Value = serde_json::from_str(&payload).unwrap();
            let region = serde_json::from_value(snapshot["region"].clone()).unwrap();
            let (bytes, last) = self.snapshots.entry(region).or_default();
            let part = snapshot["part"].as_u64().unwrap_or(1);
            assert_eq!(part, *last + 1, "parts of the snapshot of {region} were lost");
            *bytes += payload.len();
            *last = part;
        }
        match self.mirrors.take(&name, &payload) {
            MirrorUpdate::Resync(region, _) => panic!("a frame of {region} was lost"),
            MirrorUpdate::Board(region)
                if name == "odds" && before.get(&region) != self.mirrors.cursors().get(&region) =>
            {
                *self.frames.entry(region).or_default() += 1;
            }
            _ => {}
        }
    }

    fn has_all(&self) -> bool {
        REGIONS.iter().all(|region| self.frames.get(region).is_some_and(|frames| *frames >= FRAMES))
    }

    fn is_newest(&self, scene: &Scene) -> bool {
        let everything = Filter::default();
        REGIONS.iter().all(|region| {
            let board = self.mirrors.boards.get(region);
            board.is_some_and(|board| *board.events() == scene.histories[region].newest(&everything))
        })
    }

    /// Describes what was received so far, for failure messages.
    fn progress(&self) -> String {
        format!("snapshots (bytes, last part): {:?}, then frames: {:?}", self.snapshots, self.frames)
    }

    /// Checks that both snapshots come in parts, that frames follow them, and that each board is exact.
    async fn follow(&mut self, session: &mut Session, scene: &Scene) {
        let end = Instant::now() + FOLLOWED_WITHIN;
        while !self.has_all() {
            assert!(Instant::now() < end, "it takes too long; {}", self.progress());
            match timeout(STALLED, session.next()).await {
                Ok(Some(packet)) => self.receive(&packet),
                Ok(None) => panic!("the session ended; {}", self.progress()),
                Err(_) => assert!(self.is_newest(scene), "it has stalled; {}", self.progress()),
            }
        }
        for region in REGIONS {
            let (bytes, parts) = self.snapshots[&region];
            assert!(bytes >= BOARD_BYTES && parts > 1, "{region}: {bytes} bytes in {parts} parts");
            let board = &self.mirrors.boards[&region];
            let step = board.cursor().unwrap().step();
            let written = scene.histories[&region].shown(step, &Filter::default());
            assert!(written.as_ref() == Some(board.events()), "the board of {region} is not that of {step}");
        }
    }
}

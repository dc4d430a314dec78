//! A board that keeps changing, and whether clients have exactly that board.

use client::{BoardMirrors, Client, MirrorUpdate, ServerMessage};
use odds::{Filter, Region};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::{Instant, timeout_at};

use crate::{
    author::{Author, draw_changes},
    stage::{DEADLINE, Running, Stage},
};

pub const REGION: Region = Region::Uk;

pub struct LiveBoard {
    author: Author,
    random: StdRng,
    /// How many events change in a step.
    events: u32,
}

/// A gateway that serves such a board.
pub struct Scene {
    pub gateway: Running,
    pub board: LiveBoard,
    _stage: Stage,
}

impl Scene {
    pub async fn set(settings: &[&str], events: u32) -> Self {
        let stage = Stage::set().await;
        let board = LiveBoard::start(&stage, events).await;
        let gateway = stage.gateway("one", settings).await;
        Self { gateway, board, _stage: stage }
    }
}

impl LiveBoard {
    /// Starts with a few steps.
    pub async fn start(stage: &Stage, events: u32) -> Self {
        let author = Author::start(&stage.kafka(), REGION).await;
        let mut this = Self { author, random: StdRng::seed_from_u64(7), events };
        this.steps(50).await;
        this
    }

    pub async fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.author.step(draw_changes(&mut self.random, self.events)).await;
        }
    }

    pub fn is_shown_by(&self, mirrors: &BoardMirrors) -> bool {
        let newest = self.author.history.newest(&Filter::default());
        mirrors.boards.get(&REGION).is_some_and(|board| *board.events() == newest)
    }

    /// Reads until the client has the newest board. Every frame must fit.
    pub async fn is_reached_by(&self, client: &mut Client, mirrors: &mut BoardMirrors) {
        let end = Instant::now() + DEADLINE;
        while !self.is_shown_by(mirrors) {
            let message = timeout_at(end, client.next()).await.expect("the board comes in time").unwrap();
            if let ServerMessage::Event { name, payload } = message {
                let update = mirrors.take(&name, &payload);
                assert!(!matches!(update, MirrorUpdate::Resync(..)), "a frame was lost before {payload}");
            }
        }
    }
}

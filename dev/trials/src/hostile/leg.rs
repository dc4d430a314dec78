//! One leg of the trial: a new gateway, with good clients and one kind of peers.

use std::time::Duration;

use serde_json::json;
use tokio::time::interval;

use super::{
    kind::Kind,
    peer::GRACE,
    swarm::{Origin, Swarm, Tally},
};
use crate::{
    race::{Author, Crowd, Ground, Kind as ServerKind, Limits, Run, Server, Size, Writing, count},
    token,
};

const TICK: u32 = 100;
const SETTLE: Duration = Duration::from_secs(4);
/// The good clients.
const SIZE: Size = Size { clients: 1_000, watching: 50, mirroring: 5 };
/// Changes per step; there are twenty steps a second.
const CHANGES: usize = 10;
/// Connections per user: all good clients and some spare.
const MOST_OF_ASKER: usize = 1_100;
/// Good clients are measured at least this long, from when the peers start to connect.
const LOOK_FOR: Duration = Duration::from_secs(20);

/// The results of one leg.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub kind: Kind,
    pub tally: Tally,
    /// Measurements of the good clients and the gateway while the peers were there.
    pub run: Run,
    /// The gateway's memory (PSS) in bytes, before the peers came.
    pub before: f64,
    /// The maximum of the gateway's memory (PSS) in bytes.
    pub peak: f64,
    /// CPU seconds of the gateway, from the peers' arrival until the last had gone.
    pub gateway_cpu: f64,
    /// CPU seconds of the peers in the same time.
    pub peers_cpu: f64,
    /// Additional open files of the gateway after all peers should have gone.
    pub left: usize,
}

impl Outcome {
    /// Returns the growth of the gateway's memory, in MiB.
    pub fn growth(&self) -> f64 {
        (self.peak - self.before) / 1024.0 / 1024.0
    }

    /// Returns by how many seconds the longest-lived peer exceeded its limit; 0 if none did.
    pub fn overdue(&self) -> f64 {
        let limit = self.kind.limit().unwrap_or_default().as_secs_f64();
        (self.tally.longest as f64 / 1e6 - limit).max(0.0)
    }
}

/// One leg of the trial.
pub struct Leg<'a> {
    pub ground: &'a Ground,
    pub kind: Kind,
}

impl Leg<'_> {
    /// Runs the leg. Takes the topic's author and returns it, so that the next leg can use it.
    pub async fn run(&self, mut author: Author) -> anyhow::Result<(Author, Outcome)> {
        let Self { ground, kind } = *self;
        author.publish_all().await?;
        // Askers are one user, and all good clients are another. The limit per user is just enough for good clients.
        let limits = if kind == Kind::Askers { Limits::OfUsers(MOST_OF_ASKER) } else { ground.limits };
        let ground = &Ground { limits, ..ground.clone() };
        let server = Server::start(ServerKind::Gateway(TICK), ground).await?;
        let mut crowd = Crowd::start(&ground.binaries, &server.target(true), SIZE)?;
        crowd.joined().await?;
        let times = author.times.clone();
        let writing = Writing::start(author, CHANGES);
        tokio::time::sleep(SETTLE).await;
        let (before, files, cpu) = (server.memory()?, server.open_files()?, server.cpu_seconds()?);
        // Askers follow the region; other peers that sign in follow none.
        let auth = match kind {
            Kind::Askers => {
                let token = token(server.address(), "asker").await?;
                json!({ "v": 1, "token": token, "regions": [ground.region] }).to_string()
            }
            _ => server.auth(&[]).to_string(),
        };
        let swarm = |origin| Swarm::start(&ground.binaries, kind, origin, server.address(), &auth);
        let (one, spread) = (swarm(Origin::One)?, swarm(Origin::Spread)?);
        let watching = count(&server, &mut crowd, LOOK_FOR.max(kind.limit().unwrap_or_default()));
        let ending = async { tokio::try_join!(one.tally(), spread.tally()) };
        let (watched, ended, peak) = {
            let all = async { tokio::try_join!(watching, ending) };
            tokio::pin!(all);
            let mut peak = before;
            let mut looks = interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    all = &mut all => {
                        let (watched, ended) = all?;
                        break (watched, ended, peak);
                    }
                    _ = looks.tick() => peak = peak.max(server.memory()?),
                }
            }
        };
        let gateway_cpu = server.cpu_seconds()? - cpu;
        tokio::time::sleep(GRACE).await;
        let left = server.open_files()?.saturating_sub(files);
        let author = writing.stop().await?;
        crowd.shows(author.digest()).await?;
        crowd.leave().await?;
        let ((mut tally, mut peers_cpu), (spread, spread_cpu)) = ended;
        tally.add(&spread);
        peers_cpu += spread_cpu;
        let run = watched.run(&times, CHANGES);
        Ok((author, Outcome { kind, tally, run, before, peak, gateway_cpu, peers_cpu, left }))
    }
}

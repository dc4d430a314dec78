//! One kind of peers at a gateway of its own, with good clients beside them.

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
/// Of good clients, and in a step, of which there are twenty a second.
const SIZE: Size = Size { clients: 1_000, watching: 50, mirroring: 5 };
const CHANGES: usize = 10;
/// Good clients, those of them that watch and mirror included, and some to spare.
const MOST_OF_ASKER: usize = 1_100;
/// Good clients are looked at for so long from when the peers begin to come.
const LOOK_FOR: Duration = Duration::from_secs(20);

/// What one leg came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub kind: Kind,
    pub tally: Tally,
    /// Of the good clients, and of the gateway meanwhile.
    pub run: Run,
    /// Of the gateway's memory (Pss), in bytes.
    pub before: f64,
    pub peak: f64,
    /// Seconds of CPU from the peers' coming until the last was gone.
    pub gateway_cpu: f64,
    pub peers_cpu: f64,
    /// Open files of the gateway that were not open before, when all peers ought to be gone.
    pub left: usize,
}

impl Outcome {
    pub fn growth(&self) -> f64 {
        (self.peak - self.before) / 1024.0 / 1024.0
    }

    /// In seconds; nothing if all ended within their limit.
    pub fn overdue(&self) -> f64 {
        let limit = self.kind.limit().unwrap_or_default().as_secs_f64();
        (self.tally.longest as f64 / 1e6 - limit).max(0.0)
    }
}

pub struct Leg<'a> {
    pub ground: &'a Ground,
    pub kind: Kind,
}

impl Leg<'_> {
    /// Takes the author and brings it back.
    pub async fn run(&self, mut author: Author) -> anyhow::Result<(Author, Outcome)> {
        let Self { ground, kind } = *self;
        author.publish_all().await?;
        // Askers are one user, and so are good clients: they get no more than good clients need.
        let limits = if kind == Kind::Askers { Limits::OfUsers(MOST_OF_ASKER) } else { ground.limits };
        let ground = &Ground { limits, ..ground.clone() };
        let server = Server::start(ServerKind::Gateway(TICK), ground).await?;
        let mut crowd = Crowd::start(&ground.binaries, &server.target(true), SIZE)?;
        crowd.joined().await?;
        let times = author.times.clone();
        let writing = Writing::start(author, CHANGES);
        tokio::time::sleep(SETTLE).await;
        let (before, files, cpu) = (server.memory()?, server.open_files()?, server.cpu_seconds()?);
        // Askers follow the region; nobody else who signs in follows any.
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

//! Code shared by the trials: `soak` and `alerts` on the embedded cluster, `drill`, `verdicts`, `oddities` and `delivery`
//! on real engines, `race` against other servers, `loading` of gateways, and `hostile` with malicious clients.

mod account;
mod engines;
mod fleet;
mod forger;
pub mod hostile;
pub mod local_region;
mod parts;
pub mod past;
pub mod race;
pub mod upstream;
mod watcher;

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::bail;
use service::{Lifecycle, Program};

pub use account::{PASSWORD, operating_token, producing_token, token, token_at};
pub use engines::{Engine, Engines, MailEngine, Part, Recipe};
pub use fleet::{Fleet, metric, serve_simulator, simulated, truth};
pub use forger::{Forger, forgeries};
pub use parts::{Gateway, Parts, RECOVERS_WITHIN, TrialSettings};
pub use watcher::{Seen, Watcher};

/// Runs a trial until it ends. Fails if it is interrupted.
pub async fn run<T>(program: Program, trial: impl FnOnce(Lifecycle) -> T) -> anyhow::Result<()>
where
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (stopping, running) = (program.stopping(), program.lifecycle.clone());
    let trial = trial(program.lifecycle.clone());
    program.lifecycle.run("the trial", async move {
        // However the trial ends, its processes are dropped and so killed.
        tokio::select! {
            done = trial => {
                running.stop();
                done
            }
            () = stopping.cancelled() => bail!("interrupted"),
        }
    });
    program.wait().await
}

/// Speed of the simulated world, relative to reality.
pub const SPEED: f64 = 20.0;
/// Frequency of polls, relative to reality.
pub const POLL_SPEED: f64 = 60.0;

/// Ports below the kernel's ephemeral range, so that no outgoing connection takes a port that was found free.
static NEXT_PORT: LazyLock<AtomicU16> = LazyLock::new(|| rand::random_range(20_000..26_000).into());

/// Returns a free loopback address. Never returns the same one twice.
pub fn free_address() -> std::io::Result<String> {
    loop {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener.local_addr()?.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

//! What the trials share: `soak` on the embedded cluster, `drill` and `oddities` on real engines, `race` beside
//! others, and `hostile` against peers who mean harm.

mod account;
mod engines;
mod fleet;
mod forger;
pub mod hostile;
mod parts;
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
use service::Lifecycle;

pub use account::{PASSWORD, token};
pub use engines::{Engine, Engines, Part, Recipe};
pub use fleet::{Fleet, simulated};
pub use forger::{Forger, forgeries};
pub use parts::{Gateway, Parts, RECOVERS_WITHIN};
pub use watcher::{Seen, Watcher};

/// Runs a trial until it is done or interrupted.
pub async fn run<T>(name: &str, trial: impl FnOnce(Lifecycle) -> T) -> anyhow::Result<()>
where
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    // Whoever set one before set the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lifecycle = Lifecycle::new();
    let (stopping, running) = (lifecycle.stopping(), lifecycle.clone());
    let trial = trial(lifecycle.clone());
    lifecycle.run(name, async move {
        // What was started ends with it, however it ends.
        tokio::select! {
            done = trial => {
                running.stop();
                done
            }
            () = stopping.cancelled() => bail!("interrupted"),
        }
    });
    lifecycle.wait().await
}

/// How much faster than reality the world moves.
pub const SPEED: f64 = 20.0;
/// How much more often than in reality it is polled.
pub const POLL_SPEED: f64 = 60.0;

/// Of the ports that the kernel gives to nobody who connects: one that is free now is free in a moment, too.
static NEXT_PORT: LazyLock<AtomicU16> = LazyLock::new(|| rand::random_range(20_000..26_000).into());

/// On loopback, and no other one that was given before.
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

//! Peers of one kind in one process, on one thread. Prints how they ended as one line of JSON, and then waits until its
//! input ends.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use clap::Parser;
use tokio::{
    io::AsyncReadExt,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until},
};
use trials::hostile::{Kind, Origin, Peer, Tally, live};

/// The peers connect evenly over this time.
const ARRIVE_OVER: Duration = Duration::from_secs(8);

/// Connects hostile peers, and prints how they ended.
#[derive(Debug, Parser)]
#[command(name = "strangers", version)]
struct Settings {
    /// What the peers do.
    kind: Kind,

    /// Where they connect from.
    origin: Origin,

    /// Gateway address, as address:port, on loopback.
    #[arg(long)]
    address: SocketAddr,

    /// Socket.IO's `auth` data for peers that sign in, as JSON.
    #[arg(long)]
    auth: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings: Settings = service::load();
    anyhow::ensure!(settings.address.ip().is_loopback(), "only a gateway on loopback may be attacked");
    LocalSet::new().run_until(run(settings)).await
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { kind, origin, address, auth } = settings;
    let auth: Rc<str> = auth.into();
    let count = kind.count();
    let began = Instant::now();
    let mut peers = JoinSet::new();
    for number in 0..count {
        sleep_until(began + ARRIVE_OVER.mul_f64(number as f64 / count as f64)).await;
        peers.spawn_local(live(Peer {
            kind,
            from: origin.address(kind, number),
            to: address,
            auth: auth.clone(),
            number,
        }));
    }
    let mut tally = Tally::default();
    while let Some(end) = peers.join_next().await {
        tally.count(end?);
    }
    println!("{}", serde_json::to_string(&tally)?);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

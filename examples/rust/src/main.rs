//! Mirrors the boards of some regions and prints what changes. When the connection ends, it reconnects and resumes
//! from its cursors, unless the gateway asked it not to come back.
//!
//!     cargo run -p toteboard-mirror -- --regions uk,eu

use std::{collections::HashSet, convert::Infallible};

use clap::Parser;
use client::{BoardMirrors, Client, ClientError, MirrorUpdate, Protocol, ServerMessage};
use odds::Region;
use serde_json::json;

#[derive(Debug, Parser)]
#[command(name = "mirror")]
struct Settings {
    /// The gateway, as host:port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    gateway: String,

    /// A token that you made on the page.
    #[arg(long)]
    token: Option<String>,

    /// The regions to follow. By default, those that you chose on the page.
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<Region>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let mut mirrors = BoardMirrors::default();
    let mut protocol = Protocol::default();
    let mut alerts = Alerts::default();
    loop {
        let Err(ended) = follow(&settings, &mut mirrors, &mut protocol, &mut alerts).await;
        mirrors.disconnected();
        // No wait means no retry: the gateway would refuse again, or asked the client not to come back.
        let Some(wait) = protocol.wait(rand::random()) else { return Err(ended.into()) };
        eprintln!("{ended}; connecting again in {:.1} s", wait.as_secs_f64());
        tokio::time::sleep(wait).await;
    }
}

/// Prints updates until the connection ends.
async fn follow(
    settings: &Settings,
    mirrors: &mut BoardMirrors,
    protocol: &mut Protocol,
    alerts: &mut Alerts,
) -> Result<Infallible, ClientError> {
    let auth = json!({
        "v": 1, "token": settings.token, "regions": settings.regions, "resume": mirrors.cursors(), "alerts": alerts.last,
    });
    let mut client = Client::connect_lasting(&settings.gateway, &auth, protocol).await?;
    loop {
        let ServerMessage::Event { name, payload } = client.next().await? else { continue };
        if name == "bye" {
            eprintln!("the gateway ends the connection: {payload}");
        }
        if name == "alert" && alerts.is_new(&payload) {
            println!("alert: {payload}");
        }
        match mirrors.take(&name, &payload) {
            MirrorUpdate::Board(region) => {
                let board = &mirrors.boards[&region];
                let quotes: usize = board.events().values().map(|event| event.quotes.len()).sum();
                let state = mirrors.feeds.get(&region).map_or("", |feed| feed.state.key());
                println!("{region} {state}: {} events, {quotes} quotes after {name}", board.events().len());
            }
            MirrorUpdate::Feed(region) => println!("{region}: {}", mirrors.feeds[&region].state.key()),
            MirrorUpdate::Regions => {
                println!("regions: {}", mirrors.regions.iter().map(|it| it.key()).collect::<Vec<_>>().join(" "));
            }
            MirrorUpdate::Resync(region, cursor) => {
                client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
            }
            MirrorUpdate::Nothing => {}
        }
    }
}

/// The ids of the alerts that came.
#[derive(Default)]
struct Alerts {
    known: HashSet<String>,
    last: Option<String>,
}

impl Alerts {
    /// After a reconnect, an alert may come again.
    fn is_new(&mut self, payload: &str) -> bool {
        let alert: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
        let Some(id) = alert["id"].as_str() else { return false };
        self.last = Some(id.to_owned());
        self.known.insert(id.to_owned())
    }
}

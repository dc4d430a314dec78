//! Mirrors the boards of some regions and prints what changes; goes on where it was when the
//! connection breaks.
//!
//!     cargo run -p toteboard-client -- --regions uk,eu

use std::time::Duration;

use clap::Parser;
use client::{Client, ClientError, Said};
use odds::{Live, News, Region};
use serde_json::json;

#[derive(Debug, Parser)]
#[command(name = "mirror")]
struct Settings {
    /// The gateway, as host:port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    gateway: String,

    /// A token of yours.
    #[arg(long)]
    token: Option<String>,

    /// Which regions; without, those that you chose on the page.
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<Region>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let mut live = Live::default();
    loop {
        match follow(&settings, &mut live).await {
            Err(refused @ ClientError::Refused(_)) => return Err(refused.into()),
            Err(error) => eprintln!("{error}; connecting again"),
            Ok(()) => {}
        }
        live.disconnected();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn follow(settings: &Settings, live: &mut Live) -> Result<(), ClientError> {
    let auth = json!({ "v": 1, "token": settings.token, "regions": settings.regions, "resume": live.cursors() });
    let mut client = Client::connect(&settings.gateway, &auth).await?;
    loop {
        let Said::Event { name, payload } = client.next().await? else { continue };
        match live.take(&name, &payload) {
            News::Board(region) => {
                let board = &live.boards[&region];
                let quotes: usize = board.events().values().map(|event| event.quotes.len()).sum();
                let state = live.feeds.get(&region).map_or("", |feed| feed.state.key());
                println!("{region} {state}: {} events, {quotes} quotes after {name}", board.events().len());
            }
            News::Feed(region) => println!("{region}: {}", live.feeds[&region].state.key()),
            News::Regions => {
                println!("regions: {}", live.regions.iter().map(|it| it.key()).collect::<Vec<_>>().join(" "));
            }
            News::Resync(region, cursor) => {
                client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
            }
            News::Nothing => {}
        }
    }
}

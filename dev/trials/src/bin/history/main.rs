//! What the history costs: how fast steps are stored, how soon they can be read, how fast charts, boards and replays are
//! read while a thousand prices change a second, and what that does to live clients.

mod ingest;
mod live;
mod measured;
mod reader;
mod recorded;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::ensure;
use clap::Parser;
use odds::Region;
use trials::race::Table;

use self::{measured::Measured, recorded::Month};

const REGION: Region = Region::Uk;

/// Measures a history store, and prints a table with goals.
#[derive(Debug, Parser)]
#[command(name = "history", version)]
struct Settings {
    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder for SQLite's files, logs and accounts.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// Measure this QuestDB server, such as http://localhost:9000, instead of SQLite.
    #[arg(long, value_name = "URL")]
    questdb: Option<String>,

    /// Seconds to store steps without a pause.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds: u64,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.folder)?;
    let measured = match &settings.questdb {
        Some(server) => Measured::QuestDb(server.clone()),
        None => Measured::Sqlite(settings.folder.clone()),
    };
    let (goals, mut table) = (measured.goals(), Table::default());
    let stored = ingest::ingest(&measured, Duration::from_secs(settings.seconds)).await?;
    table.at_least("changed outcomes stored a second", stored, goals.stored);
    let month = Month::record(&measured).await?;
    table.at_most("bytes of a changed outcome", "", month.bytes, goals.bytes);
    live::measure(&settings, &measured, &month, &mut table).await?;
    println!("\n{}", table.markdown());
    let missed = table.missed();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

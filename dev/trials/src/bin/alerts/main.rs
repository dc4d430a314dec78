//! Trials of alerters as separate processes: `faults` kills and suspends them, and compares what fired with every
//! crossing; `delay` measures the time from a step's marker to the event `alert` at clients.

mod accounts_of_trial;
mod compared;
mod crossings;
mod delay;
mod faults;
mod region_reader;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use kafka::KafkaSettings;
use producers::simulator::SimulatorSettings;
use service::ProgramSettings;
use trials::Part;

#[derive(Debug, Parser)]
#[command(name = "alerts", version)]
struct Settings {
    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder for logs and accounts.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    what: What,

    /// Minutes with faults, one every 20 seconds.
    #[arg(long, default_value_t = 10, value_name = "MINUTES")]
    minutes: u32,

    /// Seconds to measure the delay.
    #[arg(long, default_value_t = 45, value_name = "SECONDS")]
    seconds: u32,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Kill, suspend and resume alerters, and compare what fired with all crossings.
    Faults,
    /// Measure the time from a step's marker to the event `alert` at clients, and what a burst does to a live client.
    Delay,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("alerts")?;
    std::fs::create_dir_all(&settings.folder)?;
    trials::run(program, |lifecycle| async move {
        let Settings { binaries, folder, .. } = &settings;
        match settings.what {
            What::Faults => {
                faults::run(binaries, folder, settings.minutes, settings.simulator.clone(), &lifecycle).await
            }
            What::Delay => delay::run(binaries, folder, settings.seconds).await,
        }
    })
    .await
}

/// Starts an alerter with this store.
fn alerter(
    binaries: &Path,
    folder: &Path,
    name: &str,
    kafka: &KafkaSettings,
    store: &str,
    more: &[&str],
) -> anyhow::Result<Part> {
    let mut command = vec![
        binaries.join("alerter").display().to_string(),
        format!("--brokers={}", kafka.brokers),
        format!("--store={store}"),
    ];
    command.extend(more.iter().map(|it| (*it).to_owned()));
    command.extend(kafka.properties.iter().map(|property| format!("--kafka={property}")));
    Part::start(name, command, BTreeMap::new(), folder.join(format!("{name}.log")))
}

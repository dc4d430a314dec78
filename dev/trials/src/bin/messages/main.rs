//! Measures messages, from a request at a gateway to a mail server, with gateway and notifier as separate processes.

mod mail_sink;
mod scene;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::Parser;
use service::ProgramSettings;
use tokio::time::sleep;
use trials::race::{Table, quantile};

use self::scene::Scene;

/// Transactions a second while the delay is measured, and the longest that 99 of 100 may take.
const PACE: u32 = 100;
const MOST_DELAY_MS: f64 = 1_000.0;
/// Transactions that are produced while no notifier runs, how long they may take then, and how many a second at least.
const PILE: usize = 10_000;
const MOST_SECONDS: f64 = 60.0;
const LEAST_A_SECOND: f64 = 500.0;
/// Transactions a second while the mail server is down.
const PACE_WHILE_DOWN: u32 = 50;
/// Requests to produce a second, at one gateway, how many are made at the same time, and for how long.
const LEAST_REQUESTS: f64 = 2_000.0;
const REQUESTS_AT_ONCE: usize = 64;
const REQUESTS_FOR: Duration = Duration::from_secs(15);
/// The most memory with many waiting messages.
const MOST_MB: f64 = 100.0;

#[derive(Debug, Parser)]
#[command(name = "messages", version)]
struct Settings {
    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder for logs and stores.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// The outbox. Default: a SQLite file in the folder.
    #[arg(long, value_name = "URL")]
    outbox: Option<String>,

    /// Seconds to measure the delay.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    seconds: u32,

    /// Seconds for which the mail server is down.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    down: u32,

    /// Messages that wait while memory is measured.
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    waiting: usize,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("messages")?;
    std::fs::create_dir_all(&settings.folder)?;
    trials::run(program, |_| async move { measure(settings).await }).await
}

async fn measure(settings: Settings) -> anyhow::Result<()> {
    let Settings { binaries, folder, outbox, seconds, down, waiting, .. } = settings;
    let mut scene = Scene::set(binaries, folder, outbox).await?;
    let mut table = Table::default();

    let notifier = scene.notifier(&[])?;
    // The group forms, and connections open.
    scene.produce("warm-up", PACE, 2 * PACE as usize).await?;
    scene.wait_for(2 * PACE as usize, Duration::from_secs(120)).await?;
    let mut delays = scene.produce("delay", PACE, (PACE * seconds) as usize).await?.delays_in(&scene).await?;
    delays.sort_unstable();
    println!(
        "from accepted to the mail server: {:.0} ms in the median, {:.0} ms at most, of {} at {PACE} a second",
        quantile(&delays, 0.5),
        quantile(&delays, 1.0),
        delays.len()
    );
    table.at_most("p99 from accepted to the mail server", " ms", quantile(&delays, 0.99), MOST_DELAY_MS);
    drop(notifier);

    let before = scene.sink.count();
    scene.pile_up(PILE).await?;
    let begin = Instant::now();
    let notifier = scene.notifier(&["taskset", "-c", "0"])?;
    while scene.sink.count() == before {
        sleep(Duration::from_millis(10)).await;
    }
    let first = Instant::now();
    scene.wait_for(before + PILE, Duration::from_secs(300)).await?;
    let took = begin.elapsed().as_secs_f64();
    let rate = PILE as f64 / first.elapsed().as_secs_f64();
    println!("{PILE} transactions that waited for a notifier: {took:.1} s from its start");
    table.at_most("seconds until a pile of 10,000 is delivered", " s", took, MOST_SECONDS);
    table.at_least("e-mails a second by one notifier on one core", rate, LEAST_A_SECOND);
    drop(notifier);

    let notifier = scene.notifier(&[])?;
    let before = scene.sink.count();
    scene.sink.set_down(true);
    let count = (PACE_WHILE_DOWN * down) as usize;
    scene.produce("down", PACE_WHILE_DOWN, count).await?;
    ensure!(scene.sink.count() == before, "the mail server accepts e-mails while it is down");
    scene.sink.set_down(false);
    let back = Instant::now();
    scene.wait_for(before + count, Duration::from_secs(300)).await?;
    let took = back.elapsed().as_secs_f64();
    table.at_most("seconds until all is delivered after the mail server was down", " s", took, MOST_SECONDS);
    println!("{} e-mails came twice", scene.sink.copies());
    ensure!(scene.sink.copies() == 0, "an e-mail was sent twice although no answer was lost");
    drop(notifier);

    let rate = scene.produce_for(REQUESTS_FOR, REQUESTS_AT_ONCE).await? as f64 / REQUESTS_FOR.as_secs_f64();
    table.at_least("requests to produce a second, at one gateway", rate, LEAST_REQUESTS);

    scene.sink.set_down(true);
    scene.wait_in_the_outbox(waiting).await?;
    let notifier = scene.notifier(&[])?;
    sleep(Duration::from_secs(30)).await;
    let megabytes = trials::race::most_memory(notifier.pid())? / 1e6;
    table.at_most("memory of a notifier while a million messages wait", " MB", megabytes, MOST_MB);

    println!("\n{}", table.markdown());
    let missed = table.missed();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

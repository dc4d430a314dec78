//! How hostile peers affect the good clients of a gateway: ten thousand peers from one address and ten thousand from
//! different ones, and a thousand good clients that follow a region. Each kind is compared with the same number of
//! harmless connections from the same addresses, in the same run. Fails if a goal is missed.

use std::process::ExitCode;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use kafka::{Embedded, all_topics};
use odds::Region;
use trials::{
    hostile::{Kind, Leg, Outcome},
    race::{Author, Ground, Limits, Run, Security},
};

const REGION: Region = Region::Uk;
/// Connections per user: enough for the good clients and the harmless peers, which are all one user.
const MANY: usize = 100_000;
const FETCH_WAIT: u32 = 100;
const MOST_GROWTH: f64 = 200.0;
const MOST_SLOWER: f64 = 1.5;
/// How many seconds past its limit the last peer may end. Not 0, because the peers run on the same machine.
const MOST_OVERDUE: f64 = 3.0;
/// How many more open files the gateway may have at the end, for its store and for Kafka.
const MOST_LEFT: usize = 50;
/// Open files that a process needs: harmless peers and good clients are all connected at once.
const FILES: usize = 16_000;

/// Attacks a gateway with each kind of hostile peers in turn, and prints the effects.
#[derive(Debug, Parser)]
#[command(name = "hostile", version)]
struct Settings {
    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder for logs, accounts and the table.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// Run only these kinds, and the harmless one [default: all].
    #[arg(value_name = "KIND")]
    kinds: Vec<Kind>,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let files = most_files()?;
    ensure!(files >= FILES, "a process may open only {files} files, {FILES} are needed: raise `ulimit -n`");
    std::fs::create_dir_all(&settings.folder)?;
    let cluster = Embedded::start(&all_topics())?;
    let ground = Ground {
        binaries: settings.binaries.clone(),
        gateway: settings.binaries.join("gateway"),
        // Unused: only gateways are started.
        peers: PathBuf::new(),
        folder: settings.folder.clone(),
        kafka: cluster.settings(),
        fetch_wait: Some(FETCH_WAIT),
        region: REGION,
        limits: Limits::OfUsers(MANY),
        compression: false,
        security: Security::None,
        settings: Vec::new(),
        environment: BTreeMap::new(),
    };
    let mut author = Author::start(&cluster.settings(), REGION).await?;
    let kinds = if settings.kinds.is_empty() { Kind::value_variants() } else { &settings.kinds };
    // The harmless kind runs first and last, because the speed of a shared machine changes over time.
    let hostile = kinds.iter().copied().filter(|kind| *kind != Kind::Harmless);
    let legs = [Kind::Harmless].into_iter().chain(hostile).chain([Kind::Harmless]);
    let (mut harmless, mut outcomes) = (Run::default(), Vec::new());
    println!("{HEAD}");
    let mut table = HEAD.to_owned() + "\n";
    for kind in legs {
        let (back, outcome) = Leg { ground: &ground, kind }.run(author).await.with_context(|| kind.name())?;
        author = back;
        let row = row(&outcome);
        println!("{row}");
        table += &(row + "\n");
        if kind == Kind::Harmless {
            harmless.add(outcome.run.clone());
        }
        outcomes.push(outcome);
    }
    std::fs::write(settings.folder.join("hostile.md"), table)?;
    let beside = harmless.latency(0.99);
    println!("p99 of the good clients with harmless peers, over both legs: {beside:.0} ms");
    let missed: Vec<String> = outcomes.iter().flat_map(|outcome| missed(outcome, beside)).collect();
    missed.iter().for_each(|missed| println!("MISSED: {missed}"));
    ensure!(missed.is_empty(), "{} goals missed", missed.len());
    Ok(())
}

const HEAD: &str = "\
| peers | refused | cut | stayed | longest past its limit | memory before, growth (Pss) | CPU of the gateway, of the peers | good clients' p50, p99, lost |
|---|---|---|---|---|---|---|---|";

fn row(outcome: &Outcome) -> String {
    let Outcome { kind, tally, run, before, gateway_cpu, peers_cpu, .. } = outcome;
    let overdue = match kind.limit() {
        Some(_) if kind.looks_late() => format!("at most {:.1} s", outcome.overdue()),
        Some(_) => format!("{:.1} s", outcome.overdue()),
        None => "–".into(),
    };
    format!(
        "| {} | {} | {} | {} | {overdue} | {:.0} MB, {:.0} MB | {gateway_cpu:.1} s, {peers_cpu:.1} s | \
         {:.0} ms, {:.0} ms, {} |",
        kind.name(),
        tally.refused,
        tally.cut,
        tally.stay,
        before / 1024.0 / 1024.0,
        outcome.growth(),
        run.latency(0.5),
        run.latency(0.99),
        run.lost,
    )
}

/// Returns the goals that one leg missed. `harmless` is the p99 with harmless peers.
fn missed(outcome: &Outcome, harmless: f64) -> Vec<String> {
    let Outcome { kind, tally, run, left, .. } = outcome;
    let mut missed = Vec::new();
    let mut goal = |is_met: bool, what: String| {
        if !is_met {
            missed.push(format!("{}: {what}", kind.name()));
        }
    };
    goal(run.lost == 0, format!("{} good clients lost their connection", run.lost));
    goal(!run.latencies.is_empty(), "the good clients received nothing".into());
    let came = 2 * kind.count() - tally.never_came;
    goal(came * 10 >= 2 * kind.count() * 9, format!("only {came} peers could connect, too few for a result"));
    if *kind == Kind::Harmless {
        // The limit per address admits only a tenth of the peers from one address. All others must stay.
        goal(tally.stay >= kind.count(), format!("only {} were accepted and stayed", tally.stay));
        return missed;
    }
    goal(tally.stay == 0, format!("{} were neither refused nor cut", tally.stay));
    goal(*left <= MOST_LEFT, format!("{left} connections are still open at the gateway"));
    // Peers that read nothing notice their end only after the limit, so their lifetime says nothing.
    let overdue = outcome.overdue();
    goal(kind.looks_late() || overdue <= MOST_OVERDUE, format!("one lived {overdue:.1} s past its limit"));
    let growth = outcome.growth();
    goal(growth < MOST_GROWTH, format!("memory grew by {growth:.0} MB; the goal is less than {MOST_GROWTH:.0}"));
    let slower = run.latency(0.99) / harmless;
    goal(slower <= MOST_SLOWER, format!("p99 is {slower:.2} x the harmless one; the goal is at most {MOST_SLOWER}"));
    missed
}

/// Returns how many files this process, and each process that it starts, may open.
fn most_files() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let soft = line.split_whitespace().next().context("no soft limit")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

//! What hostile peers cost the good clients of a gateway: ten thousand from one address and ten thousand
//! from as many, beside a thousand who want all. Each kind is compared with as many harmless connections
//! from the same addresses, in the same run. A goal that is missed makes it fail.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use kafka::{Embedded, all_topics};
use odds::Region;
use trials::{
    hostile::{Kind, Leg, Outcome},
    race::{Author, Ground, Limits, Run},
};

const REGION: Region = Region::Uk;
/// As many as there are good clients and harmless ones, who are of one user.
const MANY: usize = 100_000;
const FETCH_WAIT: u32 = 100;
const MOST_GROWTH: f64 = 200.0;
const MOST_SLOWER: f64 = 1.5;
/// How many seconds past its limit the last one may end: this machine runs the peers, too.
const MOST_OVERDUE: f64 = 3.0;
/// What the gateway may still have open, of the store and of Kafka.
const MOST_LEFT: usize = 50;
/// Of a process: the harmless ones and the good clients are all connected at once.
const FILES: usize = 16_000;

/// Troubles a gateway with each kind of hostile peers in turn, and prints what that does.
#[derive(Debug, Parser)]
#[command(name = "hostile", version)]
struct Settings {
    /// The folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Where logs, accounts and the table go.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// Only these kinds, beside the harmless ones.
    #[arg(value_name = "KIND")]
    kinds: Vec<Kind>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings: Settings = service::load();
    // Whoever set one before set the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let files = most_files()?;
    ensure!(files >= FILES, "a process may open {files} files only; {FILES} are needed: raise `ulimit -n`");
    std::fs::create_dir_all(&settings.folder)?;
    let cluster = Embedded::start(&all_topics())?;
    let ground = Ground {
        binaries: settings.binaries.clone(),
        gateway: settings.binaries.join("gateway"),
        // None are started.
        peers: PathBuf::new(),
        folder: settings.folder.clone(),
        kafka: cluster.settings(),
        fetch_wait: FETCH_WAIT,
        region: REGION,
        limits: Limits::OfUsers(MANY),
        settings: Vec::new(),
        environment: BTreeMap::new(),
    };
    let mut author = Author::start(&cluster, REGION).await?;
    let kinds = if settings.kinds.is_empty() { Kind::value_variants() } else { &settings.kinds };
    // At both ends of the run, since a shared machine changes meanwhile.
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
    println!("p99 of the good clients beside harmless connections, both times together: {beside:.0} ms");
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

/// The goals that one kind missed, `harmless` being the other p99.
fn missed(outcome: &Outcome, harmless: f64) -> Vec<String> {
    let Outcome { kind, tally, run, left, .. } = outcome;
    let mut missed = Vec::new();
    let mut goal = |is_met: bool, what: String| {
        if !is_met {
            missed.push(format!("{}: {what}", kind.name()));
        }
    };
    goal(run.lost == 0, format!("{} good clients lost their connection", run.lost));
    goal(!run.latencies.is_empty(), "the good clients got nothing".into());
    let came = 2 * kind.count() - tally.never_came;
    goal(came * 10 >= 2 * kind.count() * 9, format!("only {came} peers could connect, too few to tell"));
    if *kind == Kind::Harmless {
        // Of ten thousand from one address a tenth is let in; of the others nobody may be missing.
        goal(tally.stay >= kind.count(), format!("only {} were let in and stayed", tally.stay));
        return missed;
    }
    goal(tally.stay == 0, format!("{} were neither refused nor cut", tally.stay));
    goal(*left <= MOST_LEFT, format!("{left} connections are still open at the gateway"));
    // Who reads nothing looks for its end only after the limit: whether it has one is all that it sees.
    let overdue = outcome.overdue();
    goal(kind.looks_late() || overdue <= MOST_OVERDUE, format!("one lived {overdue:.1} s past its limit"));
    let growth = outcome.growth();
    goal(growth < MOST_GROWTH, format!("memory grew by {growth:.0} MB; less than {MOST_GROWTH:.0} is the goal"));
    let slower = run.latency(0.99) / harmless;
    goal(slower <= MOST_SLOWER, format!("p99 is {slower:.2} x; at most {MOST_SLOWER} is the goal"));
    missed
}

/// How many files this process and those it starts may open.
fn most_files() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
    let soft = line.split_whitespace().next().context("no soft limit")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

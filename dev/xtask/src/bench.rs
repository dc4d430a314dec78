//! The `bench` command: benchmarks and load trials, compiled in release mode.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::{
    commands::page_tests,
    engines, page, prerequisites, programs, root, starts,
    steps::{MINUTE, compile, remove_folder, step},
    target,
};

/// The markers around the table in BENCHMARKS.md.
const BEGIN: &str = "<!-- the race -->";
const END: &str = "<!-- the end of the race -->";
const BEGIN_REAL: &str = "<!-- the race on real brokers -->";
const END_REAL: &str = "<!-- the end of the race on real brokers -->";

/// Changes a second in the hour before a gateway starts, and the most seconds until it is ready.
const LOADS: [(u32, Option<u32>); 2] = [(200, Some(10)), (2_000, None)];

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Run only these benchmarks [default: all].
    #[arg(value_name = "WHAT")]
    what: Vec<What>,

    /// Seconds to measure each server in each round.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u32,

    /// Number of rounds in the race.
    #[arg(long, default_value_t = 3)]
    rounds: u32,

    /// Write the race's results to BENCHMARKS.md.
    #[arg(long)]
    write: bool,

    /// Kafka in the race: three brokers, or the cluster that is built into librdkafka.
    #[arg(long, value_enum, default_value_t)]
    brokers: Brokers,

    /// Run only these legs of the race [default: all].
    #[arg(long = "leg", value_name = "LEG")]
    legs: Vec<String>,

    /// Folder of another built page: the page must show its first price in at most 0.8 of its time.
    #[arg(long, value_name = "DIR")]
    former_page: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Brokers {
    #[default]
    Embedded,
    Real,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The gateway compared with other servers: frames, connections, crowds, latency.
    Race,
    /// A board of a million quotes.
    Board,
    /// Credits spent by a day of polling.
    PollPlan,
    /// How slow clients and a flood of sign-ins affect other clients.
    Slow,
    /// The page in Chromium: how soon it shows a price on a slow phone, and its frames per second.
    Page,
    /// Time from start to ready.
    Starts,
    /// How fast prices are recorded, and read back as charts, boards and replays, in SQLite and in QuestDB.
    History,
    /// A million rules: memory, and CPU while a thousand outcomes change a second. Ten thousand rules: the time until
    /// clients are notified, and a step at which all fire.
    Alerts,
    /// From a transaction to a mail server: the delay, the rate, what waited for a notifier or for the server, and memory.
    Messages,
    /// What a gateway's start costs when the topics keep an hour of changes, on real brokers.
    Loading,
    /// CPU and memory for connections, frames and sign-ins with other allocators, if Debian's libmimalloc2.0 and
    /// libjemalloc2 are installed.
    Allocators,
    /// How hostile peers affect other clients. Runs last because it fails when a goal is missed.
    Hostile,
}

impl Bench {
    pub(crate) fn execute(self, no_install: bool) -> anyhow::Result<()> {
        prerequisites::ensure(prerequisites::BUILD, no_install)?;
        let all = What::value_variants();
        let what = if self.what.is_empty() { all } else { &self.what };
        for what in what {
            match what {
                What::Race => race(&self, no_install)?,
                What::Board => bench("board", &mut cargo())?,
                What::PollPlan => bench("poll_plan", &mut cargo())?,
                What::Slow => bench("slow", &mut cargo())?,
                What::Hostile => trial("hostile", "hostile peers", &[])?,
                What::Allocators => {
                    trial("allocators", "a gateway with each allocator", &allocators())?;
                }
                What::History => history(no_install)?,
                What::Alerts => {
                    bench("million", &mut cargo())?;
                    build_for_release(&["gateway", "alerter", "alerts"])?;
                    run_trial("alerts", "alerts", "from a step's marker to an alert at clients", &["delay".into()])?;
                }
                What::Messages => messages(no_install)?,
                What::Loading => {
                    engines::ensure(no_install)?;
                    build_for_release(&["gateway", "topic-creator", "loading"])?;
                    for (changes_a_second, goal) in LOADS {
                        engines::loading(changes_a_second, goal)?;
                    }
                }
                What::Page => {
                    let page = page::build(no_install)?;
                    let chromium = page_tests(no_install)?;
                    let former = self.former_page.iter().map(|page| ("FORMER_PAGE", page));
                    bench("page", cargo().env("PAGE", page).env("CHROMIUM", chromium).envs(former))?;
                }
                What::Starts => {
                    programs::build(&["--package", "toteboard-standalone", "--release"])?;
                    let data = target().join("starts");
                    remove_folder(&data)?;
                    starts::starts(&target().join("release/standalone"), &data)?;
                }
            }
        }
        Ok(())
    }
}

fn cargo() -> Command {
    Command::new("cargo")
}

/// Builds and runs one benchmark. Always builds the whole workspace, so that features, and therefore dependencies, are
/// the same in every build.
fn bench(name: &str, cargo: &mut Command) -> anyhow::Result<()> {
    let args = ["bench", "--quiet", "--workspace", "--bench", name];
    compile(&format!("compiling {name}"), Command::new("cargo").args(args).arg("--no-run"))?;
    step(name, 60 * MINUTE, cargo.args(args))
}

fn build_for_release(programs: &[&str]) -> anyhow::Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--workspace"]);
    build.args(programs.iter().flat_map(|name| ["--bin", name]));
    compile("compiling for release", &mut build)
}

fn race(bench: &Bench, no_install: bool) -> anyhow::Result<()> {
    prerequisites::ensure(prerequisites::NODE, no_install)?;
    let nchan = prerequisites::ensure(prerequisites::NCHAN, no_install);
    if let Err(missing) = &nchan {
        eprintln!("skipping nchan: {missing:#}");
    }
    let peers = root().join("dev/trials/peers");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(peers.join("node"));
    step("npm packages of the peers", 10 * MINUTE, &mut npm)?;
    let caddy = engines::caddy::caddy(no_install);
    if let Err(missing) = &caddy {
        eprintln!("skipping Caddy: {missing:#}");
    }
    build_for_release(&["gateway", "topic-creator", "race", "crowd", "floor"])?;
    let binaries = target().join("release");
    let folder = target().join("race");
    remove_folder(&folder)?;
    let mut race = Command::new(binaries.join("race"));
    race.arg("--binaries").arg(&binaries).arg("--peers").arg(&peers).arg("--folder").arg(&folder);
    race.arg("--seconds").arg(bench.seconds.to_string()).arg("--rounds").arg(bench.rounds.to_string());
    race.args(nchan.is_err().then_some("--no-nchan"));
    race.args(caddy.iter().map(|caddy| format!("--caddy={}", caddy.display())));
    if bench.brokers == Brokers::Real {
        prerequisites::ensure(prerequisites::JAVA, no_install)?;
        race.arg("--engines").arg(engines::brokers()?);
    }
    race.args(&bench.legs);
    let raced = step("the race", bench.rounds * 30 * MINUTE, &mut race);
    // The race also fails when a goal is missed; its results are still published.
    if bench.write && folder.join("table.md").is_file() {
        publish(&folder, bench.brokers)?;
    }
    raced
}

/// Returns the variants to compare: glibc's allocator with its defaults and as set in the container images, and the
/// other allocators that are installed.
fn allocators() -> Vec<String> {
    let mut gateways = vec!["glibc".to_owned(), "glibc with one arena,MALLOC_ARENA_MAX=1".to_owned()];
    let libraries = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    for (name, file) in [("mimalloc", "libmimalloc.so.2"), ("jemalloc", "libjemalloc.so.2")] {
        let library = libraries.join(file);
        if library.is_file() {
            gateways.push(format!("{name},LD_PRELOAD={}", library.display()));
        } else {
            eprintln!("skipping {name}: {} not found", library.display());
        }
    }
    gateways
}

/// Builds in release mode and runs one trial.
fn trial(program: &str, name: &str, arguments: &[String]) -> anyhow::Result<()> {
    build_for_release(&["gateway", "hostile", "strangers", "crowd", "allocators"])?;
    run_trial(program, program, name, arguments)
}

/// Measures messages with an outbox in SQLite and on a server that speaks MongoDB's protocol. Fails after both if one of
/// them missed a goal.
fn messages(no_install: bool) -> anyhow::Result<()> {
    engines::ensure(no_install)?;
    build_for_release(&["gateway", "notifier", "messages"])?;
    let in_sqlite = run_trial("messages", "messages", "messages with SQLite", &[]);
    let (_server, url) = engines::mongodb_server()?;
    let settings = [format!("--outbox={url}/toteboard-test-messages")];
    let in_mongodb = run_trial("messages", "messages-mongodb", "messages with MongoDB", &settings);
    in_sqlite.and(in_mongodb)
}

/// Measures the history in SQLite and in QuestDB. Fails after both if one of them missed a goal.
fn history(no_install: bool) -> anyhow::Result<()> {
    prerequisites::ensure(prerequisites::JAVA, no_install)?;
    build_for_release(&["gateway", "historian", "crowd", "history"])?;
    let in_sqlite = run_trial("history", "history", "the price history in SQLite", &[]);
    let (_server, url) = engines::questdb()?;
    let settings = [format!("--questdb={url}")];
    let in_questdb = run_trial("history", "history-questdb", "the price history in QuestDB", &settings);
    in_sqlite.and(in_questdb)
}

/// Runs a trial that is built in release mode, with an empty folder for its output.
fn run_trial(program: &str, folder: &str, name: &str, arguments: &[String]) -> anyhow::Result<()> {
    let binaries = target().join("release");
    let folder = target().join(folder);
    remove_folder(&folder)?;
    let mut trial = Command::new(binaries.join(program));
    trial.arg("--binaries").arg(&binaries).arg("--folder").arg(&folder).args(arguments);
    step(name, 30 * MINUTE, &mut trial)
}

/// Copies the race's table and chart into the repository's documents.
fn publish(folder: &Path, brokers: Brokers) -> anyhow::Result<()> {
    let page = root().join("BENCHMARKS.md");
    let (begin, end) = match brokers {
        Brokers::Embedded => (BEGIN, END),
        Brokers::Real => (BEGIN_REAL, END_REAL),
    };
    let text = std::fs::read_to_string(&page)?;
    let table = std::fs::read_to_string(folder.join("table.md"))?;
    let (before, rest) = text.split_once(begin).context("BENCHMARKS.md has no start marker for the table")?;
    let (_, after) = rest.split_once(end).context("BENCHMARKS.md has no end marker for the table")?;
    std::fs::write(page, format!("{before}{begin}\n\n{table}\n{end}{after}"))?;
    if brokers == Brokers::Embedded {
        std::fs::copy(folder.join("chart.svg"), root().join("docs/benchmarks.svg"))?;
    }
    Ok(())
}

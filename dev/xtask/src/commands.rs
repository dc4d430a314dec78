//! The commands that build and start programs.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use clap::Args;

use crate::{
    coverage, deny,
    engines::{self, Engines},
    guard, page, prerequisites,
    programs::{binary, build, compile_all, jars, python},
    reference, root, sdks,
    steps::{MINUTE, compile, remove_folder, step, works},
    target,
};

pub(crate) const RUN_HELP: &str = "\
Everything after -- is passed to the standalone program: `cargo xtask run -- --help` lists its options.

Real odds, with a key for The Odds API in a file:
  TOTEBOARD_API_KEY_FILE=key.txt cargo xtask run -- --source the-odds-api --max-credits-per-day 15

Accounts in MongoDB instead of a file:
  cargo xtask run -- --store mongodb://127.0.0.1:27017/toteboard

With a real Kafka, each service is a separate process. docker-compose.yml starts them; by hand:
  cargo run --bin topic-creator -- --brokers 127.0.0.1:9092 create
  cargo run --bin simulator
  cargo run --bin producer -- --region uk --source simulator --brokers 127.0.0.1:9092
  cargo run --bin gateway -- --brokers 127.0.0.1:9092 --store sqlite:accounts.db \\
      --page \"$(cargo xtask page | sed 's/.* is in //')\"
and one producer for each other region. With a single broker, pass --fewer-replicas to topic-creator.";

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Port to listen on, on 127.0.0.1.
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// Folder for accounts and the history of prices.
    #[arg(long, default_value = "toteboard-data", value_name = "DIR")]
    data: PathBuf,

    /// Delete all accounts and the history first.
    #[arg(long)]
    reset: bool,

    /// Options for the standalone program.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl Run {
    pub(crate) fn execute(self, no_install: bool) -> anyhow::Result<()> {
        prerequisites::ensure(prerequisites::BUILD, no_install)?;
        let page = page::build(no_install)?;
        build(&["--package", "toteboard-standalone"])?;
        if self.reset {
            // Only these files: the user may keep others in the folder.
            for (store, suffix) in
                ["accounts.db", "history.db"].iter().flat_map(|it| ["", "-wal", "-shm"].map(|end| (it, end)))
            {
                let file = self.data.join(format!("{store}{suffix}"));
                if file.exists() {
                    std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
                }
            }
        }
        let mut standalone = Command::new(binary("standalone"));
        standalone.arg("--listen").arg(format!("127.0.0.1:{}", self.port)).arg("--page").arg(page);
        standalone.arg("--data").arg(self.data).args(self.rest);
        // Replaces this process, so that signals reach the standalone program directly.
        Err(standalone.exec()).context("cannot start the standalone program")
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct Test {
    /// Skip the page's tests in Chromium and the tests of the example clients and of the SDKs.
    #[arg(long)]
    no_browser: bool,
}

impl Test {
    pub(crate) fn execute(self, no_install: bool) -> anyhow::Result<()> {
        if self.no_browser {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
        } else {
            with_browser(no_install)?;
        }
        compile_all()?;
        // Most of these tests wait most of the time.
        let threads = 2 * std::thread::available_parallelism()?.get();
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--workspace"]).env("RUST_TEST_THREADS", threads.to_string());
        step("tests in Rust", 20 * MINUTE, &mut cargo)?;
        if self.no_browser {
            return Ok(());
        }
        examples(20, 5)?;
        let page = page::build(no_install)?;
        reference::check()?;
        end_to_end(&page, no_install)?;
        sdks::test(&page)
    }
}

/// Ensures the prerequisites of the page and of the example clients.
fn with_browser(no_install: bool) -> anyhow::Result<()> {
    use prerequisites::{BUILD, CHROMIUM, JAVA, NODE, PYTHON};
    prerequisites::ensure(&[BUILD, NODE, CHROMIUM, PYTHON, JAVA].concat(), no_install)?;
    page::ensure(no_install)
}

/// Runs the example clients against a real gateway: for `seconds` over an unreliable network, and for `connects`
/// connections with each transport.
fn examples(seconds: u32, connects: u32) -> anyhow::Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(root().join("examples/javascript"));
    step("npm packages of the JavaScript client", 10 * MINUTE, &mut npm)?;
    let python = python(&root().join("examples/python/requirements.txt"), "examples")?;
    let libraries = target().join("java").join("examples");
    jars(&root().join("examples/java/pom.xml"), &libraries, "the Java client")?;
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--quiet", "--", "--ignored", "--nocapture", "--test-threads=1", "examples::"]);
    cargo.env("PYTHON", python).env("JAVA_LIBRARIES", libraries).env("KAFKA_PYTHON", topic_reader()?);
    cargo.env("CLIENTS_SECONDS", seconds.to_string()).env("CLIENTS_CONNECTS", connects.to_string());
    let limit = Duration::from_secs((seconds + 60 * connects).into());
    step("tests of the example clients", 20 * MINUTE + limit, &mut cargo)
}

/// Installs what the example that reads topics needs, and returns its Python.
fn topic_reader() -> anyhow::Result<PathBuf> {
    python(&root().join("examples/kafka/requirements.txt"), "kafka")
}

/// Installs what the page's tests need, and returns the name of the browser's program.
pub(crate) fn page_tests(no_install: bool) -> anyhow::Result<&'static str> {
    prerequisites::ensure(&[prerequisites::NODE, prerequisites::CHROMIUM].concat(), no_install)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(root().join("web/e2e"));
    step("npm packages of the page's tests", 10 * MINUTE, &mut npm)?;
    prerequisites::chromium().context("Chromium was installed but cannot be started")
}

/// Tests the page in a real browser, against the standalone program.
fn end_to_end(page: &Path, no_install: bool) -> anyhow::Result<()> {
    let mut node = page_in_chromium(page, no_install)?;
    step("tests of the page in Chromium", 25 * MINUTE, node.args(["--test", "--test-reporter=spec"]))
}

/// Takes the documents' pictures.
pub(crate) fn pictures(no_install: bool) -> anyhow::Result<()> {
    prerequisites::ensure(prerequisites::BUILD, no_install)?;
    let page = page::build(no_install)?;
    build(&["--package", "toteboard-standalone"])?;
    let mut node = page_in_chromium(&page, no_install)?;
    step("pictures of the page", 10 * MINUTE, node.arg("pictures.mjs").arg(root().join("docs")))
}

/// Returns a Node.js command in the folder of the page's tests, with the environment that they read.
fn page_in_chromium(page: &Path, no_install: bool) -> anyhow::Result<Command> {
    let chromium = page_tests(no_install)?;
    let mut node = Command::new("node");
    node.current_dir(root().join("web/e2e"))
        .env("STANDALONE", binary("standalone"))
        .env("PAGE", page)
        .env("CHROMIUM", chromium)
        .stdin(Stdio::null());
    Ok(node)
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// Minutes to run each part.
    #[arg(long, default_value_t = 10, value_name = "MINUTES")]
    minutes: u32,

    /// Run only the part with unusual upstream responses.
    #[arg(long)]
    odd_answers: bool,

    /// Run only the part with alerters that are killed and suspended.
    #[arg(long, conflicts_with = "odd_answers")]
    alerters: bool,

    /// Run only the part with messages while everything that they need fails.
    #[arg(long, conflicts_with_all = ["odd_answers", "alerters"])]
    messages: bool,
}

impl Soak {
    pub(crate) fn execute(self, no_install: bool) -> anyhow::Result<()> {
        if self.alerters {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
            compile_all()?;
            return alerters(self.minutes);
        }
        prerequisites::ensure(prerequisites::JAVA, no_install)?;
        if !self.odd_answers && !self.messages {
            with_browser(no_install)?;
            install_fuzz(no_install)?;
        }
        compile_all()?;
        // The ten faults of mail server and SMS provider take twice the time of the other parts.
        let fault = 12 * self.minutes;
        if self.messages {
            return engines::messages_with_faults(fault);
        }
        engines::odd_answers(60 * self.minutes)?;
        if self.odd_answers {
            return Ok(());
        }
        let mut leaders = Command::new("cargo");
        leaders.args(["test", "--workspace", "--quiet", "--", "--ignored", "--nocapture", "exhaustive::"]);
        step("every interleaving of leaders with two steps each", 60 * MINUTE, &mut leaders)?;
        let logs = target().join("soak");
        remove_folder(&logs)?;
        let mut soak = Command::new(binary("soak"));
        soak.arg("--minutes").arg(self.minutes.to_string());
        soak.arg("--binaries").arg(target().join("debug")).arg("--logs").arg(&logs);
        soak.arg("--reader").arg(topic_reader()?).arg(root().join("examples/kafka/reader.py"));
        let limit = (self.minutes + 15) * MINUTE;
        step("producers", limit, &mut soak)
            .with_context(|| format!("the producers' logs are in {}", logs.display()))?;
        alerters(self.minutes)?;
        engines::messages_with_faults(fault)?;
        let mut clients = Command::new("cargo");
        clients.args(["test", "--workspace", "--quiet", "--", "--ignored", "--nocapture", "board_for_long"]);
        step("clients", limit, clients.env("SOAK_MINUTES", self.minutes.to_string()))?;
        examples(60 * self.minutes.min(5), 100)?;
        let page = page::build(no_install)?;
        let mut cuts = page_in_chromium(&page, no_install)?;
        cuts.args(["cuts.mjs", "--minutes", &self.minutes.to_string()]);
        step("the page on an unreliable network", limit, &mut cuts)?;
        // In ten minutes a million, at the rate of the slower SDK.
        sdks::check_digests(&page, 100_000 * self.minutes, 5 * limit)?;
        fuzz()
    }
}

/// Kills and suspends alerters, and compares what fired with all crossings of their rules.
fn alerters(minutes: u32) -> anyhow::Result<()> {
    let folder = target().join("alerters");
    remove_folder(&folder)?;
    let mut trial = Command::new(binary("alerts"));
    trial.arg("--binaries").arg(target().join("debug")).arg("--folder").arg(&folder);
    trial.args(["faults", "--minutes"]).arg(minutes.to_string());
    step("alerters", (minutes + 15) * MINUTE, &mut trial).with_context(|| format!("logs are in {}", folder.display()))
}

fn install_fuzz(no_install: bool) -> anyhow::Result<()> {
    if works("cargo", &["fuzz", "--version"]) {
        return Ok(());
    }
    anyhow::ensure!(!no_install, "missing: cargo-fuzz. Install with: cargo install cargo-fuzz");
    compile("installing cargo-fuzz", Command::new("cargo").args(["install", "--quiet", "--locked", "cargo-fuzz"]))
}

/// Fuzzes each parser of untrusted input for a minute.
fn fuzz() -> anyhow::Result<()> {
    let cargo = |command: &str, arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(["fuzz", command, "--fuzz-dir", "dev/fuzz"]).args(arguments);
        // Lets the stable compiler use the unstable options that fuzzing needs.
        cargo.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR");
        cargo
    };
    compile("compiling the fuzz targets", &mut cargo("build", &[]))?;
    for target in ["records", "cursors", "filters", "hello", "client_events", "inflater", "offers"] {
        let run = [target, "--", "-max_total_time=60", "-rss_limit_mb=1024", "-verbosity=0"];
        step(&format!("fuzzing {target}"), 5 * MINUTE, &mut cargo("run", &run))?;
    }
    Ok(())
}

/// Runs everything that CI runs. The tests run once, with coverage.
pub(crate) fn ci(engines: &Engines, no_install: bool) -> anyhow::Result<()> {
    with_browser(no_install)?;
    guard::ensure(no_install)?;
    engines::ensure(no_install)?;
    coverage::ensure(no_install)?;
    let mut format = Command::new("cargo");
    step("formatting", 2 * MINUTE, format.args(["fmt", "--all", "--check"]))?;
    let mut clippy = Command::new("cargo");
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    compile("clippy", &mut clippy)?;
    deny::deny(no_install)?;
    guard::guard(no_install)?;
    coverage::coverage(engines, no_install)
}

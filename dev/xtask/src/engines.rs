//! Tests on real engines, which are started on loopback and stopped again.

pub(crate) mod caddy;
mod kafka;
mod mail;
mod promtool;
mod questdb;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    prerequisites,
    programs::{binary, compile_all, jars, python},
    root,
    sdks::install_conformance,
    steps::{MINUTE, empty_folder, step},
    target,
};

/// Time limit for an engine to accept connections.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long the fake upstream misbehaves in CI; a soak runs longer.
const ODDITIES_SECONDS: u32 = 100;
/// How long each fault of the trial of messages lasts in CI; a soak's last longer.
const DELIVERY_FAULTS_SECONDS: u32 = 6;

#[derive(Debug, Args)]
pub(crate) struct Engines {
    /// Existing MongoDB for the store and REST tests, instead of starting one. The tests create databases whose names
    /// start with toteboard-test.
    #[arg(long, value_name = "URL")]
    mongodb: Option<String>,

    /// Run only this trial.
    #[arg(long, value_name = "TRIAL")]
    only: Option<Trial>,
}

/// The trials on real brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Trial {
    /// Each server is killed once.
    Drill,
    /// Operators are told of each fault.
    Verdicts,
    /// Messages arrive whatever fails.
    Delivery,
    /// The odds API misbehaves.
    Oddities,
}

impl Trial {
    fn execute(self, folder: &Path, mongodb: Value, url: &str) -> anyhow::Result<()> {
        match self {
            Self::Drill => drill(folder, mongodb, url),
            Self::Verdicts => verdicts(folder, mongodb, url),
            Self::Delivery => delivery(folder, mongodb, url, DELIVERY_FAULTS_SECONDS),
            Self::Oddities => oddities(mongodb, url, ODDITIES_SECONDS),
        }
    }
}

/// Ensures the prerequisites of the engines and of their tests.
pub(crate) fn ensure(no_install: bool) -> anyhow::Result<()> {
    use prerequisites::{BUILD, JAVA, NODE, PYTHON};
    prerequisites::ensure(&[BUILD, PYTHON, JAVA, NODE].concat(), no_install)?;
    promtool::ensure(no_install)?;
    caddy::ensure(no_install)
}

/// A child process that is killed when dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engines {
    /// Returns the command line that runs this command.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mongodb = self.mongodb.iter().map(|url| format!("--mongodb={url}"));
        let only =
            self.only.iter().filter_map(|trial| Some(format!("--only={}", trial.to_possible_value()?.get_name())));
        std::iter::once("engines".to_owned()).chain(mongodb).chain(only).collect()
    }

    pub(crate) fn execute(self, no_install: bool) -> anyhow::Result<()> {
        ensure(no_install)?;
        if let Some(trial) = self.only {
            compile_all()?;
            let folder = folder()?;
            let (recipe, url) = mongodb(&folder)?;
            return trial.execute(&folder, recipe, &url);
        }
        promtool::test_alerts(no_install)?;
        let caddy = caddy::caddy(no_install)?;
        install_conformance()?;
        let folder = folder()?;
        let (recipe, own_url) = mongodb(&folder)?;
        let server = if self.mongodb.is_none() { Some(start(&recipe)?) } else { None };
        let mongodb = self.mongodb.as_deref().unwrap_or(&own_url).trim_end_matches('/');
        compile_all()?;
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--workspace", "--quiet", "--", "--ignored", "mongo::", "upgrade::", "caddy::"]);
        cargo.env("TOTEBOARD_TEST_MONGODB", format!("{mongodb}/toteboard-test-contract")).env("CADDY", caddy);
        step("tests on MongoDB and behind Caddy", 20 * MINUTE, &mut cargo)?;
        openapi(&folder, &format!("{mongodb}/toteboard-test-openapi"))?;
        drop(server);
        questdb::test(&folder)?;
        Trial::value_variants().iter().try_for_each(|trial| trial.execute(&folder, recipe.clone(), &own_url))
    }
}

/// Runs only the `oddities` trial, for this many seconds in all, on its own brokers.
pub(crate) fn odd_answers(seconds: u32) -> anyhow::Result<()> {
    let folder = folder()?;
    let (recipe, url) = mongodb(&folder)?;
    oddities(recipe, &url, seconds)
}

fn oddities(mongodb: Value, url: &str, seconds: u32) -> anyhow::Result<()> {
    let folder = folder()?;
    let logs = folder.join("oddities");
    let mut oddities = trial("oddities", "debug", &folder, mongodb, url, &logs)?;
    oddities.args(["--seconds", &seconds.to_string()]);
    // Recovery takes extra time after each fault, and some upstream responses ask for half a minute's wait.
    let limit = Duration::from_secs(u64::from(2 * seconds)) + 15 * MINUTE;
    step("unusual upstream responses on real brokers", limit, &mut oddities)
        .with_context(|| format!("logs are in {}", logs.display()))
}

/// Runs the `drill` trial: brokers, a store, producers, gateways and clients, where each server is killed once.
fn drill(folder: &Path, mongodb: Value, url: &str) -> anyhow::Result<()> {
    let logs = folder.join("drill");
    let mut drill = trial("drill", "debug", folder, mongodb, url, &logs)?;
    step("a drill on real brokers", 20 * MINUTE, &mut drill).with_context(|| format!("logs are in {}", logs.display()))
}

/// Runs the `verdicts` trial: each fault has to be told to operators, and no longer when it has ended.
fn verdicts(folder: &Path, mongodb: Value, url: &str) -> anyhow::Result<()> {
    let logs = folder.join("verdicts");
    let mut verdicts = trial("verdicts", "debug", folder, mongodb, url, &logs)?;
    step("what operators are told of each fault", 15 * MINUTE, &mut verdicts)
        .with_context(|| format!("logs are in {}", logs.display()))
}

/// Runs only the `delivery` trial, with faults that last so many seconds.
pub(crate) fn messages_with_faults(seconds: u32) -> anyhow::Result<()> {
    let folder = folder()?;
    let (recipe, url) = mongodb(&folder)?;
    delivery(&folder, recipe, &url, seconds)
}

/// Runs the `delivery` trial: messages, while brokers, store, mail server, SMS provider and notifiers fail.
fn delivery(folder: &Path, mongodb: Value, url: &str, seconds: u32) -> anyhow::Result<()> {
    let logs = folder.join("delivery");
    let mut delivery = trial("delivery", "debug", folder, mongodb, url, &logs)?;
    delivery.args(["--hold", &seconds.to_string()]);
    let limit = Duration::from_secs(u64::from(20 * seconds)) + 15 * MINUTE;
    step("messages whatever fails, on real engines", limit, &mut delivery)
        .with_context(|| format!("logs are in {}", logs.display()))
}

/// Measures what a gateway's start costs with an hour of changes on real brokers. Needs programs built for release.
pub(crate) fn loading(changes_a_second: u32, goal: Option<u32>) -> anyhow::Result<()> {
    let folder = folder()?;
    let (mongodb, url) = mongodb(&folder)?;
    let logs = folder.join("loading");
    let mut loading = trial("loading", "release", &folder, mongodb, &url, &logs)?;
    loading.args(["--changes", &changes_a_second.to_string()]);
    loading.args(goal.map(|seconds| format!("--goal={seconds}")));
    let name = format!("a gateway's start with {changes_a_second} changes a second");
    step(&name, 60 * MINUTE, &mut loading).with_context(|| format!("logs are in {}", logs.display()))
}

/// The folder of everything that engines need and write.
fn folder() -> anyhow::Result<PathBuf> {
    let folder = target().join("engines");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Prepares three brokers, and returns the file with the commands that start them.
pub(crate) fn brokers() -> anyhow::Result<PathBuf> {
    let folder = folder()?;
    let (mongodb, url) = mongodb(&folder)?;
    prepared(&folder, mongodb, &url)
}

/// Starts a MongoDB-compatible server without any data, and returns its URL.
pub(crate) fn mongodb_server() -> anyhow::Result<(Running, String)> {
    let folder = folder()?;
    let (recipe, url) = mongodb(&folder)?;
    Ok((start(&recipe)?, url))
}

/// Starts a QuestDB without any data, and returns its URL.
pub(crate) fn questdb() -> anyhow::Result<(Running, String)> {
    let folder = folder()?;
    questdb::serve(&folder)
}

/// Prepares brokers for a trial and returns the command that starts it, with the programs of a build profile.
fn trial(name: &str, profile: &str, folder: &Path, mongodb: Value, url: &str, logs: &Path) -> anyhow::Result<Command> {
    empty_folder(logs)?;
    let file = prepared(folder, mongodb, &format!("{url}/toteboard-test-{name}"))?;
    let binaries = target().join(profile);
    let mut trial = Command::new(binaries.join(name));
    trial.arg("--engines").arg(file).arg("--binaries").arg(binaries).arg("--logs").arg(logs);
    trial.args(["--log", "warn"]);
    Ok(trial)
}

/// Prepares the engines of a trial, and returns the file with the commands that start them.
fn prepared(folder: &Path, mongodb: Value, url: &str) -> anyhow::Result<PathBuf> {
    let mut engines = kafka::prepare(folder)?;
    engines["mongodb"] = mongodb;
    engines["mail"] = mail::recipe(folder)?;
    engines["mongodb_url"] = json!(url);
    let file = folder.join("engines.json");
    fs::write(&file, engines.to_string())?;
    Ok(file)
}

/// Number of ports tried so far.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// Returns free ports below the kernel's ephemeral range. Never returns the same port twice, so that an engine can be
/// restarted on its own port.
fn free_ports(count: usize) -> Vec<u16> {
    let first = 28_000 + (std::process::id() % 2_000) as u16;
    let ports = std::iter::repeat_with(|| first + LOOKED_AT.fetch_add(1, Ordering::Relaxed));
    ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

/// Downloads the dependencies in an engine's pom.xml, and returns their folder.
fn libraries(engine: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let libraries = folder.join(format!("{engine}-libraries"));
    jars(&root().join("dev/xtask/engines").join(engine).join("pom.xml"), &libraries, engine)?;
    Ok(libraries)
}

/// Returns the arguments of `java` that come before the main class.
fn java(libraries: &Path, options: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = options.iter().map(ToString::to_string).collect();
    arguments.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned());
    arguments.extend(["-cp".to_owned(), libraries.join("*").display().to_string()]);
    arguments
}

/// Returns a recipe that starts a MongoDB-compatible server with an empty file, and the server's URL.
fn mongodb(folder: &Path) -> anyhow::Result<(Value, String)> {
    let libraries = libraries("mongodb", folder)?;
    let data = folder.join("mongodb-data");
    for old in fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()) {
        if old.is_file() && old.file_stem() == data.file_stem() {
            fs::remove_file(old)?;
        }
    }
    let port = free_ports(1)[0];
    let mut command = vec!["java".to_owned()];
    command.extend(java(&libraries, &[]));
    command.push(root().join("dev/xtask/engines/mongodb/Mongo.java").display().to_string());
    command.extend([port.to_string(), data.display().to_string()]);
    let address = format!("127.0.0.1:{port}");
    let log = folder.join("mongodb.log");
    let recipe = json!({ "name": "the MongoDB-speaking server", "command": command, "address": address, "log": log });
    Ok((recipe, format!("mongodb://{address}")))
}

/// Starts an engine from its recipe and waits until it accepts connections. Fails if it ends or takes too long.
fn start(recipe: &Value) -> anyhow::Result<Running> {
    let text = |name: &str| recipe[name].as_str().unwrap_or_default();
    let words: Vec<&str> = recipe["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (program, arguments) = words.split_first().context("an empty command")?;
    let file = File::create(text("log"))?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .context((*program).to_owned())?;
    let mut running = Running(child);
    let end = Instant::now() + UP_WITHIN;
    while TcpStream::connect(text("address")).is_err() {
        anyhow::ensure!(running.0.try_wait()?.is_none(), "{} ended: see {}", text("name"), text("log"));
        anyhow::ensure!(Instant::now() < end, "{} did not start in time: see {}", text("name"), text("log"));
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(running)
}

/// Tests a server with this store against the OpenAPI document of the REST interface.
fn openapi(logs: &Path, store: &str) -> anyhow::Result<()> {
    let sources = root().join("dev/xtask/engines/openapi");
    let python = python(&sources.join("requirements.txt"), "openapi")?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(sources.join("typescript"));
    step("npm packages of a generated client", 10 * MINUTE, &mut npm)?;
    let mut standalone = Command::new(binary("standalone"));
    standalone.args(["--listen", "127.0.0.1:0", "--attempts-per-minute", "1000000", "--store", store]);
    standalone.arg("--data").arg(logs.join("standalone-data"));
    standalone.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(logs.join("standalone.log"))?);
    let mut running = Running(standalone.spawn().context("the standalone program")?);
    let (mut url, mut password) = (None, None);
    for line in BufReader::new(running.0.stdout.take().expect("it is piped")).lines() {
        let line = line?;
        url = line.strip_prefix("Toteboard is at ").map(str::to_owned).or(url);
        password = line.rsplit_once(" with the password ").map(|(_, word)| word.to_owned()).or(password);
        if url.is_some() && password.is_some() {
            break;
        }
    }
    let (Some(url), Some(password)) = (url, password) else {
        bail!("the standalone program ended: see {}", logs.join("standalone.log").display());
    };
    let mut check = Command::new(python);
    check.arg(sources.join("check.py")).args([&url, "demo", &password]).arg(logs);
    step("the REST interface against its OpenAPI document", 15 * MINUTE, check.current_dir(logs))
}

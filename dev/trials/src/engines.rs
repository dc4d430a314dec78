//! Engines as processes that can be killed and restarted. The trial's caller provides the commands.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use kafka::KafkaSettings;
use serde::Deserialize;
use tokio::net::TcpStream;

const UP_WITHIN: Duration = Duration::from_secs(90);

/// The engines of a trial and how to start them, read from a JSON file.
#[derive(Debug, Deserialize)]
pub struct Engines {
    /// In the order of the broker ids, from 1.
    pub brokers: Vec<Recipe>,
    pub mongodb: Recipe,
    pub mongodb_url: String,
    /// The brokers' addresses for clients, with `properties`.
    pub bootstrap: String,
    pub properties: Vec<String>,
    /// A command that runs one of Kafka's own tools, given its class and arguments.
    pub tools: Vec<String>,
    /// The brokers' addresses for the tools.
    pub tools_bootstrap: String,
    pub mail: MailEngine,
}

/// A mail server.
#[derive(Debug, Deserialize)]
pub struct MailEngine {
    pub server: Recipe,
    pub smtp: SocketAddr,
    /// The URL of its own API, which says what arrived.
    pub api: String,
}

impl Engines {
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    }

    pub fn kafka(&self) -> anyhow::Result<KafkaSettings> {
        let properties = self.properties.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(KafkaSettings { brokers: self.bootstrap.clone(), properties })
    }
}

/// How to start one engine.
#[derive(Debug, Deserialize)]
pub struct Recipe {
    name: String,
    command: Vec<String>,
    /// The engine is up when this address accepts connections.
    address: SocketAddr,
    log: PathBuf,
}

/// An engine started from a recipe. It is killed when dropped.
#[derive(Debug)]
pub struct Engine {
    part: Part,
    address: SocketAddr,
}

impl Engine {
    pub async fn start(recipe: Recipe) -> anyhow::Result<Self> {
        let Recipe { name, command, address, log } = recipe;
        let mut this = Self { part: Part::start(&name, command, BTreeMap::new(), log)?, address };
        this.is_up().await?;
        Ok(this)
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.part.kill()
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        self.part.signal("-TERM")?;
        self.part.ends(UP_WITHIN).await.map(drop)
    }

    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        self.part.signal(signal)
    }

    pub async fn revive(&mut self) -> anyhow::Result<()> {
        self.part.revive()?;
        self.is_up().await
    }

    async fn is_up(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + UP_WITHIN;
        while TcpStream::connect(self.address).await.is_err() {
            self.part.lives()?;
            let Part { name, log, .. } = &self.part;
            ensure!(Instant::now() < end, "{name} did not start in time: see {}", log.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// A process that can be killed and restarted with the same command. It is killed when dropped.
#[derive(Debug)]
pub struct Part {
    name: String,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    log: PathBuf,
    child: Child,
}

impl Part {
    pub fn start(
        name: &str,
        command: Vec<String>,
        environment: BTreeMap<String, String>,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let child = spawn(&command, &environment, &log)?;
        Ok(Self { name: name.to_owned(), command, environment, log, child })
    }

    /// Kills the process with SIGKILL and waits until it has ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn revive(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.command, &self.environment, &self.log)?;
        Ok(())
    }

    /// Fails if the process has ended.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        let ended = self.is_gone()?;
        ensure!(!ended, "{} ended: see {}", self.name, self.log.display());
        Ok(())
    }

    /// Waits until the process ends. Returns its exit code and its log. Fails if it takes longer than `within`.
    pub async fn ends(&mut self, within: Duration) -> anyhow::Result<(Option<i32>, String)> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status.code(), std::fs::read_to_string(&self.log)?));
            }
            ensure!(Instant::now() < end, "{} still runs after {} s", self.name, within.as_secs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_gone(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill {signal} failed");
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &[String], environment: &BTreeMap<String, String>, log: &PathBuf) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let (program, arguments) = command.split_first().context("an empty command")?;
    Command::new(program)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| program.clone())
}

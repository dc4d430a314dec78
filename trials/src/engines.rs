//! Engines as processes that can be killed and started again. Who starts a trial says how.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::net::TcpStream;

const UP_WITHIN: Duration = Duration::from_secs(90);

/// What there is, and how it is started.
#[derive(Debug, Deserialize)]
pub struct Engines {
    /// In the order of their ids, from 1.
    pub brokers: Vec<Recipe>,
    pub mongodb: Recipe,
    pub mongodb_url: String,
    /// Where clients reach the brokers, and with which properties.
    pub bootstrap: String,
    pub properties: Vec<String>,
    /// Kafka's own tools: a command that takes a class and its arguments; and where they reach the brokers.
    pub tools: Vec<String>,
    pub tools_bootstrap: String,
}

#[derive(Debug, Deserialize)]
pub struct Recipe {
    name: String,
    command: Vec<String>,
    /// It is up once this answers.
    address: SocketAddr,
    log: PathBuf,
}

/// A process started by a recipe. Ends with its handle.
#[derive(Debug)]
pub struct Engine {
    recipe: Recipe,
    child: Child,
}

impl Engine {
    pub async fn start(recipe: Recipe) -> anyhow::Result<Self> {
        let child = spawn(&recipe)?;
        let mut this = Self { recipe, child };
        this.is_up().await?;
        Ok(this)
    }

    /// As a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub async fn revive(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.recipe)?;
        self.is_up().await
    }

    async fn is_up(&mut self) -> anyhow::Result<()> {
        let Recipe { name, address, log, .. } = &self.recipe;
        let end = Instant::now() + UP_WITHIN;
        while TcpStream::connect(address).await.is_err() {
            ensure!(self.child.try_wait()?.is_none(), "{name} ended: see {}", log.display());
            ensure!(Instant::now() < end, "{name} does not come up: see {}", log.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(recipe: &Recipe) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(&recipe.log)?;
    let (program, arguments) = recipe.command.split_first().context("an empty command")?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| recipe.name.clone())
}

/// A part of Toteboard as a process of its own.
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
        let child = part(&command, &environment, &log)?;
        Ok(Self { name: name.to_owned(), command, environment, log, child })
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn revive(&mut self) -> anyhow::Result<()> {
        self.child = part(&self.command, &self.environment, &self.log)?;
        Ok(())
    }

    /// Whoever was not killed is to be there.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "{} ended: see {}", self.name, self.log.display());
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn part(command: &[String], environment: &BTreeMap<String, String>, log: &PathBuf) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let (program, arguments) = command.split_first().context("an empty command")?;
    Command::new(program)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| program.clone())
}

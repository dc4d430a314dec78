//! The programs that a trial on real brokers starts.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use kafka::KafkaSettings;
use odds::{Feed, FeedState, Region};

use crate::{Part, fleet::metric, free_address};

/// Time limit for automatic recovery: new leaders, a new assignment, a reconnect.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(120);

/// The settings of every trial on real engines.
#[derive(Clone, Debug, Args)]
pub struct TrialSettings {
    /// JSON file with the commands that start the engines.
    #[arg(long, value_name = "FILE")]
    pub engines: PathBuf,

    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    pub binaries: PathBuf,

    /// Folder for logs.
    #[arg(long, value_name = "DIR")]
    pub logs: PathBuf,
}

impl TrialSettings {
    /// The programs to start, on these brokers.
    pub fn parts(&self, kafka: &KafkaSettings) -> Parts {
        Parts { binaries: self.binaries.clone(), logs: self.logs.clone(), kafka: kafka.clone() }
    }
}

/// What all started programs have in common.
#[derive(Debug)]
pub struct Parts {
    pub binaries: PathBuf,
    pub logs: PathBuf,
    pub kafka: KafkaSettings,
}

/// A gateway process.
#[derive(Debug)]
pub struct Gateway {
    pub part: Part,
    pub address: String,
    /// An account's token, once there is one.
    pub token: String,
    admin: String,
}

impl Parts {
    fn properties(&self) -> BTreeMap<String, String> {
        let properties = self.kafka.properties.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        [("TOTEBOARD_KAFKA".to_owned(), properties)].into()
    }

    pub async fn topic_creator(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.topic_creator_ends(0, arguments).await
    }

    /// Runs topic-creator and returns its output. Fails if it exits with another code.
    async fn topic_creator_ends(&self, code: i32, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new(self.binaries.join("topic-creator"));
        command.arg(format!("--brokers={}", self.kafka.brokers)).args(arguments).envs(self.properties());
        let output = command.output().await?;
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = text_of(&output.stdout) + &text_of(&output.stderr);
        let (command, status) = (arguments.join(" "), output.status);
        ensure!(status.code() == Some(code), "topic-creator {command}: {status}: {text}");
        Ok(text)
    }

    /// Creates topics that are not part of the plan, and checks topic-creator's messages about them.
    pub async fn another_topic(&self) -> anyhow::Result<()> {
        let topic = "--topic=drill";
        let create = |setting| ["create", topic, "--partitions=3", "--replication-factor=2", setting];
        let (minute, hour) = (create("--setting=retention.ms=60000"), create("--setting=retention.ms=3600000"));
        let large = create("--setting=max.message.bytes=2000000");
        let too_many = ["create", "--topic=drill-wide", "--replication-factor=9"];
        let fewer = [&too_many[..], &["--fewer-replicas"]].concat();
        for (code, arguments, expected) in [
            (0, &minute[..], "drill: made"),
            (0, &minute[..], "drill: there already, as planned"),
            (0, &large[..], "drill: max.message.bytes changed from 1048588 to 2000000"),
            (0, &hour[..], "drill: retention.ms changed from 60000 to 3600000"),
            (0, &large[..], "drill: there already, as planned"),
            (0, &["create", topic, "--partitions=3"], "drill: there already, as planned"),
            (2, &["create", topic, "--partitions=4", "--replication-factor=2"], "partitions is 3, planned is 4"),
            (2, &["create", "--least-replicas=2"], "odds.eu: replication factor is 1, planned is 2"),
            (1, &too_many[..], "drill-wide"),
            (0, &fewer[..], "drill-wide: made"),
            (0, &["list"], "drill\t3 partitions\t2 replicas"),
            (0, &["list"], "drill-wide\t1 partitions\t3 replicas"),
            (1, &["tail", "--topic=no-such-topic"], "no-such-topic"),
            (1, &["describe", "--topic=no-such-topic"], "no-such-topic"),
        ] {
            let output = self.topic_creator_ends(code, arguments).await?;
            let command = arguments.join(" ");
            ensure!(output.contains(expected), "topic-creator {command} did not print {expected:?}: {output}");
        }
        Ok(())
    }

    /// Creates the planned topics, and checks that they exist with all replicas and settings.
    pub async fn topics(&self) -> anyhow::Result<()> {
        let made = self.topic_creator(&["create", "--keep-changes=5"]).await?;
        let changed = self.topic_creator(&["create"]).await?;
        let again = self.topic_creator(&["create"]).await?;
        let all = |text: &str, what: &str| {
            text.lines().filter(|line| line.ends_with(what)).count() == kafka::all_topics().len()
        };
        ensure!(all(&made, ": made"), "not all topics were created: {made}");
        let keeps_longer = "min.compaction.lag.ms changed from 300000 to 3600000";
        ensure!(changed.matches(keeps_longer).count() == Region::ALL.len(), "no setting was changed: {changed}");
        ensure!(all(&again, "there already, as planned"), "the topics differ from the plan: {again}");
        self.in_sync().await?;
        print!("{}", self.topic_creator(&["describe"]).await?);
        Ok(())
    }

    /// Waits until every replica of every topic is in sync.
    pub async fn in_sync(&self) -> anyhow::Result<()> {
        let end = Instant::now() + RECOVERS_WITHIN;
        loop {
            let text = self.topic_creator(&["describe"]).await?;
            let mut out: Vec<&str> = Vec::new();
            for line in text.lines().filter(|line| !line.starts_with("__")) {
                let mut words = line.split('\t').skip(3);
                let replicas = words.next().and_then(|it| it.strip_prefix("replicas ")).context("no replicas")?;
                let in_sync = words.next().and_then(|it| it.strip_prefix("in sync ")).context("no replicas in sync")?;
                if replicas.split(',').count() != in_sync.split(',').count() {
                    out.push(line);
                }
            }
            if out.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "replicas stay out of sync: {out:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Where historians record.
    pub fn history(&self) -> PathBuf {
        self.logs.join("history.db")
    }

    /// Starts a program on these brokers.
    pub fn program(&self, program: &str, name: &str, arguments: Vec<String>) -> anyhow::Result<Part> {
        let log = self.logs.join(format!("{program}-{name}.log"));
        Part::start(&format!("{program} {name}"), self.command(program, arguments), self.properties(), log)
    }

    /// Starts the simulator of an SMS provider, which needs no brokers.
    pub fn sms_simulator(&self, settings: Vec<String>) -> anyhow::Result<Part> {
        let name = "sms-simulator";
        let command = [self.binaries.join(name).display().to_string()].into_iter().chain(settings).collect();
        Part::start(name, command, BTreeMap::new(), self.logs.join(format!("{name}.log")))
    }

    fn command(&self, program: &str, arguments: Vec<String>) -> Vec<String> {
        let binary = self.binaries.join(program).display().to_string();
        [binary, format!("--brokers={}", self.kafka.brokers)].into_iter().chain(arguments).collect()
    }

    /// Starts a historian of all regions.
    pub fn historian(&self, name: &str) -> anyhow::Result<Part> {
        self.program("historian", name, vec![format!("--history=sqlite:{}", self.history().display())])
    }

    /// Starts a gateway with this instance name and store, and with open registration.
    pub fn gateway(&self, name: &str, store: &str) -> anyhow::Result<Gateway> {
        self.gateway_with(name, store, Vec::new())
    }

    /// Starts one with these settings, too.
    pub fn gateway_with(&self, name: &str, store: &str, settings: Vec<String>) -> anyhow::Result<Gateway> {
        self.gateway_logging_to(name, store, settings, &format!("gateway-{name}.log"))
    }

    /// Starts a second gateway with an instance name that is already in use, which is an operator's mistake.
    pub fn namesake(&self, name: &str, store: &str) -> anyhow::Result<Gateway> {
        self.gateway_logging_to(name, store, Vec::new(), &format!("gateway-{name}-again.log"))
    }

    fn gateway_logging_to(
        &self,
        name: &str,
        store: &str,
        mut settings: Vec<String>,
        log: &str,
    ) -> anyhow::Result<Gateway> {
        let (address, admin) = (free_address()?, free_address()?);
        settings.extend([
            format!("--instance={name}"),
            format!("--listen={address}"),
            format!("--admin={admin}"),
            format!("--store={store}"),
            "--registration=open".into(),
        ]);
        let command = self.command("gateway", settings);
        let log = self.logs.join(log);
        Ok(Gateway { part: Part::start(name, command, self.properties(), log)?, address, token: String::new(), admin })
    }
}

impl Gateway {
    pub async fn is_live(&self, region: Region) -> anyhow::Result<bool> {
        let text = reqwest::Client::new().get(format!("http://{}/api/regions", self.address));
        let text = text.bearer_auth(&self.token).send().await?.error_for_status()?.text().await?;
        let feeds: Vec<Feed> = serde_json::from_str(&text)?;
        Ok(feeds.iter().any(|feed| feed.region == region && feed.state == FeedState::Live))
    }

    /// Waits until the gateway is ready, which means that it has read every region.
    pub async fn is_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + RECOVERS_WITHIN;
        let url = format!("http://{}/readyz", self.address);
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200) {
            self.part.lives()?;
            ensure!(Instant::now() < end, "{url} does not return 200 in time");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Returns the sum of a metric's series; the name may include labels. Fails if the gateway doesn't respond.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        metric(&self.admin, name).await
    }
}

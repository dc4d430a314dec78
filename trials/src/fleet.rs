//! Producers as processes of their own.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use kafka::KafkaSettings;
use odds::Region;

use crate::POLL_SPEED;

/// Two producers for each region.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    region: Region,
    command: Vec<String>,
    program: PathBuf,
    log: PathBuf,
    admin: SocketAddr,
    child: Child,
}

impl Member {
    fn spawn(&self) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        Command::new(&self.program)
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())
    }

    async fn leads(&self) -> bool {
        let metrics = async { reqwest::get(format!("http://{}/metrics", self.admin)).await?.text().await };
        let text = tokio::time::timeout(Duration::from_secs(2), metrics).await;
        text.is_ok_and(|text| text.is_ok_and(|text| text.contains("toteboard_producer_leading 1\n")))
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill {signal} failed");
        Ok(())
    }
}

impl Fleet {
    /// Their programs, their logs, their Kafka, the simulator.
    pub fn start(binaries: &Path, logs: &Path, kafka: &KafkaSettings, source: &str) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for region in Region::ALL {
            for n in 0..2 {
                // A port that is free now is free in a moment, too.
                let admin = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
                let mut command: Vec<String> = vec![
                    format!("--region={region}"),
                    "--source=simulator".into(),
                    format!("--simulator-url={source}"),
                    format!("--poll-speed={POLL_SPEED}"),
                    format!("--brokers={}", kafka.brokers),
                    format!("--admin={admin}"),
                ];
                command.extend(kafka.properties.iter().map(|property| format!("--kafka={property}")));
                let log = logs.join(format!("producer-{region}-{n}.log"));
                let program = binaries.join("producer");
                let placeholder = Command::new("true").spawn()?;
                let mut member = Member { region, command, program, log, admin, child: placeholder };
                member.child.wait()?;
                member.child = member.spawn()?;
                members.push(member);
            }
        }
        Ok(Self { members })
    }

    /// Starts again whoever is gone.
    pub fn revive(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            if member.child.try_wait()?.is_some() {
                member.child = member.spawn()?;
            }
        }
        Ok(())
    }

    async fn leader(&mut self, region: Region) -> anyhow::Result<&mut Member> {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            for at in 0..self.members.len() {
                if self.members[at].region == region && self.members[at].leads().await {
                    return Ok(&mut self.members[at]);
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("nobody leads {region}")
    }

    pub async fn kill_leader(&mut self, region: Region) -> anyhow::Result<()> {
        let leader = self.leader(region).await?;
        leader.child.kill()?;
        leader.child.wait()?;
        Ok(())
    }

    /// Stops a leader for longer than its session: it wakes up as a zombie.
    pub async fn stop_leader(&mut self, region: Region, duration: Duration) -> anyhow::Result<()> {
        let leader = self.leader(region).await?;
        leader.signal("-STOP")?;
        tokio::time::sleep(duration).await;
        leader.signal("-CONT")
    }

    pub fn end(&mut self) {
        for member in &mut self.members {
            // What is gone already needs no end.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end();
    }
}

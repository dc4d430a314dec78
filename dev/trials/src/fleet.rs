//! Producers as separate processes.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::ValueEnum;
use kafka::KafkaSettings;
use odds::Region;
use producers::{
    Api,
    simulator::{Shown, Simulator, SimulatorSettings},
};
use service::Lifecycle;
use tokio::net::TcpListener;

use crate::{POLL_SPEED, Part, free_address};

/// Serves simulated odds on loopback while the trial runs. Returns the simulator and its URL.
pub async fn serve_simulator(
    settings: &SimulatorSettings,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(Simulator, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let simulator = Simulator::new(settings, service::now);
    lifecycle.run("the simulator", simulator.clone().serve(listener, lifecycle.stopping().cancelled_owned()));
    Ok((simulator, url))
}

/// Returns the arguments for a region's producers of simulated odds.
pub fn simulated(source: &str, region: Region) -> Vec<String> {
    let (url, speed) = (format!("--simulator-url={source}"), format!("--poll-speed={POLL_SPEED}"));
    let api = api_of(region).to_possible_value().expect("every API has a name");
    vec!["--source=simulator".to_owned(), url, format!("--simulator-api={}", api.get_name()), speed]
}

/// The API that a region's producers use: trials have a region on each.
fn api_of(region: Region) -> Api {
    if region == Region::Eu { Api::OddsApiIo } else { Api::TheOddsApi }
}

/// The odds that a region's clients must show at the end.
pub fn truth(simulator: &Simulator, region: Region) -> anyhow::Result<Shown> {
    Ok(Shown::of_truth(&simulator.truth_of(api_of(region), region))?)
}

/// Two producers for each region.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    region: Region,
    part: Part,
    admin: String,
}

impl Member {
    async fn leads(&self) -> bool {
        let name = format!("toteboard_producer_leading{{region=\"{}\"}}", self.region);
        let leading = tokio::time::timeout(Duration::from_secs(2), metric(&self.admin, &name));
        leading.await.is_ok_and(|leading| leading.is_ok_and(|leading| leading == 1.0))
    }
}

impl Fleet {
    /// Starts two producers for each region, with the additional arguments that `arguments` returns.
    pub fn start(
        binaries: &Path,
        logs: &Path,
        kafka: &KafkaSettings,
        regions: &[Region],
        arguments: impl Fn(Region) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for &region in regions {
            for n in 0..2 {
                let admin = free_address()?;
                let mut command: Vec<String> = vec![
                    binaries.join("producer").display().to_string(),
                    format!("--region={region}"),
                    format!("--brokers={}", kafka.brokers),
                    format!("--admin={admin}"),
                ];
                command.extend(arguments(region));
                command.extend(kafka.properties.iter().map(|property| format!("--kafka={property}")));
                let log = logs.join(format!("producer-{region}-{n}.log"));
                let part = Part::start(&format!("producer {region} {n}"), command, BTreeMap::new(), log)?;
                let member = Member { region, part, admin };
                members.push(member);
            }
        }
        Ok(Self { members })
    }

    /// Restarts the producers that have ended.
    pub fn revive(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            if member.part.is_gone()? {
                member.part.revive()?;
            }
        }
        Ok(())
    }

    /// Fails if any producer has ended.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(|member| member.part.lives())
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
        bail!("no producer leads {region}")
    }

    /// Returns the sum of a metric over all producers. Fails if one doesn't respond.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for member in &self.members {
            sum += metric(&member.admin, name).await?;
        }
        Ok(sum)
    }

    pub async fn kill_leader(&mut self, region: Region) -> anyhow::Result<()> {
        self.leader(region).await?.part.kill()
    }

    /// Suspends a leader for this duration. If that is longer than its session, it resumes as a zombie.
    pub async fn stop_leader(&mut self, region: Region, duration: Duration) -> anyhow::Result<()> {
        let leader = self.leader(region).await?;
        leader.part.signal("-STOP")?;
        tokio::time::sleep(duration).await;
        leader.part.signal("-CONT")
    }

    pub fn end(&mut self) {
        self.members.clear();
    }
}

/// Returns the sum of all metrics at an admin address whose lines start with `name`.
pub async fn metric(admin: &str, name: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("http://{admin}/metrics")).await?.error_for_status()?.text().await?;
    let lines = text.lines().filter(|line| line.starts_with(name));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

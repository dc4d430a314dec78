//! The servers that are compared, each as a process of its own on ports of its own.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use kafka::KafkaSettings;
use odds::Region;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    cost::{cpu_seconds, memory},
    crowd::Target,
};
use crate::{Part, free_address, token};

const UP_WITHIN: Duration = Duration::from_secs(60);
const DOWN_WITHIN: Duration = Duration::from_secs(3);
/// For clients of one user at one address.
const MANY: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// With a tick of so many milliseconds.
    Gateway(u32),
    /// Socket.IO in Node.js: each record as it comes.
    Node,
    /// The same with the newest of each event every so many milliseconds.
    NodeBatched(u32),
    /// The same with what has changed of each event, as the gateway has it, in two processes.
    NodeChanges(u32),
    /// Is handed the gateway's frames by HTTP.
    Nchan,
    /// Is handed the gateway's frames.
    Floor,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway(_) => "Toteboard",
            Self::Node => "node",
            Self::NodeBatched(_) => "node, batched",
            Self::NodeChanges(_) => "node, changes",
            Self::Nchan => "nchan",
            Self::Floor => "floor",
        })
    }
}

/// What all servers need to know.
#[derive(Clone, Debug)]
pub struct Ground {
    pub binaries: PathBuf,
    pub gateway: PathBuf,
    /// The peers' programs and configurations.
    pub peers: PathBuf,
    /// Logs, accounts and the like.
    pub folder: PathBuf,
    pub kafka: KafkaSettings,
    /// How many milliseconds Kafka may let them wait for records.
    pub fetch_wait: u32,
    pub region: Region,
    pub limits: Limits,
    /// For a gateway, beside those that it needs.
    pub settings: Vec<String>,
    /// Of its process.
    pub environment: BTreeMap<String, String>,
}

/// Of all clients of the race one user has them, at one address: which of a gateway's limits are lifted for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Of a user, of an address and of strangers.
    Lifted,
    /// Of a user only, who may have so many connections: the others are as they come.
    OfUsers(usize),
}

#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    part: Part,
    region: Region,
    address: String,
    /// The gateway's port for operators; where others are handed frames.
    second: String,
    token: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx ends its workers only if it is asked.
        if self.part.signal("-TERM").is_ok() {
            let end = Instant::now() + DOWN_WITHIN;
            while Instant::now() < end && !self.part.is_gone().unwrap_or(true) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Hands frames to a server that makes none.
#[derive(Debug)]
pub enum Publisher {
    Http(reqwest::Client, String),
    Stream(TcpStream),
}

impl Publisher {
    pub async fn hand(&mut self, frame: &str) -> anyhow::Result<()> {
        match self {
            Self::Http(client, url) => {
                let posted = client.post(url.as_str()).header("content-type", "text/plain").body(frame.to_owned());
                posted.send().await?.error_for_status()?;
            }
            Self::Stream(stream) => {
                stream.write_u32(u32::try_from(frame.len())?).await?;
                stream.write_all(frame.as_bytes()).await?;
            }
        }
        Ok(())
    }
}

impl Server {
    pub async fn start(kind: Kind, ground: &Ground) -> anyhow::Result<Self> {
        let (address, second) = (free_address()?, free_address()?);
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let binary = |name: &str| ground.binaries.join(name).display().to_string();
        let node = |batch: Option<u32>, more: &[&str]| {
            let mut command = vec!["node".into(), ground.peers.join("node/server.mjs").display().to_string()];
            command.push(format!("--brokers={}", ground.kafka.brokers));
            command.push(format!("--region={}", ground.region));
            command.push(format!("--port={}", port(&address)));
            command.push(format!("--fetch-wait={}", ground.fetch_wait));
            command.extend(batch.map(|millis| format!("--batch={millis}")));
            command.extend(more.iter().map(|it| (*it).to_owned()));
            command
        };
        let command = match kind {
            Kind::Gateway(tick) => {
                let store = ground.folder.join(format!("accounts-{}.db", port(&address)));
                let mut command = vec![
                    ground.gateway.display().to_string(),
                    format!("--listen={address}"),
                    format!("--admin={second}"),
                    format!("--tick={tick}"),
                    format!("--brokers={}", ground.kafka.brokers),
                    format!("--instance=race-{}", port(&address)),
                    format!("--store=sqlite:{}", store.display()),
                    "--registration=open".into(),
                    "--log=warn".into(),
                ];
                let of_user = match ground.limits {
                    Limits::Lifted => MANY,
                    Limits::OfUsers(most) => most,
                };
                command.push(format!("--max-connections-per-user={of_user}"));
                if ground.limits == Limits::Lifted {
                    command.push(format!("--max-connections-per-address={MANY}"));
                    command.push(format!("--max-strangers={MANY}"));
                    command.push(format!("--max-strangers-per-address={MANY}"));
                }
                command.extend_from_slice(&ground.settings);
                command.extend(ground.kafka.properties.iter().map(|property| format!("--kafka={property}")));
                command.push(format!("--kafka=consumer.fetch.wait.max.ms={}", ground.fetch_wait));
                command
            }
            Kind::Node => node(None, &[]),
            Kind::NodeBatched(millis) => node(Some(millis), &[]),
            Kind::NodeChanges(millis) => node(Some(millis), &["--changes", "--workers=2"]),
            Kind::Floor => vec![binary("floor"), format!("--listen={address}"), format!("--frames={second}")],
            Kind::Nchan => {
                let folder = ground.folder.join(format!("nginx-{}", port(&address)));
                std::fs::create_dir_all(&folder)?;
                let text = std::fs::read_to_string(ground.peers.join("nchan.conf")).context("nchan.conf")?;
                let text = text.replace("FOLDER", &folder.display().to_string());
                let text = text.replace("SUBSCRIBERS", "16384").replace("PORT", &port(&address));
                let file = folder.join("nginx.conf");
                std::fs::write(&file, text)?;
                vec!["nginx".into(), "-c".into(), file.display().to_string()]
            }
        };
        let log = ground.folder.join(format!("{}.log", port(&address)));
        let part = Part::start(&kind.to_string(), command, ground.environment.clone(), log)?;
        let region = ground.region;
        let mut this = Self { kind, part, region, address, second, token: None };
        this.is_ready().await?;
        if let Kind::Gateway(_) = kind {
            this.token = Some(token(&this.address, "trial").await?);
        }
        Ok(this)
    }

    async fn is_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + UP_WITHIN;
        loop {
            self.part.lives()?;
            let ready = match self.kind {
                Kind::Gateway(_) => {
                    let asked = reqwest::get(format!("http://{}/readyz", self.address)).await;
                    asked.is_ok_and(|answer| answer.status().is_success())
                }
                _ => TcpStream::connect(&self.address).await.is_ok(),
            };
            if ready {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{} does not come up", self.kind);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn region(&self) -> Region {
        self.region
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn auth(&self, regions: &[Region]) -> Value {
        json!({ "v": 1, "token": self.token, "regions": regions })
    }

    /// Where a crowd goes: to the region's board, or just to be connected.
    pub fn target(&self, follows: bool) -> Target {
        let regions = if follows { &[self.region][..] } else { &[] };
        let socket_io = !matches!(self.kind, Kind::Nchan | Kind::Floor);
        let path = match self.kind {
            Kind::Nchan => "/subscribe",
            _ => "/socket.io/?EIO=4&transport=websocket",
        };
        Target {
            address: self.address.clone(),
            path: path.into(),
            auth: socket_io.then(|| self.auth(regions).to_string()),
            board: follows && socket_io,
        }
    }

    /// Where frames are handed over, if it doesn't make its own.
    pub async fn publisher(&self) -> anyhow::Result<Option<Publisher>> {
        Ok(match self.kind {
            Kind::Nchan => Some(Publisher::Http(reqwest::Client::new(), format!("http://{}/publish", self.address))),
            Kind::Floor => {
                let stream = TcpStream::connect(&self.second).await?;
                stream.set_nodelay(true)?;
                Some(Publisher::Stream(stream))
            }
            Kind::Gateway(_) | Kind::Node | Kind::NodeBatched(_) | Kind::NodeChanges(_) => None,
        })
    }

    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.part.pid())
    }

    pub fn memory(&self) -> anyhow::Result<f64> {
        memory(self.part.pid())
    }

    /// How many files and connections its process has.
    pub fn open_files(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.part.pid()))?.count())
    }

    /// How late ticks of the region began so far. Others than the gateway tell nothing.
    pub async fn ticks(&self) -> anyhow::Result<Option<Ticks>> {
        if !matches!(self.kind, Kind::Gateway(_)) {
            return Ok(None);
        }
        let metrics = reqwest::get(format!("http://{}/metrics", self.second)).await?.text().await?;
        Ok(Some(Ticks::read(&metrics, self.region)))
    }
}

/// A histogram: how many ticks were no later than so many seconds.
#[derive(Clone, Debug, Default)]
pub struct Ticks(Vec<(f64, u64)>);

impl Ticks {
    fn read(metrics: &str, region: Region) -> Self {
        let of_region = format!("region=\"{region}\"");
        let buckets = metrics.lines().filter(|line| line.contains(&of_region)).filter_map(|line| {
            let (bound, rest) =
                line.strip_prefix("toteboard_gateway_tick_late_seconds_bucket{le=\"")?.split_once('"')?;
            Some((bound.parse::<f64>().unwrap_or(f64::INFINITY), rest.rsplit(' ').next()?.parse::<u64>().ok()?))
        });
        Self(buckets.collect())
    }

    /// The upper bound, in milliseconds, of the bucket that holds the latest tick since then.
    pub fn latest_since(&self, before: &Self) -> f64 {
        let earlier = |bound: f64| before.0.iter().find(|it| it.0 == bound).map_or(0, |it| it.1);
        let since = || self.0.iter().map(|(bound, count)| (*bound, count - earlier(*bound)));
        let all = since().map(|(_, count)| count).max().unwrap_or_default();
        since().find(|(_, count)| all > 0 && *count == all).map_or(0.0, |(bound, _)| bound * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_tick_is_of_those_that_came_since() {
        let metrics = |counts: [u64; 3]| {
            let line = |(bound, count): (&str, u64)| {
                format!("toteboard_gateway_tick_late_seconds_bucket{{le=\"{bound}\",region=\"uk\"}} {count}\n")
            };
            Ticks::read(&["0.1", "0.5", "+Inf"].into_iter().zip(counts).map(line).collect::<String>(), Region::Uk)
        };
        let before = metrics([1, 1, 2]);
        assert_eq!(metrics([2, 4, 5]).latest_since(&before), 500.0);
        assert_eq!(metrics([3, 3, 4]).latest_since(&before), 100.0);
        assert_eq!(metrics([3, 3, 5]).latest_since(&before), f64::INFINITY);
        assert_eq!(before.latest_since(&before), 0.0);
    }
}

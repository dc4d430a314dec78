//! The servers that are compared, each a separate process.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use kafka::KafkaSettings;
use odds::Region;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    cost::{cpu_seconds, memory, most_memory},
    crowd::{AT_ONCE, Target},
};
use crate::{Part, free_address, token_at};

/// Long enough to read an hour of many changes.
const UP_WITHIN: Duration = Duration::from_secs(300);
const ASKED_EVERY: Duration = Duration::from_millis(50);
const DOWN_WITHIN: Duration = Duration::from_secs(3);
/// A limit that is never reached, because all clients are one user at one address.
const MANY: usize = 100_000;

/// The server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The gateway, with a tick of this many milliseconds.
    Gateway(u32),
    /// Socket.IO in Node.js, which sends each record as it arrives.
    Node,
    /// Socket.IO in Node.js, which sends the newest state of each changed event every so many milliseconds.
    NodeBatched(u32),
    /// Socket.IO in Node.js in two processes, which sends only the changed quotes, like the gateway.
    NodeChanges(u32),
    /// nchan, which receives the gateway's frames by HTTP.
    Nchan,
    /// The program `floor`, which receives the gateway's frames over TCP.
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

/// What all servers of a trial have in common.
#[derive(Clone, Debug)]
pub struct Ground {
    pub binaries: PathBuf,
    pub gateway: PathBuf,
    /// Folder with the other servers' programs and configurations.
    pub peers: PathBuf,
    /// For logs, accounts and similar files.
    pub folder: PathBuf,
    pub kafka: KafkaSettings,
    /// Maximum milliseconds that Kafka holds a fetch request open until there are records; none on real brokers, where
    /// each server's own default suits it.
    pub fetch_wait: Option<u32>,
    pub region: Region,
    pub limits: Limits,
    /// Whether the clients ask for compression. Other servers are set up for it only then.
    pub compression: bool,
    pub security: Security,
    /// Additional arguments for a gateway.
    pub settings: Vec<String>,
    /// Additional environment variables for the server.
    pub environment: BTreeMap<String, String>,
}

/// How a gateway's clients are served over TLS.
#[derive(Clone, Debug)]
pub enum Security {
    /// Not at all.
    None,
    /// By the gateway itself.
    Own(PemFiles),
    /// By this Caddy in front of it.
    Caddy(PathBuf, PemFiles),
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct PemFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Which of a gateway's limits are raised. All clients are one user at one address and would exceed the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// The limits per user, per address and for connections that have not signed in.
    Lifted,
    /// Only the limit of connections per user, to this many; the others keep their defaults.
    OfUsers(usize),
}

/// A running server. It is stopped when dropped.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    part: Part,
    /// The proxy in front of it.
    proxy: Option<Part>,
    region: Region,
    compression: bool,
    http: reqwest::Client,
    /// Whether its own address speaks TLS.
    over_tls: bool,
    certificate: Option<PathBuf>,
    /// Where clients connect.
    entrance: String,
    address: String,
    /// The gateway's admin address, or the address at which `floor` receives frames.
    second: String,
    token: Option<String>,
    /// How long it took to be ready.
    pub ready_after: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx stops its workers only when it gets SIGTERM.
        if self.part.signal("-TERM").is_ok() {
            let end = Instant::now() + DOWN_WITHIN;
            while Instant::now() < end && !self.part.is_gone().unwrap_or(true) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Sends frames to a server that doesn't read Kafka.
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

impl Ground {
    /// The option that sets how long the embedded cluster holds a fetch request of one of Toteboard's programs open.
    pub(super) fn own_fetch_wait(&self) -> Option<String> {
        self.fetch_wait.map(|millis| format!("--kafka=consumer.fetch.wait.max.ms={millis}"))
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
            command.extend(ground.fetch_wait.map(|millis| format!("--fetch-wait={millis}")));
            command.extend(ground.compression.then(|| "--compression".to_owned()));
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
                match &ground.security {
                    Security::None => {}
                    Security::Own(PemFiles { certificate, key }) => {
                        command.push(format!("--tls-cert={}", certificate.display()));
                        command.push(format!("--tls-key={}", key.display()));
                    }
                    Security::Caddy(..) => command.push("--trusted-proxy=127.0.0.1".into()),
                }
                command.extend_from_slice(&ground.settings);
                command.extend(ground.kafka.properties.iter().map(|property| format!("--kafka={property}")));
                command.extend(ground.own_fetch_wait());
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
                let text = text.replace("COMPRESSION", if ground.compression { "on" } else { "off" });
                let text = text.replace("SUBSCRIBERS", "16384").replace("PORT", &port(&address));
                let file = folder.join("nginx.conf");
                std::fs::write(&file, text)?;
                vec!["nginx".into(), "-c".into(), file.display().to_string()]
            }
        };
        let log = ground.folder.join(format!("{}.log", port(&address)));
        let began = Instant::now();
        let part = Part::start(&kind.to_string(), command, ground.environment.clone(), log)?;
        let region = ground.region;
        let certificate = match &ground.security {
            Security::None => None,
            Security::Own(files) | Security::Caddy(_, files) => Some(files.certificate.clone()),
        };
        let mut this = Self {
            kind,
            part,
            proxy: None,
            region,
            compression: ground.compression,
            // The certificate signs itself.
            http: reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?,
            over_tls: matches!(ground.security, Security::Own(_)),
            certificate,
            entrance: address.clone(),
            address,
            second,
            token: None,
            ready_after: Duration::ZERO,
        };
        this.is_ready().await?;
        this.ready_after = began.elapsed();
        if let Kind::Gateway(_) = kind {
            this.token = Some(token_at(&this.http, &this.origin(), "trial").await?);
            if let Security::Caddy(program, files) = &ground.security {
                this.put_behind(program, files, &ground.folder).await?;
            }
        }
        Ok(this)
    }

    /// Starts a Caddy that serves it over TLS.
    async fn put_behind(&mut self, program: &Path, files: &PemFiles, folder: &Path) -> anyhow::Result<()> {
        let entrance = free_address()?;
        let (_, port) = entrance.rsplit_once(':').context("an address has a port")?;
        let config = format!(
            "{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tservers {{\n\t\tprotocols h1\n\t}}\n}}\n\n\
             :{port} {{\n\ttls {} {}\n\treverse_proxy {} {{\n\t\tflush_interval -1\n\t}}\n}}\n",
            files.certificate.display(),
            files.key.display(),
            self.address,
        );
        let file = folder.join(format!("caddy-{port}"));
        std::fs::write(&file, config)?;
        let storage = folder.display().to_string();
        let environment = ["XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name.to_owned(), storage.clone()));
        let words = ["run", "--adapter", "caddyfile", "--config"].map(str::to_owned);
        let command = [program.display().to_string()].into_iter().chain(words).chain([file.display().to_string()]);
        let log = folder.join(format!("caddy-{port}.log"));
        let mut proxy = Part::start("Caddy", command.collect(), environment.into(), log)?;
        let end = Instant::now() + UP_WITHIN;
        while TcpStream::connect(&entrance).await.is_err() {
            proxy.lives()?;
            ensure!(Instant::now() < end, "Caddy did not start in time");
            tokio::time::sleep(ASKED_EVERY).await;
        }
        (self.proxy, self.entrance) = (Some(proxy), entrance);
        Ok(())
    }

    /// Kills the server, as a crash does, and starts it again at the same address.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.part.kill()?;
        let began = Instant::now();
        self.part.revive()?;
        self.is_ready().await?;
        self.ready_after = began.elapsed();
        Ok(())
    }

    fn origin(&self) -> String {
        let scheme = if self.over_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    async fn is_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + UP_WITHIN;
        loop {
            self.part.lives()?;
            let ready = match self.kind {
                Kind::Gateway(_) => {
                    let asked = self.http.get(format!("{}/readyz", self.origin())).send().await;
                    asked.is_ok_and(|answer| answer.status().is_success())
                }
                _ => TcpStream::connect(&self.address).await.is_ok(),
            };
            if ready {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{} did not start in time", self.kind);
            tokio::time::sleep(ASKED_EVERY).await;
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

    /// Returns the target for a crowd that follows the region's board, or that only connects.
    pub fn target(&self, follows: bool) -> Target {
        let regions = if follows { &[self.region][..] } else { &[] };
        let socket_io = !matches!(self.kind, Kind::Nchan | Kind::Floor);
        let path = match self.kind {
            Kind::Nchan => "/subscribe",
            _ => "/socket.io/?EIO=4&transport=websocket",
        };
        Target {
            address: self.entrance.clone(),
            certificate: self.certificate.clone(),
            returns: None,
            at_once: AT_ONCE,
            path: path.into(),
            auth: socket_io.then(|| self.auth(regions).to_string()),
            board: follows && socket_io,
            compression: self.compression,
        }
    }

    /// Returns the way to send frames to the server, or `None` if it creates its own.
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
        let proxy = self.proxy.as_ref().map_or(Ok(0.0), |proxy| cpu_seconds(proxy.pid()))?;
        Ok(cpu_seconds(self.part.pid())? + proxy)
    }

    pub fn memory(&self) -> anyhow::Result<f64> {
        let proxy = self.proxy.as_ref().map_or(Ok(0.0), |proxy| memory(proxy.pid()))?;
        Ok(memory(self.part.pid())? + proxy)
    }

    /// The most memory that the process has had so far (RSS).
    pub fn most_memory(&self) -> anyhow::Result<f64> {
        most_memory(self.part.pid())
    }

    /// Returns the number of open files of the process, which includes connections.
    pub fn open_files(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.part.pid()))?.count())
    }

    /// Returns how late the region's ticks have been so far, or `None` if the server is not the gateway.
    pub async fn ticks(&self) -> anyhow::Result<Option<Ticks>> {
        if !matches!(self.kind, Kind::Gateway(_)) {
            return Ok(None);
        }
        let metrics = reqwest::get(format!("http://{}/metrics", self.second)).await?.text().await?;
        Ok(Some(Ticks::read(&metrics, self.region)))
    }
}

/// A cumulative histogram of tick delays: pairs of an upper bound in seconds and the number of ticks within it.
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

    /// Returns the upper bound, in milliseconds, of the bucket that contains the latest tick since `before`.
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

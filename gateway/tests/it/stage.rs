//! A Kafka cluster with any number of gateways.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use accounts::Store;
use clap::Parser;
use gateway::{Gateway, GatewaySettings, MessageParts, Metrics};
use kafka::{Embedded, KafkaSettings, all_topics};
use messages::SigningKey;
use service::{Lifecycle, MetricRegistry};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tracing_subscriber::EnvFilter;

use crate::{guest, http};

pub const DEADLINE: Duration = Duration::from_secs(60);
/// The secret of the SMS provider.
pub const SMS_TOKEN: &str = "the provider's secret";
const POLL: Duration = Duration::from_millis(20);

pub struct Stage {
    pub cluster: Embedded,
    pub store: Arc<dyn Store>,
    /// Signs the links in messages.
    pub key: SigningKey,
    folder: TempDir,
}

pub struct Running {
    pub address: String,
    pub metrics: MetricRegistry,
    lifecycle: Lifecycle,
    ended: JoinHandle<anyhow::Result<()>>,
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    gateway: GatewaySettings,
}

impl Stage {
    pub async fn set() -> Self {
        log_to_the_test();
        let folder = tempfile::tempdir().unwrap();
        let store = guest::store_with_guest(folder.path()).await;
        Self { cluster: Embedded::start(&all_topics()).unwrap(), store, key: SigningKey::random(), folder }
    }

    /// The file of the store.
    pub fn accounts_file(&self) -> PathBuf {
        self.folder.path().join("accounts.db")
    }

    /// The setting of a gateway that serves the stage's history.
    pub fn history_setting(&self) -> String {
        format!("--history=sqlite:{}", self.folder.path().join("history.db").display())
    }

    /// The setting of a gateway that serves the stage's messages.
    pub fn outbox_setting(&self) -> String {
        format!("--outbox=sqlite:{}", self.folder.path().join("messages.db").display())
    }

    pub fn kafka(&self) -> KafkaSettings {
        self.cluster.settings()
    }

    /// Starts a gateway with these settings and waits until it is ready.
    pub async fn gateway(&self, instance: &str, settings: &[&str]) -> Running {
        let running = self.starting(instance, settings).await;
        running.is_ready().await;
        running
    }

    /// Why a gateway with these settings doesn't start.
    pub async fn refused(&self, settings: &[&str]) -> String {
        let (settings, mut registry) = (with_usual("refused", settings), MetricRegistry::default());
        let metrics = Metrics::new(&mut registry);
        let gateway = Gateway::bind(settings, self.kafka(), self.store.clone(), service::now, metrics);
        format!("{:#}", gateway.err().expect("it is refused"))
    }

    pub async fn starting(&self, instance: &str, settings: &[&str]) -> Running {
        let settings = with_usual(instance, settings);
        let mut registry = MetricRegistry::default();
        let metrics = Metrics::new(&mut registry);
        let (history, outbox) = (settings.history.clone(), settings.outbox.clone());
        let mut gateway = Gateway::bind(settings, self.kafka(), self.store.clone(), service::now, metrics).unwrap();
        if let Some(url) = history {
            gateway = gateway.with_history(url.open().await.unwrap());
        }
        if let Some(url) = outbox {
            let outbox = url.open().await.unwrap();
            let (key, sms_token) = (self.key.clone(), Some(SMS_TOKEN.to_owned()));
            gateway = gateway.with_messages(MessageParts { outbox, key, sms_token });
        }
        let address: SocketAddr = gateway.address().unwrap();
        let lifecycle = Lifecycle::new();
        gateway.start(&lifecycle).unwrap();
        let ended = tokio::spawn(lifecycle.clone().wait());
        Running { address: address.to_string(), metrics: registry, lifecycle, ended }
    }
}

fn with_usual(instance: &str, settings: &[&str]) -> GatewaySettings {
    let mut args = vec!["gateway", "--instance", instance];
    for usual in ["--tick=20", "--listen=127.0.0.1:0"] {
        let (name, _) = usual.split_once('=').unwrap();
        if !settings.iter().any(|setting| setting.split('=').next() == Some(name)) {
            args.push(usual);
        }
    }
    args.extend(settings);
    Settings::try_parse_from(args).unwrap().gateway
}

impl Running {
    pub async fn is_ready(&self) {
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = http::get(&self.address, "/readyz", &[]).await;
            if answer.status == 200 {
                return;
            }
            assert!(Instant::now() < end, "not ready: {}", String::from_utf8_lossy(&answer.body));
            tokio::time::sleep(POLL).await;
        }
    }

    pub fn stop(&self) {
        self.lifecycle.stop();
    }

    pub async fn ends(self) -> anyhow::Result<()> {
        self.lifecycle.stop();
        tokio::time::timeout(DEADLINE, self.ended).await.unwrap().unwrap()
    }

    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Shows the gateways' logs if a test fails.
fn log_to_the_test() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails if another test has set it already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_test_writer().try_init();
}

//! A cluster, a gateway, an outbox, a mail server, and notifiers that come and go.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use accounts::StoreUrl;
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use kafka::{Embedded, NewRecord, RecordProducer, TRANSACTIONS, all_topics};
use messages::{Channel, Content, NewMessage, Outbox, OutboxUrl};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};
use trials::{Part, free_address, producing_token};

use crate::mail_sink::MailSink;

const READY_WITHIN: Duration = Duration::from_secs(120);
/// How many messages are added to the outbox at once.
const AT_ONCE: usize = 1_000;

pub struct Scene {
    pub sink: MailSink,
    cluster: Embedded,
    binaries: PathBuf,
    folder: PathBuf,
    outbox_url: String,
    store_url: String,
    outbox: Arc<dyn Outbox>,
    gateway: String,
    token: String,
    http: reqwest::Client,
    notifiers: usize,
    _gateway: Part,
}

/// Transactions that were accepted, and when.
pub struct Accepted(Vec<(String, Instant)>);

impl Accepted {
    /// How long each took to the mail server, in microseconds.
    pub async fn delays_in(&self, scene: &Scene) -> anyhow::Result<Vec<u64>> {
        let mut delays = Vec::new();
        for (id, accepted) in &self.0 {
            let end = Instant::now() + Duration::from_secs(60);
            let arrived = loop {
                if let Some(arrived) = scene.sink.arrived(id) {
                    break arrived;
                }
                ensure!(Instant::now() < end, "{id} did not arrive");
                sleep(Duration::from_millis(10)).await;
            };
            delays.push(arrived.saturating_duration_since(*accepted).as_micros() as u64);
        }
        Ok(delays)
    }
}

impl Scene {
    pub async fn set(binaries: PathBuf, folder: PathBuf, outbox: Option<String>) -> anyhow::Result<Self> {
        let outbox_url = outbox.unwrap_or(format!("sqlite:{}", folder.join("messages.db").display()));
        let store_url = format!("sqlite:{}", folder.join("accounts.db").display());
        let cluster = Embedded::start(&all_topics())?;
        let store = store_url.parse::<StoreUrl>()?.open().await?;
        let (_, token) = producing_token(&*store).await?;
        let outbox = outbox_url.parse::<OutboxUrl>()?.open().await?;
        let gateway = free_address()?;
        let mut command = vec![
            binaries.join("gateway").display().to_string(),
            "--instance=trial".to_owned(),
            format!("--listen={gateway}"),
            format!("--store={store_url}"),
            format!("--outbox={outbox_url}"),
            format!("--signing-key={}", folder.join("signing.key").display()),
            "--log=warn".to_owned(),
        ];
        command.extend(brokers(&cluster));
        let part = Part::start("gateway", command, BTreeMap::new(), folder.join("gateway.log"))?;
        let scene = Self {
            sink: MailSink::start().await?,
            cluster,
            binaries,
            folder,
            outbox_url,
            store_url,
            outbox,
            gateway,
            token,
            http: reqwest::Client::new(),
            notifiers: 0,
            _gateway: part,
        };
        let end = Instant::now() + READY_WITHIN;
        let url = format!("http://{}/readyz", scene.gateway);
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(Instant::now() < end, "the gateway is not ready");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(scene)
    }

    /// Starts a notifier of e-mails, by this command.
    pub fn notifier(&mut self, by: &[&str]) -> anyhow::Result<Part> {
        self.notifiers += 1;
        let name = format!("notifier-{}", self.notifiers);
        let mut command: Vec<String> = by.iter().map(|word| (*word).to_owned()).collect();
        command.extend([
            self.binaries.join("notifier").display().to_string(),
            "--channels=email".to_owned(),
            format!("--store={}", self.store_url),
            format!("--outbox={}", self.outbox_url),
            format!("--signing-key={}", self.folder.join("signing.key").display()),
            "--public-origin=https://odds.example.com".to_owned(),
            format!("--smtp=smtp://{}", self.sink.address),
            "--log=warn".to_owned(),
        ]);
        command.extend(brokers(&self.cluster));
        Part::start(&name, command, BTreeMap::new(), self.folder.join(format!("{name}.log")))
    }

    /// Posts this many transactions to the gateway, at this pace.
    pub async fn produce(&self, name: &str, a_second: u32, count: usize) -> anyhow::Result<Accepted> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
        let mut posting = JoinSet::new();
        let mut accepted = Vec::new();
        for number in 0..count {
            ticks.tick().await;
            let id = format!("{name}-{number}");
            let request = self.request(&id);
            posting.spawn(async move {
                request.send().await?.error_for_status()?;
                Ok::<_, reqwest::Error>((id, Instant::now()))
            });
            while let Some(posted) = posting.try_join_next() {
                accepted.push(posted??);
            }
        }
        while let Some(posted) = posting.join_next().await {
            accepted.push(posted??);
        }
        Ok(Accepted(accepted))
    }

    /// A request to produce a transaction with this id.
    fn request(&self, id: &str) -> reqwest::RequestBuilder {
        let body = json!({
            "request_id": id, "topic_name": TRANSACTIONS, "transaction_id": id, "message_body": "2 tickets",
            "email": format!("{id}@example.com"),
        });
        let request = self.http.post(format!("http://{}/api/v1/produce", self.gateway)).bearer_auth(&self.token);
        request.header("content-type", "application/json").body(body.to_string())
    }

    /// Posts transactions as fast as the gateway accepts them, this many at the same time. Returns how many it accepted.
    pub async fn produce_for(&self, time: Duration, at_once: usize) -> anyhow::Result<usize> {
        let end = Instant::now() + time;
        let post = async |worker: usize| {
            let mut accepted = 0;
            while Instant::now() < end {
                self.request(&format!("rate-{worker}-{accepted}")).send().await?.error_for_status()?;
                accepted += 1;
            }
            anyhow::Ok(accepted)
        };
        Ok(try_join_all((0..at_once).map(post)).await?.into_iter().sum())
    }

    /// Produces transactions as fast as Kafka takes them, without a gateway.
    pub async fn pile_up(&self, count: usize) -> anyhow::Result<()> {
        let producer = RecordProducer::new(&self.cluster.settings())?;
        let produce = async |number: usize| {
            let id = format!("pile-{number}");
            let value = json!({
                "transaction_id": id, "message_body": "2 tickets", "email": format!("{id}@example.com"),
            })
            .to_string();
            let record = NewRecord {
                topic: TRANSACTIONS,
                partition: (number % 3) as i32,
                key: None,
                value: value.as_bytes(),
                headers: &[("message_id", id.as_bytes())],
                at: service::now(),
            };
            producer.send(&record).await.context("producing a transaction").map(drop)
        };
        stream::iter(0..count).map(produce).buffer_unordered(500).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Adds messages that wait, each to a recipient of its own.
    pub async fn wait_in_the_outbox(&self, count: usize) -> anyhow::Result<()> {
        for first in (0..count).step_by(AT_ONCE) {
            let now = service::now();
            let message = |number: usize| {
                Ok::<_, anyhow::Error>(NewMessage {
                    id: format!("waiting-{number}").parse()?,
                    channel: Channel::Email,
                    recipient: format!("waiting-{number}@example.com"),
                    user: None,
                    content: Content::Transaction { transaction_id: number.to_string(), body: "2 tickets".into() },
                    created_at: now,
                    deadline: now.plus_millis(24 * 3_600_000),
                    skipped: None,
                })
            };
            let batch = (first..count.min(first + AT_ONCE)).map(message).collect::<anyhow::Result<Vec<_>>>()?;
            self.outbox.add(&batch, now).await?;
        }
        Ok(())
    }

    /// Waits until this many different e-mails have come.
    pub async fn wait_for(&self, count: usize, within: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + within;
        while self.sink.count() < count {
            ensure!(Instant::now() < end, "{} of {count} e-mails came", self.sink.count());
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn brokers(cluster: &Embedded) -> Vec<String> {
    let kafka = cluster.settings();
    let mut arguments = vec![format!("--brokers={}", kafka.brokers)];
    arguments.extend(kafka.properties.iter().map(|property| format!("--kafka={property}")));
    arguments
}

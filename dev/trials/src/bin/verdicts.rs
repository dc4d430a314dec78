//! A trial of what operators are told, on real engines: each fault has to change the verdict to a line that names it, and
//! the verdict has to change back when the fault has ended. It also says what the reports and ten operators cost.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use accounts::StoreUrl;
use anyhow::{Context, bail, ensure};
use clap::Parser;
use client::Client;
use futures::future::try_join_all;
use kafka::{FLEET, KafkaSettings, NewRecord, RecordProducer, TRANSACTIONS, WholeTopic};
use odds::Region;
use producers::simulator::SimulatorSettings;
use serde::Deserialize;
use serde_json::{Value, json};
use service::{Lifecycle, ProgramSettings};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use trials::{
    Engine, Engines, Fleet, MailEngine, Part, Parts, RECOVERS_WITHIN, SPEED, TrialSettings, free_address,
    operating_token, race::cpu_seconds, serve_simulator, simulated,
};

/// How soon a fault, and its end, must be told.
const WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Records that wait to become messages: more than a lag that is no problem.
const MANY_RECORDS: usize = 3_000;
const OPERATORS: usize = 10;
/// For how long costs are measured.
const MEASURED_FOR: Duration = Duration::from_secs(30);
/// The key of producers of simulated odds.
const KEY: &str = "simulator";

/// Lets each part of a whole system fail, and checks what operators are told.
#[derive(Debug, Parser)]
#[command(name = "verdicts", version)]
struct Settings {
    #[command(flatten)]
    trial: TrialSettings,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("verdicts")?;
    trials::run(program, async move |lifecycle| judge(settings, &lifecycle).await).await
}

async fn judge(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let engines = Engines::read(&settings.trial.engines)?;
    let kafka = engines.kafka()?;
    let Engines { brokers, mongodb, mongodb_url, mail, .. } = engines;
    let MailEngine { server, smtp, .. } = mail;
    let mut brokers = try_join_all(brokers.into_iter().map(Engine::start)).await?;
    let mut store = Engine::start(mongodb).await?;
    let mut mail = Engine::start(server).await?;
    let parts = settings.trial.parts(&kafka);
    parts.topics().await?;

    let simulator = SimulatorSettings { speed: SPEED, ..settings.simulator };
    let (_, source) = serve_simulator(&simulator, lifecycle).await?;
    let mut fleet = Fleet::start(&settings.trial.binaries, &settings.trial.logs, &kafka, &Region::ALL, |region| {
        simulated(&source, region)
    })?;
    let mut historian = parts.historian("one")?;
    let messaging = vec![
        format!("--outbox={mongodb_url}"),
        format!("--signing-key={}", settings.trial.logs.join("signing.key").display()),
        "--public-origin=https://odds.example.com".to_owned(),
    ];
    let mut gateways =
        [parts.gateway_with("one", &mongodb_url, messaging.clone())?, parts.gateway("two", &mongodb_url)?];
    let _alerter = parts.program("alerter", "one", vec![format!("--store={mongodb_url}")])?;
    let (_provider, _notifier) = messages(&parts, &mongodb_url, messaging, smtp)?;
    for gateway in &mut gateways {
        gateway.is_ready().await?;
    }
    let token = operating_token(&*mongodb_url.parse::<StoreUrl>()?.open().await?).await?;
    let operator = Operator::new(&gateways[0].address, &token);
    operator.is_told_nothing(RECOVERS_WITHIN).await.context("at the start")?;
    println!("three brokers, eight producers, two gateways, a historian, an alerter and a notifier: all is well");

    costs(&kafka, &gateways[0].part, &gateways[0].address, &token).await?;
    let letters = Letters::start(&kafka)?;

    brokers[1].kill()?;
    operator.is_told("a broker", "BrokerIsDown", "broker 2").await?;
    brokers[1].revive().await?;
    operator.is_told_no_more("a broker", "BrokerIsDown").await?;
    parts.in_sync().await?;

    fleet.kill_leader(Region::Uk).await?;
    operator.is_told("a producer", "ProgramIsSilent", "producer").await?;
    fleet.revive()?;
    operator.is_told_no_more("a producer", "ProgramIsSilent").await?;

    gateways[1].part.kill()?;
    operator.is_told("a gateway", "ProgramIsSilent", "gateway two").await?;
    gateways[1].part.revive()?;
    operator.is_told_no_more("a gateway", "ProgramIsSilent").await?;

    historian.kill()?;
    operator.is_told("the historian", "ProgramIsSilent", "historian").await?;
    historian.revive()?;
    operator.is_told_no_more("the historian", "ProgramIsSilent").await?;

    store.kill()?;
    operator.is_told("the store", "AccountsNotStored", "gateway one").await?;
    store.revive().await?;
    operator.is_told_no_more("the store", "AccountsNotStored").await?;

    operator.sends_emails().await?;
    mail.kill()?;
    operator.is_told("the mail server", "ProviderFails", "email").await?;
    mail.revive().await?;
    operator.is_told_no_more("the mail server", "ProviderFails").await?;
    drop(letters);

    let control = Control { url: source };
    control.set("credits", &json!({ "key": KEY, "remaining": 0 })).await?;
    operator.is_told("credits used up", "CreditsUsedUp", "uk").await?;
    control.set("credits", &json!({ "key": KEY, "remaining": 5_000_000 })).await?;
    operator.is_told_no_more("credits used up", "CreditsUsedUp").await?;

    control.set("keys", &json!([KEY])).await?;
    operator.is_told("a wrong key", "ProgramHasFailed", "producer").await?;
    control.set("keys", &json!([])).await?;
    // Stand-bys may lead, and fail, before they can know.
    let reviving = async {
        while fleet.revive().is_ok() {
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        told = operator.is_told_no_more("a wrong key", "ProgramHasFailed") => told?,
        () = reviving => bail!("producers can't be started again"),
    }

    store.signal("-STOP")?;
    flood(&kafka).await?;
    operator.is_told("lag", "MessagesNotRead", "sms").await?;
    store.signal("-CONT")?;
    operator.catches_up().await?;
    operator.is_told_no_more("lag", "MessagesNotRead").await
}

fn messages(parts: &Parts, store: &str, mut settings: Vec<String>, smtp: SocketAddr) -> anyhow::Result<(Part, Part)> {
    const ACCOUNT: &str = "AC-trial";
    const TOKEN: &str = "the provider's secret";
    let provider = free_address()?;
    let simulator =
        vec![format!("--listen={provider}"), format!("--sms-account={ACCOUNT}"), format!("--sms-token={TOKEN}")];
    let simulator = parts.sms_simulator(simulator)?;
    settings.extend([
        format!("--store={store}"),
        format!("--smtp=smtp://{smtp}"),
        format!("--sms-url=http://{provider}"),
        format!("--sms-account={ACCOUNT}"),
        format!("--sms-token={TOKEN}"),
        "--sms-sender=+447700900999".to_owned(),
        "--sms-per-day=10".to_owned(),
    ]);
    Ok((simulator, parts.program("notifier", "one", settings)?))
}

/// The simulator's own interface.
struct Control {
    url: String,
}

impl Control {
    async fn set(&self, what: &str, to: &Value) -> anyhow::Result<()> {
        let request = reqwest::Client::new().post(format!("{}/sim/{what}", self.url));
        let request = request.header("content-type", "application/json").body(to.to_string());
        request.send().await?.error_for_status()?;
        Ok(())
    }
}

/// Somebody who asks a gateway what is wrong.
struct Operator {
    http: reqwest::Client,
    url: String,
    token: String,
}

#[derive(Deserialize)]
struct Status {
    problems: Vec<Problem>,
    programs: Vec<Program>,
}

#[derive(Clone, Debug, Deserialize)]
struct Problem {
    name: String,
    about: String,
    text: String,
}

#[derive(Deserialize)]
struct Program {
    role: String,
    values: BTreeMap<String, f64>,
    lags: Vec<Lag>,
}

#[derive(Deserialize)]
struct Lag {
    records: f64,
}

impl Operator {
    fn new(address: &str, token: &str) -> Self {
        let url = format!("http://{address}/api/operator/status");
        Self { http: reqwest::Client::new(), url, token: token.to_owned() }
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let answer = self.http.get(&self.url).bearer_auth(&self.token).send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// Waits until the problems are as wanted, and returns how long that took.
    async fn until(&self, within: Duration, is_so: impl Fn(&[Problem]) -> bool) -> anyhow::Result<(Duration, Status)> {
        let began = Instant::now();
        loop {
            let status = self.status().await?;
            if is_so(&status.problems) {
                return Ok((began.elapsed(), status));
            }
            ensure!(began.elapsed() < within, "after {} s: {:?}", within.as_secs(), status.problems);
            sleep(LOOK_EVERY).await;
        }
    }

    async fn is_told(&self, fault: &str, name: &str, about: &str) -> anyhow::Result<()> {
        let is_it = |it: &&Problem| it.name == name && it.about.starts_with(about);
        let told = self.until(WITHIN, |problems| problems.iter().any(|it| is_it(&it))).await;
        let (after, status) = told.with_context(|| format!("{fault} is not told as {name} of {about}"))?;
        let it = status.problems.iter().find(is_it).context("it was there")?;
        println!("{fault}: {:.1} s later: {name} ({}): {}", after.as_secs_f64(), it.about, it.text);
        Ok(())
    }

    async fn is_told_no_more(&self, fault: &str, name: &str) -> anyhow::Result<()> {
        let told = self.until(WITHIN, |problems| problems.iter().all(|it| it.name != name)).await;
        let (after, _) = told.with_context(|| format!("the end of {fault} is not told"))?;
        println!("{fault}: its end was told after {:.1} s", after.as_secs_f64());
        self.is_told_nothing(RECOVERS_WITHIN).await.with_context(|| format!("after {fault}"))
    }

    async fn is_told_nothing(&self, within: Duration) -> anyhow::Result<()> {
        self.until(within, <[Problem]>::is_empty).await.map(drop)
    }

    /// Waits until another e-mail is sent: a notifier waits after its store has failed.
    async fn sends_emails(&self) -> anyhow::Result<()> {
        let sent = async || -> anyhow::Result<f64> {
            let programs = self.status().await?.programs;
            Ok(programs.iter().filter_map(|program| program.values.get("notifier_emails_total{sent}")).sum())
        };
        let (before, end) = (sent().await?, Instant::now() + RECOVERS_WITHIN);
        while sent().await? == before {
            ensure!(Instant::now() < end, "no e-mail is sent");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until the notifier has no record left to read.
    async fn catches_up(&self) -> anyhow::Result<()> {
        let end = Instant::now() + RECOVERS_WITHIN;
        loop {
            let status = self.status().await?;
            let notifiers = status.programs.iter().filter(|program| program.role == "notifier");
            if notifiers.flat_map(|program| &program.lags).all(|lag| lag.records < 1_000.0) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the notifier does not catch up");
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Writes an e-mail's transaction every second.
struct Letters(#[expect(dead_code, reason = "it ends when it is dropped")] AbortOnDropHandle<()>);

impl Letters {
    fn start(kafka: &KafkaSettings) -> anyhow::Result<Self> {
        let producer = RecordProducer::new(kafka)?;
        let writing = async move {
            for number in 0.. {
                let value = json!({
                    "transaction_id": format!("letter-{number}"),
                    "message_body": "Transaction Successful",
                    "email": "anna@example.com",
                });
                // Brokers may be down.
                let _ = write(&producer, number, &value).await;
                sleep(Duration::from_secs(1)).await;
            }
        };
        Ok(Self(AbortOnDropHandle::new(tokio::spawn(writing))))
    }
}

async fn write(producer: &RecordProducer, number: usize, value: &Value) -> anyhow::Result<()> {
    let value = value.to_string();
    let partition = (number % 3) as i32;
    let record = NewRecord {
        topic: TRANSACTIONS,
        partition,
        key: None,
        value: value.as_bytes(),
        headers: &[],
        at: service::now(),
    };
    producer.send(&record).await?;
    Ok(())
}

/// Writes more transactions than may wait.
async fn flood(kafka: &KafkaSettings) -> anyhow::Result<()> {
    let producer = RecordProducer::new(kafka)?;
    let numbers: Vec<usize> = (0..MANY_RECORDS).collect();
    for some in numbers.chunks(1_000) {
        let written = some.iter().map(|number| {
            let value = json!({
                "transaction_id": format!("flood-{number}"),
                "message_body": "Transaction Successful",
                "phone": "+447700900123",
            });
            let producer = &producer;
            async move { write(producer, *number, &value).await }
        });
        try_join_all(written).await?;
    }
    Ok(())
}

/// Prints what the reports of all programs take, and what ten operators cost a gateway.
async fn costs(kafka: &KafkaSettings, gateway: &Part, address: &str, token: &str) -> anyhow::Result<()> {
    let before = reports(kafka).await?;
    let alone = cpu_seconds(gateway.pid())?;
    sleep(MEASURED_FOR).await;
    let alone = cpu_seconds(gateway.pid())? - alone;
    let after = reports(kafka).await?;
    let seconds = MEASURED_FOR.as_secs_f64();
    let programs: BTreeSet<&str> = after.iter().map(|(_, key, _)| key.as_str()).collect();
    let bytes: usize = after.iter().filter(|it| !before.contains(it)).map(|(_, _, bytes)| bytes).sum();
    println!("reports: {} programs, {:.0} bytes a second before compression", programs.len(), bytes as f64 / seconds);

    let auth = json!({ "token": token, "regions": [], "operator": true });
    let mut reading = Vec::new();
    for _ in 0..OPERATORS {
        let mut client = Client::connect(address, &auth).await.context("an operator")?;
        reading.push(AbortOnDropHandle::new(tokio::spawn(async move { while client.next().await.is_ok() {} })));
    }
    let watched = cpu_seconds(gateway.pid())?;
    sleep(MEASURED_FOR).await;
    let watched = cpu_seconds(gateway.pid())? - watched;
    if reading.iter().any(AbortOnDropHandle::is_finished) {
        bail!("an operator was disconnected");
    }
    let percent = |time: f64| 100.0 * time / seconds;
    println!(
        "{OPERATORS} operators: a gateway takes {:.2} % of a core, and {:.2} % without them",
        percent(watched),
        percent(alone)
    );
    Ok(())
}

/// The offset, the key and the size of each report that the topic has.
async fn reports(kafka: &KafkaSettings) -> anyhow::Result<BTreeSet<(i64, String, usize)>> {
    let kafka = kafka.clone();
    let read = move || {
        let mut all = BTreeSet::new();
        let mut topic = WholeTopic::open(&kafka, FLEET)?.context("there is no topic of reports")?;
        while let Some(record) = topic.next_record()? {
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            all.insert((record.offset, String::from_utf8(key.clone())?, key.len() + value.len()));
        }
        anyhow::Ok(all)
    };
    tokio::task::spawn_blocking(read).await?
}

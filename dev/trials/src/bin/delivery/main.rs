//! A trial of messages on real engines: three brokers, a store, a mail server and an SMS provider. Each of them fails in
//! turn, and then all at once, while transactions are produced. At the end, what arrived is compared with what was
//! accepted.

mod load;
mod mail;
mod proxy;
mod sms;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use accounts::{StoreUrl, UserId};
use anyhow::{bail, ensure};
use clap::Parser;
use futures::future::try_join_all;
use messages::{Channel, Content, Outbox, OutboxUrl, State, StoredMessage};
use service::ProgramSettings;
use tokio::time::sleep;
use trials::{Engine, Engines, MailEngine, Part, Parts, RECOVERS_WITHIN, TrialSettings, free_address, producing_token};

use self::{
    load::{Accepted, Load},
    mail::{MailFault, MailProxy, NOBODY, mail_proxy},
    sms::{ACCOUNT, SmsFault, SmsProxy, TOKEN, sms_proxy},
};

/// Transactions a second.
const PACE: u32 = 10;
/// After this, a notifier takes over what another one was sending.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(60);
/// How often a notifier is killed at a random moment.
const KILLS: u32 = 6;
/// How long a notifier that was killed stays down at most.
const DOWN_AT_MOST_MS: u64 = 2_000;
/// How many messages a notifier sends on a channel at the same time.
const AT_ONCE: usize = 16;
const ENDED_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug, Parser)]
#[command(name = "delivery", version)]
struct Settings {
    #[command(flatten)]
    trial: TrialSettings,

    /// How long each fault lasts, in seconds.
    #[arg(long, default_value_t = 6, value_name = "SECONDS")]
    hold: u64,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("delivery")?;
    trials::run(program, |_| async move { deliver(settings).await }).await
}

/// Everything that fails.
struct Stage {
    brokers: Vec<Engine>,
    store: Engine,
    mail: Arc<MailProxy>,
    sms: Arc<SmsProxy>,
    notifiers: [Part; 2],
    kills: usize,
    hold: Duration,
}

async fn deliver(settings: Settings) -> anyhow::Result<()> {
    let engines = Engines::read(&settings.trial.engines)?;
    let kafka = engines.kafka()?;
    let Engines { brokers, mongodb, mongodb_url, mail, .. } = engines;
    let MailEngine { server, smtp, api } = mail;
    let brokers = try_join_all(brokers.into_iter().map(Engine::start)).await?;
    let store = Engine::start(mongodb).await?;
    let _mail_server = Engine::start(server).await?;
    println!("three brokers, a store and a mail server are up");
    let parts = settings.trial.parts(&kafka);
    parts.topics().await?;

    let accounts = mongodb_url.parse::<StoreUrl>()?.open().await?;
    let outbox = mongodb_url.parse::<OutboxUrl>()?.open().await?;
    let (user, token) = producing_token(&*accounts).await?;
    let messaging = vec![
        format!("--outbox={mongodb_url}"),
        format!("--signing-key={}", settings.trial.logs.join("signing.key").display()),
        format!("--sms-token={TOKEN}"),
        "--public-origin=https://odds.example.com".to_owned(),
    ];
    let mut gateways = ["one", "two"]
        .map(|name| parts.gateway_with(name, &mongodb_url, messaging.clone()))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let provider = free_address()?;
    let simulator = vec![
        format!("--listen={provider}"),
        format!("--sms-account={ACCOUNT}"),
        format!("--sms-token={TOKEN}"),
        format!("--reports-to=http://{}", gateways[0].address),
        "--keep=1000000".to_owned(),
    ];
    let _provider = parts.sms_simulator(simulator)?;
    let (mail, sms) = (mail_proxy(smtp).await?, sms_proxy(&provider).await?);
    let notifier = |name: &str| notifier(&parts, name, &mongodb_url, &messaging, &mail, &sms);
    let notifiers = [notifier("one")?, notifier("two")?];
    for gateway in &mut gateways {
        gateway.is_ready().await?;
    }

    let addresses = gateways.iter().map(|gateway| gateway.address.clone()).collect();
    let hold = Duration::from_secs(settings.hold);
    // Longer than any fault.
    let load = Load::start(addresses, token, PACE, 10 * hold + RECOVERS_WITHIN);
    let mut stage = Stage { brokers, store, mail, sms, notifiers, kills: 0, hold };
    sleep(hold).await;
    stage.fail(&parts).await?;
    println!("{} transactions were accepted; no more faults", load.count());
    let accepted = load.stop().await?;
    let messages = ended(&*outbox, &user, &accepted).await?;
    for notifier in &mut stage.notifiers {
        notifier.lives()?;
    }
    compare(&stage, &accepted, &messages, &api, &provider).await
}

fn notifier(
    parts: &Parts,
    name: &str,
    store: &str,
    messaging: &[String],
    mail: &MailProxy,
    sms: &SmsProxy,
) -> anyhow::Result<Part> {
    let mut settings = messaging.to_vec();
    settings.extend([
        format!("--store={store}"),
        format!("--smtp=smtp://{}", mail.address),
        format!("--sms-url=http://{}", sms.address),
        format!("--sms-account={ACCOUNT}"),
        "--sms-sender=+447700900999".to_owned(),
        "--sms-per-day=1000000".to_owned(),
        format!("--take-over-after={}", TAKE_OVER_AFTER.as_secs()),
    ]);
    parts.program("notifier", name, settings)
}

impl Stage {
    /// Lets each part fail in turn, and then all at once.
    async fn fail(&mut self, parts: &Parts) -> anyhow::Result<()> {
        for fault in MailFault::ALL {
            self.mail.set(Some(fault));
            sleep(self.hold).await;
            self.mail.set(None);
            println!("mail server: {fault:?} for {} s", self.hold.as_secs());
        }
        for fault in SmsFault::ALL {
            self.sms.set(Some(fault));
            sleep(self.hold).await;
            self.sms.set(None);
            println!("SMS provider: {fault:?} for {} s", self.hold.as_secs());
        }
        for kill in 0..KILLS {
            let notifier = &mut self.notifiers[kill as usize % 2];
            notifier.kill()?;
            self.kills += 1;
            sleep(Duration::from_millis(rand::random_range(0..DOWN_AT_MOST_MS))).await;
            notifier.revive()?;
            sleep(Duration::from_millis(rand::random_range(0..DOWN_AT_MOST_MS))).await;
        }
        println!("notifiers: killed {KILLS} times");
        self.notifiers[0].signal("-STOP")?;
        sleep(TAKE_OVER_AFTER + self.hold).await;
        self.notifiers[0].signal("-CONT")?;
        println!("a notifier: suspended until the other one had taken over, and resumed");
        self.brokers_fail().await?;
        parts.in_sync().await?;
        println!("all brokers: killed, and back after {} s", self.hold.as_secs());
        self.store.signal("-STOP")?;
        sleep(self.hold).await;
        self.store.signal("-CONT")?;
        sleep(self.hold).await;
        self.store.end().await?;
        sleep(self.hold).await;
        self.store.revive().await?;
        println!("the store: suspended, and ended, for {} s each", self.hold.as_secs());
        sleep(self.hold).await;
        self.all_at_once(parts).await
    }

    async fn brokers_fail(&mut self) -> anyhow::Result<()> {
        for broker in &mut self.brokers {
            broker.kill()?;
        }
        sleep(self.hold).await;
        try_join_all(self.brokers.iter_mut().map(Engine::revive)).await.map(drop)
    }

    async fn all_at_once(&mut self, parts: &Parts) -> anyhow::Result<()> {
        self.mail.set(Some(MailFault::CutsAfterTheDot));
        self.sms.set(Some(SmsFault::LosesAnswers));
        let (lost, lost_sms) = (self.mail.lost(), self.sms.lost());
        let end = Instant::now() + RECOVERS_WITHIN;
        while self.mail.lost() == lost || self.sms.lost() == lost_sms {
            ensure!(Instant::now() < end, "no answer was lost");
            sleep(Duration::from_millis(10)).await;
        }
        for notifier in &mut self.notifiers {
            notifier.kill()?;
            self.kills += 1;
        }
        self.store.end().await?;
        self.brokers_fail().await?;
        for notifier in &mut self.notifiers {
            notifier.revive()?;
        }
        self.mail.set(Some(MailFault::Down));
        self.sms.set(Some(SmsFault::Down));
        self.store.revive().await?;
        sleep(self.hold).await;
        self.mail.set(None);
        self.sms.set(None);
        parts.in_sync().await?;
        println!("all of these at once");
        Ok(())
    }
}

/// Each message by the id of its transaction.
type Messages = BTreeMap<(Channel, String), StoredMessage>;

/// Waits until all that was accepted is in the outbox, and has come to an end.
async fn ended(outbox: &dyn Outbox, user: &UserId, accepted: &[Accepted]) -> anyhow::Result<Messages> {
    let began = Instant::now();
    loop {
        let messages = messages_of(outbox, user).await?;
        let is_open = |channel: Channel, id: &str| {
            messages.get(&(channel, id.to_owned())).is_none_or(|message| message.state.is_open())
        };
        let open = accepted.iter().filter(|it| {
            it.email.is_some() && is_open(Channel::Email, &it.id) || it.has_phone && is_open(Channel::Sms, &it.id)
        });
        let open: Vec<&str> = open.map(|it| it.id.as_str()).collect();
        if open.is_empty() {
            println!("all came to an end {} s after the last fault", began.elapsed().as_secs());
            return Ok(messages);
        }
        ensure!(began.elapsed() < ENDED_WITHIN, "{} are still open, such as {}", open.len(), open[0]);
        sleep(Duration::from_secs(1)).await;
    }
}

async fn messages_of(outbox: &dyn Outbox, user: &UserId) -> anyhow::Result<Messages> {
    let (mut all, mut before) = (Messages::new(), None);
    loop {
        let some = outbox.messages_of(user.as_str(), before, 1_000).await?;
        let Some(last) = some.last() else { return Ok(all) };
        before = Some(last.order);
        for message in some {
            let Content::Transaction { transaction_id, .. } = &message.message.content else { continue };
            let key = (message.message.channel, transaction_id.clone());
            ensure!(all.insert(key, message).is_none(), "a transaction became two messages");
        }
    }
}

/// Compares what arrived with what was accepted.
async fn compare(
    stage: &Stage,
    accepted: &[Accepted],
    messages: &Messages,
    mail_api: &str,
    provider: &str,
) -> anyhow::Result<()> {
    let mut emails = mail::received(mail_api).await?;
    let mut sms = sms::received(provider).await?;
    let (mut copies, mut arrived, mut arrived_sms, mut unknown) = (0, 0, 0, 0);
    for Accepted { id, email, has_phone } in accepted {
        let state = |channel| messages[&(channel, id.clone())].state;
        if let Some(email) = email {
            let (state, is_to_nobody) = (state(Channel::Email), email.starts_with(NOBODY));
            let received = emails.remove(&format!("Transaction Successful: {id}")).unwrap_or_default();
            let (expected, ids) = if is_to_nobody { (State::Failed, 0) } else { (State::Sent, 1) };
            ensure!(state == expected, "{id} to {email} is {state:?}");
            ensure!(received.len() == ids, "{id} to {email} arrived under these ids: {received:?}");
            arrived += ids;
            copies += received.values().sum::<usize>() - ids;
        }
        if *has_phone {
            let state = state(Channel::Sms);
            let received = sms.remove(&format!("Transaction Successful: {id}. 2 tickets")).unwrap_or_default();
            match state {
                State::Sent | State::Delivered => ensure!(received == 1, "{id}: the SMS arrived {received} times"),
                State::Unknown => {
                    ensure!(received <= 1, "{id}: the SMS arrived {received} times");
                    unknown += 1;
                }
                state => bail!("{id}: the SMS is {state:?}"),
            }
            arrived_sms += received;
        }
    }
    let others: Vec<&String> = emails.keys().chain(sms.keys()).collect();
    ensure!(others.is_empty(), "{} were not accepted, such as {}", others.len(), others[0]);
    let (lost, lost_sms) = (stage.mail.lost(), stage.sms.lost());
    println!(
        "e-mails: {arrived}, each under one Message-ID; {copies} second copies, after {lost} lost answers and \
         {} kills",
        stage.kills
    );
    println!("SMS: {arrived_sms}, none twice; {unknown} unknown, after {lost_sms} lost answers");
    let most = AT_ONCE * (stage.kills + 1);
    ensure!(copies <= lost + most, "more copies than lost answers and kills explain");
    ensure!(unknown <= lost_sms + most, "more SMS are unknown than lost answers and kills explain");
    ensure!(arrived > 0 && arrived_sms > 0 && lost > 0 && lost_sms > 0, "the faults did not meet any message");
    Ok(())
}

//! A notifier's settings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use accounts::StoreUrl;
use anyhow::Context;
use clap::Args;
use messages::{
    Channel, EmailFiles, EmailSender, Folder, Links, OutboxUrl, PhoneNumber, Provider, SigningKey, SmsAccount,
    SmsFiles, SmsProvider, SmtpProvider, SmtpUrl,
};
use service::Origin;

use crate::ChannelOf;

const SMS_AT_ONCE: usize = 16;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Notifier")]
pub struct NotifierSettings {
    /// Where messages are kept until they are sent, and for some time after: mongodb://…, or sqlite:FILE for a single
    /// machine. Necessary.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub outbox: Option<OutboxUrl>,

    /// Where accounts are kept, with the addresses to which alerts are sent: mongodb://… or sqlite:FILE, as for the
    /// gateway. Necessary.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub store: Option<StoreUrl>,

    /// The URL at which browsers open the page, as https://host, for links in messages. Of several, as for the gateway,
    /// the first. Necessary.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,

    /// The file with the key that signs links in messages. It is created if it is missing; gateways and notifiers must
    /// have the same one. Necessary.
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,

    #[command(flatten)]
    pub messages: MessageSettings,
}

/// What a notifier needs, and its commands don't.
pub struct Needed {
    pub outbox: OutboxUrl,
    pub store: StoreUrl,
    origin: Origin,
    key: PathBuf,
}

impl NotifierSettings {
    /// Fails with the first setting that is missing.
    pub fn needed(&self) -> Result<Needed, &'static str> {
        Ok(Needed {
            outbox: self.outbox.clone().ok_or("--outbox <URL>")?,
            store: self.store.clone().ok_or("--store <URL>")?,
            origin: self.public_origin.first().cloned().ok_or("--public-origin <ORIGIN>")?,
            key: self.signing_key.clone().ok_or("--signing-key <FILE>")?,
        })
    }
}

impl Needed {
    pub fn links(&self) -> anyhow::Result<Links> {
        let key = SigningKey::open(&self.key).with_context(|| format!("--signing-key {}", self.key.display()))?;
        Ok(Links::new(self.origin.as_str(), key))
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct MessageSettings {
    /// The channels by which messages are sent: email, sms.
    #[arg(long, value_name = "CHANNEL", value_delimiter = ',', default_values = ["email", "sms"])]
    pub channels: Vec<Channel>,

    /// The mail server: smtps://[USER:PASSWORD@]HOST[:PORT], smtp://…?tls=required for STARTTLS, or smtp://… without
    /// encryption. Without it, e-mails are written as files.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub smtp: Option<SmtpUrl>,

    /// How many e-mails are sent at the same time, each on a connection of its own. Mail servers often allow one client
    /// no more than fifty connections.
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub emails_at_once: u32,

    /// Who e-mails are from.
    #[arg(long, value_name = "ADDRESS", default_value = "Toteboard <toteboard@localhost>")]
    pub email_sender: EmailSender,

    /// The address of an SMS provider with an API like Twilio's, as https://api.twilio.com. Without it, SMS are written
    /// as files.
    #[arg(long, value_name = "URL", requires_all = ["sms_account", "sms_token", "sms_sender"])]
    pub sms_url: Option<String>,

    /// The account at the SMS provider.
    #[arg(long, value_name = "ACCOUNT")]
    pub sms_account: Option<String>,

    /// The account's secret token.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub sms_token: Option<String>,

    /// The number that SMS are from.
    #[arg(long, value_name = "NUMBER")]
    pub sms_sender: Option<PhoneNumber>,

    /// The folder for messages of channels without a provider. Default of the notifier: messages.
    #[arg(long, value_name = "DIR")]
    pub message_files: Option<PathBuf>,

    /// The time after which a message that could not be sent is given up, in hours.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
    pub deliver_within: u64,

    /// The same for an alert, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub deliver_alerts_within: u64,

    /// The most e-mails with alerts that one user gets in a day. A digest counts as one.
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    pub alert_emails_per_day: u32,

    /// The most SMS with alerts that one user gets in a day.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub alert_sms_per_day: u32,

    /// The most SMS that are sent in a day, to all. Days are those of UTC.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    pub sms_per_day: u32,

    /// The time after which another notifier takes over a message whose sending has not ended, in seconds. One attempt
    /// may take a fifth of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(60..=3_600))]
    pub take_over_after: u64,

    /// The time for which messages are kept after they were sent, in days. It must be longer than records stay in Kafka,
    /// so that none is sent again.
    #[arg(long, value_name = "DAYS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(31..=3_650))]
    pub keep_messages: u64,
}

impl MessageSettings {
    /// Opens the chosen channels. Without a setting, the files are in this folder.
    pub fn open(&self, default_files: &Path, links: &Links) -> anyhow::Result<Vec<ChannelOf>> {
        let mut channels = self.channels.clone();
        channels.sort_unstable();
        channels.dedup();
        let files = Folder::new(self.message_files.clone().unwrap_or_else(|| default_files.to_owned()));
        channels.into_iter().map(|channel| self.channel(channel, &files, links)).collect()
    }

    fn channel(&self, channel: Channel, files: &Folder, links: &Links) -> anyhow::Result<ChannelOf> {
        let (provider, at_once): (Arc<dyn Provider>, usize) = match channel {
            Channel::Email => (self.email(files, links), self.emails_at_once as usize),
            Channel::Sms => (self.sms(files, links)?, SMS_AT_ONCE),
        };
        let (alerts_a_day, most_a_day) = match channel {
            Channel::Email => (self.alert_emails_per_day, None),
            Channel::Sms => (self.alert_sms_per_day, Some(self.sms_per_day)),
        };
        Ok(ChannelOf {
            channel,
            provider,
            at_once,
            deliver_within: Duration::from_secs(3_600 * self.deliver_within),
            deliver_alerts_within: Duration::from_secs(60 * self.deliver_alerts_within),
            alerts_a_day,
            most_a_day,
            keep: Duration::from_secs(24 * 3_600 * self.keep_messages),
            lease: Duration::from_secs(self.take_over_after),
        })
    }

    fn email(&self, files: &Folder, links: &Links) -> Arc<dyn Provider> {
        let (sender, links) = (self.email_sender.clone(), links.clone());
        match &self.smtp {
            Some(url) => Arc::new(SmtpProvider::new(url, sender, links, self.emails_at_once)),
            None => Arc::new(EmailFiles::new(files.clone(), sender, links)),
        }
    }

    fn sms(&self, files: &Folder, links: &Links) -> anyhow::Result<Arc<dyn Provider>> {
        let (Some(url), Some(account), Some(token), Some(sender)) =
            (&self.sms_url, &self.sms_account, &self.sms_token, &self.sms_sender)
        else {
            return Ok(Arc::new(SmsFiles::new(files.clone(), links.clone())));
        };
        let account = SmsAccount {
            url: url.clone(),
            account: account.clone(),
            token: token.clone(),
            sender: sender.as_str().to_owned(),
        };
        Ok(Arc::new(SmsProvider::new(account, links.clone()).context("the SMS provider")?))
    }
}

//! A notifier's settings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use messages::{
    Channel, EmailFiles, EmailSender, Folder, OutboxUrl, PhoneNumber, Provider, SmsAccount, SmsFiles, SmsProvider,
    SmtpProvider, SmtpUrl,
};

use crate::ChannelOf;

/// How many connections to the mail server are open at most. As many e-mails are sent at the same time.
const SMTP_CONNECTIONS: u32 = 16;
const SMS_AT_ONCE: usize = 16;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Notifier")]
pub struct NotifierSettings {
    /// Where messages are kept until they are sent, and for some time after: mongodb://…, or sqlite:FILE for a single
    /// machine.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub outbox: OutboxUrl,

    #[command(flatten)]
    pub messages: MessageSettings,
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

    /// The time for which messages are kept after they were sent, in days. It must be longer than records stay in Kafka,
    /// so that none is sent again.
    #[arg(long, value_name = "DAYS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(31..=3_650))]
    pub keep_messages: u64,
}

impl MessageSettings {
    /// Opens the chosen channels. Without a setting, the files are in this folder.
    pub fn open(&self, default_files: &Path) -> anyhow::Result<Vec<ChannelOf>> {
        let mut channels = self.channels.clone();
        channels.sort_unstable();
        channels.dedup();
        let files = Folder::new(self.message_files.clone().unwrap_or_else(|| default_files.to_owned()));
        channels.into_iter().map(|channel| self.channel(channel, &files)).collect()
    }

    fn channel(&self, channel: Channel, files: &Folder) -> anyhow::Result<ChannelOf> {
        let (provider, at_once): (Arc<dyn Provider>, usize) = match channel {
            Channel::Email => (self.email(files), SMTP_CONNECTIONS as usize),
            Channel::Sms => (self.sms(files)?, SMS_AT_ONCE),
        };
        Ok(ChannelOf {
            channel,
            provider,
            at_once,
            deliver_within: Duration::from_secs(3_600 * self.deliver_within),
            keep: Duration::from_secs(24 * 3_600 * self.keep_messages),
        })
    }

    fn email(&self, files: &Folder) -> Arc<dyn Provider> {
        match &self.smtp {
            Some(url) => Arc::new(SmtpProvider::new(url, self.email_sender.clone(), SMTP_CONNECTIONS)),
            None => Arc::new(EmailFiles::new(files.clone(), self.email_sender.clone())),
        }
    }

    fn sms(&self, files: &Folder) -> anyhow::Result<Arc<dyn Provider>> {
        let (Some(url), Some(account), Some(token), Some(sender)) =
            (&self.sms_url, &self.sms_account, &self.sms_token, &self.sms_sender)
        else {
            return Ok(Arc::new(SmsFiles::new(files.clone())));
        };
        let account = SmsAccount {
            url: url.clone(),
            account: account.clone(),
            token: token.clone(),
            sender: sender.as_str().to_owned(),
        };
        Ok(Arc::new(SmsProvider::new(account).context("the SMS provider")?))
    }
}

//! A real mail server behind a proxy that misbehaves.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use anyhow::Context;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::proxy::Proxy;

/// Recipients whose addresses begin with this don't exist.
pub const NOBODY: &str = "nobody";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailFault {
    /// No connection is accepted, and those that there are end.
    Down,
    /// No recipient is accepted for now.
    Refuses,
    /// Nothing is answered.
    Silent,
    /// The e-mail is accepted, and half of that answer arrives.
    HalfAnswers,
    /// The e-mail is accepted, and the connection ends before the answer.
    CutsAfterTheDot,
}

impl MailFault {
    pub const ALL: [Self; 5] = [Self::Down, Self::Refuses, Self::Silent, Self::HalfAnswers, Self::CutsAfterTheDot];
}

pub type MailProxy = Proxy<MailFault>;

/// Starts a proxy in front of this server.
pub async fn mail_proxy(server: SocketAddr) -> anyhow::Result<Arc<MailProxy>> {
    Proxy::start(MailFault::Down, move |proxy, client| relay(proxy, client, server)).await
}

async fn relay(proxy: Arc<MailProxy>, client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(server).await?);
    client.write_all(&answer(&mut server).await?).await?;
    loop {
        let mut line = Vec::new();
        if client.read_until(b'\n', &mut line).await? == 0 || proxy.fault() == Some(MailFault::Down) {
            return Ok(());
        }
        if proxy.fault() == Some(MailFault::Silent) {
            proxy.while_it_is(MailFault::Silent).await;
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(recipient) = command.strip_prefix("rcpt to:<") {
            if proxy.fault() == Some(MailFault::Refuses) {
                client.write_all(b"451 4.3.0 try again later\r\n").await?;
                continue;
            }
            if recipient.starts_with(NOBODY) {
                client.write_all(b"550 5.1.1 no such user\r\n").await?;
                continue;
            }
        }
        server.write_all(&line).await?;
        let said = answer(&mut server).await?;
        client.write_all(&said).await?;
        if !command.starts_with("data") || !said.starts_with(b"354") {
            continue;
        }
        let mut email = Vec::new();
        while !email.ends_with(b"\r\n.\r\n") {
            if client.read_until(b'\n', &mut email).await? == 0 {
                return Ok(());
            }
        }
        server.write_all(&email).await?;
        let accepted = answer(&mut server).await?;
        match proxy.fault() {
            Some(MailFault::HalfAnswers) => {
                proxy.lose();
                return client.write_all(&accepted[..2]).await;
            }
            Some(MailFault::CutsAfterTheDot) => {
                proxy.lose();
                return Ok(());
            }
            _ => client.write_all(&accepted).await?,
        }
    }
}

/// The lines of one answer.
async fn answer(server: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    loop {
        let begin = answer.len();
        if server.read_until(b'\n', &mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // All lines but the last have a hyphen behind the code.
        if answer.get(begin + 3) != Some(&b'-') {
            return Ok(answer);
        }
    }
}

#[derive(Deserialize)]
struct Mailbox {
    login: String,
}

#[derive(Deserialize)]
struct Received {
    #[serde(rename = "Message-ID")]
    id: String,
    subject: String,
}

/// What arrived at the mail server: for each subject, how many copies there are of each Message-ID.
pub async fn received(api: &str) -> anyhow::Result<BTreeMap<String, BTreeMap<String, usize>>> {
    let mut all: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mailboxes: Vec<Mailbox> = get(&format!("{api}/api/user")).await?;
    for Mailbox { login } in mailboxes {
        let emails: Vec<Received> = get(&format!("{api}/api/user/{login}/messages/INBOX")).await?;
        for Received { id, subject } in emails {
            *all.entry(subject).or_default().entry(id).or_default() += 1;
        }
    }
    Ok(all)
}

async fn get<T: for<'a> Deserialize<'a>>(url: &str) -> anyhow::Result<T> {
    let text = reqwest::get(url).await?.error_for_status()?.text().await?;
    serde_json::from_str(&text).with_context(|| url.to_owned())
}

//! An SMS provider behind a proxy that misbehaves.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use anyhow::Context;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

use crate::proxy::Proxy;

pub const ACCOUNT: &str = "AC-trial";
pub const TOKEN: &str = "the provider's secret";
/// How long a slow provider takes.
const SLOW: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmsFault {
    /// No connection is accepted.
    Down,
    Answers(u16),
    Slow,
    /// The message is accepted, and the connection ends before the answer.
    LosesAnswers,
}

impl SmsFault {
    pub const ALL: [Self; 5] = [Self::Down, Self::Answers(429), Self::Answers(500), Self::Slow, Self::LosesAnswers];
}

pub type SmsProxy = Proxy<SmsFault>;

/// Starts a proxy in front of this provider.
pub async fn sms_proxy(provider: &str) -> anyhow::Result<Arc<SmsProxy>> {
    let provider = provider.to_owned();
    Proxy::start(SmsFault::Down, move |proxy, client| relay(proxy, client, provider.clone())).await
}

/// Relays one request.
async fn relay(proxy: Arc<SmsProxy>, client: TcpStream, provider: String) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let request = request(&mut client).await?;
    match proxy.fault() {
        Some(SmsFault::Answers(status)) => {
            let answer = format!("HTTP/1.1 {status} no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return client.write_all(answer.as_bytes()).await;
        }
        Some(SmsFault::Slow) => sleep(SLOW).await,
        _ => {}
    }
    let mut provider = TcpStream::connect(provider).await?;
    provider.write_all(&request).await?;
    let mut answer = Vec::new();
    provider.read_to_end(&mut answer).await?;
    if proxy.fault() == Some(SmsFault::LosesAnswers) {
        proxy.lose();
        return Ok(());
    }
    client.write_all(&answer).await
}

/// Reads a request, and asks for the connection to be closed after it.
async fn request(client: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let begin = head.len();
        if client.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((name, value)) = head[begin..].split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
    }
    let mut request = head.replacen("\r\n", "\r\nconnection: close\r\n", 1).into_bytes();
    let begin = request.len();
    request.resize(begin + length, 0);
    client.read_exact(&mut request[begin..]).await?;
    Ok(request)
}

#[derive(Deserialize)]
struct Listed {
    messages: Vec<Sms>,
}

#[derive(Deserialize)]
struct Sms {
    body: String,
}

/// What arrived at the provider: how often each text did.
pub async fn received(provider: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let url = format!("http://{provider}/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    let list = reqwest::Client::new().get(&url).basic_auth(ACCOUNT, Some(TOKEN)).send().await?.error_for_status()?;
    let listed: Listed = serde_json::from_str(&list.text().await?).with_context(|| url)?;
    let mut all = BTreeMap::new();
    for Sms { body } in listed.messages {
        *all.entry(body).or_default() += 1;
    }
    Ok(all)
}

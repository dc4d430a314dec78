//! A client of the gateway over one websocket: what it needs of Engine.IO 4 and Socket.IO 5, and no
//! more. It answers pings and hands over events; what they mean is [`odds::Live`]'s to know.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use odds::event_of;
use serde_json::Value;
use tokio::{
    io::{self, AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message, http::Uri},
};

/// How long the gateway may take to let a client in.
const WELCOME_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What the gateway says: `<code>: <text>`.
    #[error("turned away: {0}")]
    Refused(String),
    #[error("the connection ended")]
    Ended,
    #[error("not what Socket.IO says: {0}")]
    Unexpected(String),
    #[error(transparent)]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn not_said(error: impl std::fmt::Display) -> ClientError {
    ClientError::Unexpected(error.to_string())
}

/// What comes from the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Event {
        name: String,
        payload: String,
    },
    /// The answer to the request of this number.
    Answer {
        number: u64,
        answer: Value,
    },
}

#[derive(Debug)]
pub struct Client<S = TcpStream> {
    socket: WebSocketStream<S>,
    requests: u64,
}

impl Client {
    /// Connects to a gateway at `host:port`, with what it is to know in `auth`.
    pub async fn connect(address: &str, auth: &Value) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::connect_over(stream, address, auth).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// The same over a connection of your own making.
    pub async fn connect_over(stream: S, host: &str, auth: &Value) -> Result<Self, ClientError> {
        Self::connect_with(stream, host, &[], auth).await
    }

    /// The same with headers: a proxy may want some.
    pub async fn connect_with(
        stream: S,
        host: &str,
        headers: &[(&str, &str)],
        auth: &Value,
    ) -> Result<Self, ClientError> {
        let url: Uri = format!("ws://{host}/socket.io/?EIO=4&transport=websocket").parse().map_err(not_said)?;
        let mut request = ClientRequestBuilder::new(url);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let (socket, _) = client_async(request, stream).await.map_err(Box::new)?;
        let mut this = Self { socket, requests: 0 };
        let welcome = async {
            let open = this.packet().await?;
            if !open.starts_with('0') {
                return Err(ClientError::Unexpected(open));
            }
            this.send(format!("40{auth}")).await?;
            loop {
                let packet = this.packet().await?;
                if let Some(refusal) = packet.strip_prefix("44") {
                    let message = serde_json::from_str::<Value>(refusal).unwrap_or_default();
                    return Err(ClientError::Refused(message["message"].as_str().unwrap_or(refusal).to_owned()));
                }
                if packet.starts_with("40") {
                    return Ok(());
                }
            }
        };
        timeout(WELCOME_WITHIN, welcome).await.map_err(|_| ClientError::Ended)??;
        Ok(this)
    }

    /// The next thing that the gateway says.
    pub async fn next(&mut self) -> Result<Said, ClientError> {
        loop {
            let packet = self.packet().await?;
            if let Some(event) = packet.strip_prefix("42") {
                let (name, payload) = event_of(event).ok_or_else(|| ClientError::Unexpected(packet.clone()))?;
                return Ok(Said::Event { name, payload });
            }
            if let Some(answer) = packet.strip_prefix("43") {
                let digits = answer.find(|c: char| !c.is_ascii_digit()).unwrap_or(answer.len());
                let unexpected = || ClientError::Unexpected(packet.clone());
                let number = answer[..digits].parse().map_err(|_| unexpected())?;
                let answer: Value = serde_json::from_str(&answer[digits..]).map_err(|_| unexpected())?;
                return Ok(Said::Answer { number, answer: answer[0].clone() });
            }
            if packet.starts_with("41") {
                return Err(ClientError::Ended);
            }
        }
    }

    /// Sends an event. Gives the number that its answer will have.
    pub async fn ask(&mut self, event: &str, data: &Value) -> Result<u64, ClientError> {
        self.requests += 1;
        let packet = format!("42{}{}", self.requests, serde_json::json!([event, data]));
        self.send(packet).await?;
        Ok(self.requests)
    }

    async fn packet(&mut self) -> Result<String, ClientError> {
        loop {
            match self.socket.next().await {
                None | Some(Ok(Message::Close(_))) => return Err(ClientError::Ended),
                Some(Err(error)) => return Err(Box::new(error).into()),
                // Engine.IO's ping; its answer.
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3".into()).await?,
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(_)) => {}
            }
        }
    }

    async fn send(&mut self, packet: String) -> Result<(), ClientError> {
        Ok(self.socket.send(Message::text(packet)).await.map_err(Box::new)?)
    }
}

//! The protocol over one websocket with tokio.

use std::{borrow::BorrowMut, time::Duration};

use futures::{SinkExt, StreamExt};
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

use crate::{Heard, Protocol};

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

/// One connection that was let in. Its protocol is its own, or lent by who connects again.
#[derive(Debug)]
pub struct Client<S = TcpStream, P = Protocol> {
    socket: WebSocketStream<S>,
    protocol: P,
}

impl Client {
    /// Connects to a gateway at `host:port`, with what it is to know in `auth`.
    pub async fn connect(address: &str, auth: &Value) -> Result<Self, ClientError> {
        let stream = tcp(address).await?;
        Self::connect_over(stream, address, auth).await
    }
}

impl<'a> Client<TcpStream, &'a mut Protocol> {
    /// The same for a program that connects again when the connection ends: the protocol then knows
    /// whether and when ([`Protocol::wait`]).
    pub async fn connect_lasting(address: &str, auth: &Value, protocol: &'a mut Protocol) -> Result<Self, ClientError> {
        let stream = tcp(address).await?;
        Self::open(stream, address, &[], auth, protocol).await
    }
}

async fn tcp(address: &str) -> Result<TcpStream, ClientError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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
        Self::open(stream, host, headers, auth, Protocol::default()).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, P: BorrowMut<Protocol>> Client<S, P> {
    async fn open(
        stream: S,
        host: &str,
        headers: &[(&str, &str)],
        auth: &Value,
        protocol: P,
    ) -> Result<Self, ClientError> {
        let url: Uri = format!("ws://{host}/socket.io/?EIO=4&transport=websocket").parse().map_err(not_said)?;
        let mut request = ClientRequestBuilder::new(url);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let (socket, _) = client_async(request, stream).await.map_err(Box::new)?;
        let mut this = Self { socket, protocol };
        let welcome = async {
            match this.heard(auth).await? {
                Heard::Welcome => Ok(()),
                Heard::Refused { reason, .. } => Err(ClientError::Refused(reason)),
                other => Err(ClientError::Unexpected(format!("{other:?}"))),
            }
        };
        timeout(WELCOME_WITHIN, welcome).await.map_err(|_| ClientError::Ended)??;
        Ok(this)
    }

    /// The next thing that the gateway says.
    pub async fn next(&mut self) -> Result<Said, ClientError> {
        match self.heard(&Value::Null).await? {
            Heard::Event { name, payload } => Ok(Said::Event { name, payload }),
            Heard::Answer { number, answer } => {
                Ok(Said::Answer { number, answer: serde_json::from_str(&answer).map_err(not_said)? })
            }
            Heard::Refused { reason, .. } => Err(ClientError::Refused(reason)),
            other => Err(ClientError::Unexpected(format!("{other:?}"))),
        }
    }

    /// Sends an event. Gives the number that its answer will have.
    pub async fn ask(&mut self, event: &str, data: &Value) -> Result<u64, ClientError> {
        let (number, packet) = self.protocol.borrow_mut().ask(event, data);
        self.send(packet).await?;
        Ok(number)
    }

    /// What packets mean, once what they want is sent.
    async fn heard(&mut self, auth: &Value) -> Result<Heard, ClientError> {
        loop {
            let text = match self.socket.next().await {
                None | Some(Ok(Message::Close(_))) => return Err(ClientError::Ended),
                Some(Err(error)) => return Err(Box::new(error).into()),
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(_)) => continue,
            };
            match self.protocol.borrow_mut().hear(&text, || auth.to_string()) {
                Heard::Wants(packet) => self.send(packet).await?,
                Heard::Over => return Err(ClientError::Ended),
                Heard::Nothing => return Err(ClientError::Unexpected(text.to_string())),
                heard => return Ok(heard),
            }
        }
    }

    async fn send(&mut self, packet: String) -> Result<(), ClientError> {
        Ok(self.socket.send(Message::text(packet)).await.map_err(Box::new)?)
    }
}

//! The protocol over a websocket, with tokio.

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

use crate::{Protocol, ProtocolEvent};

/// How long the gateway may take to accept a client.
const WELCOME_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The gateway refused the client, with the reason `<code>: <text>`.
    #[error("the gateway refused the connection: {0}")]
    Refused(String),
    #[error("the connection ended")]
    Ended,
    #[error("unexpected data: {0}")]
    Unexpected(String),
    #[error(transparent)]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn unexpected(error: impl std::fmt::Display) -> ClientError {
    ClientError::Unexpected(error.to_string())
}

/// An event or an answer from the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
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

/// One accepted connection. It owns its [`Protocol`], or borrows it from a program that reconnects.
#[derive(Debug)]
pub struct Client<S = TcpStream, P = Protocol> {
    socket: WebSocketStream<S>,
    protocol: P,
}

impl Client {
    /// Connects to a gateway at `host:port` and sends `auth`. Fails if the gateway refuses, or doesn't answer in time.
    pub async fn connect(address: &str, auth: &Value) -> Result<Self, ClientError> {
        let stream = tcp(address).await?;
        Self::connect_over(stream, address, auth).await
    }
}

impl<'a> Client<TcpStream, &'a mut Protocol> {
    /// Connects for a program that reconnects when the connection ends: the protocol then knows whether and when
    /// ([`Protocol::wait`]).
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
    /// Connects over a given stream.
    pub async fn connect_over(stream: S, host: &str, auth: &Value) -> Result<Self, ClientError> {
        Self::connect_with(stream, host, &[], auth).await
    }

    /// Connects over a given stream, with HTTP headers that a proxy may require.
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
        let url: Uri = format!("ws://{host}/socket.io/?EIO=4&transport=websocket").parse().map_err(unexpected)?;
        let mut request = ClientRequestBuilder::new(url);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let (socket, _) = client_async(request, stream).await.map_err(Box::new)?;
        let mut this = Self { socket, protocol };
        let welcome = async {
            match this.receive(auth).await? {
                ProtocolEvent::Welcome => Ok(()),
                ProtocolEvent::Refused { reason, .. } => Err(ClientError::Refused(reason)),
                other => Err(ClientError::Unexpected(format!("{other:?}"))),
            }
        };
        timeout(WELCOME_WITHIN, welcome).await.map_err(|_| ClientError::Ended)??;
        Ok(this)
    }

    /// Waits for the next event or answer. Fails when the connection ends.
    pub async fn next(&mut self) -> Result<ServerMessage, ClientError> {
        match self.receive(&Value::Null).await? {
            ProtocolEvent::Event { name, payload } => Ok(ServerMessage::Event { name, payload }),
            ProtocolEvent::Answer { number, answer } => {
                Ok(ServerMessage::Answer { number, answer: serde_json::from_str(&answer).map_err(unexpected)? })
            }
            ProtocolEvent::Refused { reason, .. } => Err(ClientError::Refused(reason)),
            other => Err(ClientError::Unexpected(format!("{other:?}"))),
        }
    }

    /// Sends an event. Returns the number that its answer will have.
    pub async fn ask(&mut self, event: &str, data: &Value) -> Result<u64, ClientError> {
        let (number, packet) = self.protocol.borrow_mut().ask(event, data);
        self.send(packet).await?;
        Ok(number)
    }

    /// Waits for the next packet that means something to the caller, and sends the replies that others require.
    async fn receive(&mut self, auth: &Value) -> Result<ProtocolEvent, ClientError> {
        loop {
            let text = match self.socket.next().await {
                None | Some(Ok(Message::Close(_))) => return Err(ClientError::Ended),
                Some(Err(error)) => return Err(Box::new(error).into()),
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(_)) => continue,
            };
            match self.protocol.borrow_mut().receive(&text, || auth.to_string()) {
                ProtocolEvent::Reply(packet) => self.send(packet).await?,
                ProtocolEvent::Over => return Err(ClientError::Ended),
                ProtocolEvent::Nothing => return Err(ClientError::Unexpected(text.to_string())),
                received => return Ok(received),
            }
        }
    }

    async fn send(&mut self, packet: String) -> Result<(), ClientError> {
        Ok(self.socket.send(Message::text(packet)).await.map_err(Box::new)?)
    }
}

//! The kinds of peers: how many connect, and how long the gateway may let one live.

use std::time::Duration;

use clap::ValueEnum;

/// What a peer does to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Signs in, follows no region and answers pings: the baseline.
    Harmless,
    /// Connects and sends nothing.
    Silent,
    /// Sends the head of a request at one byte per second.
    SlowHead,
    /// Sends a request head of almost the maximum size, without its end.
    LargeHead,
    /// Posts to a session without sending the whole body.
    NoBody,
    /// Opens sessions by long polling without signing in.
    Handshakes,
    /// Opens a websocket without signing in.
    NoSignIn,
    /// Sends fragments of a websocket message without a last one.
    Fragments,
    /// Requests a document many times without reading the responses.
    Unread,
    /// Signs in with a wrong password.
    Passwords,
    /// Opens a websocket and signs in with a wrong token.
    Tokens,
    /// Signs in, follows a region, requests its board many times and reads nothing.
    Askers,
}

impl Kind {
    /// Returns how many peers connect from one address. As many more connect from different addresses.
    pub fn count(self) -> usize {
        match self {
            // Each costs the gateway a password hash, so a few are enough.
            Self::Passwords => 200,
            _ => 10_000,
        }
    }

    /// Returns how long one may stay connected; `None` for harmless peers.
    pub fn limit(self) -> Option<Duration> {
        let seconds = match self {
            Self::Harmless => return None,
            Self::Silent | Self::SlowHead | Self::LargeHead | Self::NoSignIn | Self::Fragments | Self::Tokens => 10,
            // The session's ten seconds. The time of the body or poll, which starts later, is as long.
            Self::NoBody | Self::Handshakes => 10,
            // A response is abandoned after 20 seconds; this is checked every five.
            Self::Unread => 25,
            // The time limit of a response.
            Self::Passwords => 30,
            // The ping interval and timeout.
            Self::Askers => 45,
        };
        Some(Duration::from_secs(seconds))
    }

    /// Returns whether the peer reads nothing, and so notices only after the limit that the connection was closed.
    pub fn looks_late(self) -> bool {
        matches!(self, Self::Unread | Self::Askers)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::Silent => "send nothing",
            Self::SlowHead => "a head, a byte a second",
            Self::LargeHead => "a large head without end",
            Self::NoBody => "a body that never comes",
            Self::Handshakes => "handshakes without CONNECT",
            Self::NoSignIn => "websockets that don't sign in",
            Self::Fragments => "messages in parts without end",
            Self::Unread => "answers that nobody reads",
            Self::Passwords => "wrong passwords",
            Self::Tokens => "wrong tokens",
            Self::Askers => "signed in, ask and don't read",
        }
    }
}

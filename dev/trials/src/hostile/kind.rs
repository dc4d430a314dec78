//! The kinds of peers: how many there are, and how long the gateway may bear one.

use std::time::Duration;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Signed in, follows no region, answers pings: what the others are compared with.
    Harmless,
    /// Connects and sends nothing.
    Silent,
    /// Sends the head of a request, a byte a second.
    SlowHead,
    /// Sends as much of a head as is taken, and no end.
    LargeHead,
    /// Posts to a session, and the body never comes.
    NoBody,
    /// Begins sessions by polling and signs in to none.
    Handshakes,
    /// Opens a websocket and doesn't sign in.
    NoSignIn,
    /// Sends parts of a message that has no end.
    Fragments,
    /// Asks for a document again and again, and reads no answer.
    Unread,
    /// Signs in with wrong passwords.
    Passwords,
    /// Opens a websocket and gives a wrong token.
    Tokens,
    /// Is signed in, follows a region, asks for its board again and again, and reads nothing.
    Askers,
}

impl Kind {
    /// From one address; and as many more, each from an address of its own.
    pub fn count(self) -> usize {
        match self {
            // Each costs a password's hash, so few are enough.
            Self::Passwords => 200,
            _ => 10_000,
        }
    }

    /// How long one may live, from when it is connected. Nothing ends who is harmless.
    pub fn limit(self) -> Option<Duration> {
        let seconds = match self {
            Self::Harmless => return None,
            Self::Silent | Self::SlowHead | Self::LargeHead | Self::NoSignIn | Self::Fragments | Self::Tokens => 10,
            // Its session's ten seconds, and those of the body or poll that begin after it.
            Self::NoBody | Self::Handshakes => 10,
            // A response is given up after 20 seconds, which is looked at every five.
            Self::Unread => 25,
            // As long as any answer may take.
            Self::Passwords => 30,
            // A ping's interval and timeout.
            Self::Askers => 45,
        };
        Some(Duration::from_secs(seconds))
    }

    /// Reads nothing, and so sees only after the limit whether it was cut before.
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

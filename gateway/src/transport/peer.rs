//! The peer of a connection.

use std::{net::IpAddr, sync::Weak};

use http::Extensions;

use super::connection::Connection;

/// The client that sent a request. The listener adds it to every request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Weak, since a session keeps the head of its first request longer than the connection.
    pub(crate) connection: Weak<Connection>,
}

impl Peer {
    /// The peer of the request that has these extensions.
    pub(crate) fn of(extensions: &Extensions) -> &Self {
        extensions.get().expect("the listener adds the peer")
    }
}

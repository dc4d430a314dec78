//! Who is at the other end of a connection.

use std::{net::IpAddr, sync::Weak};

use super::connection::Connection;

/// Who is at the other end: an extension of every request.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Gone when the connection is, however long the request's head is kept.
    pub(crate) connection: Weak<Connection>,
}

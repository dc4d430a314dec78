//! The audit log: who did what to which account, from where, and what was refused. It never contains a password, a
//! token, a session's id, or an unknown user name, which may be a password typed into the wrong field.

use std::{fmt, net::IpAddr};

use tracing::{info, warn};

use crate::user::UserId;

/// The target of the audit log's lines, by which they can be filtered.
pub(crate) const TARGET: &str = "audit";

/// The client behind a request: its address and user agent.
#[derive(Clone, Debug)]
pub struct Requester {
    pub address: IpAddr,
    pub agent: String,
}

/// Logs an action on an account. `about` names its object if there may be several: a token's id, for example.
pub(crate) fn done(event: &'static str, user: &UserId, requester: &Requester, about: &dyn fmt::Display) {
    info!(target: TARGET, event, %user, address = %requester.address, about = %about, agent = requester.agent);
}

/// Logs a refusal. `user` is the account that was to be used, if it exists.
pub(crate) fn refused(event: &'static str, user: Option<&UserId>, address: IpAddr, reason: &dyn fmt::Display) {
    let user = user.map_or("unknown", UserId::as_str);
    warn!(target: TARGET, event, user, %address, reason = %reason);
}

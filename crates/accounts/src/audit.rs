//! The audit log: who did what to which account, from where, and what was refused. It never has a password, a
//! token, a session's id, or a name that was typed and belongs to nobody: that may be a password in the wrong field.

use std::{fmt, net::IpAddr};

use tracing::{info, warn};

use crate::user::UserId;

/// All of it is logged under this target, so that it can be kept apart.
const TARGET: &str = "audit";

/// Who asks for something: the address, and the program as it calls itself.
#[derive(Clone, Debug)]
pub struct Requester {
    pub address: IpAddr,
    pub agent: String,
}

/// Something was done to an account. `about` names what, if there may be several: a token's id, for example.
pub(crate) fn done(event: &'static str, user: &UserId, requester: &Requester, about: &dyn fmt::Display) {
    info!(target: TARGET, event, %user, address = %requester.address, about = %about, agent = requester.agent);
}

/// Something was refused. `user` is whom it would have concerned, if there is such an account.
pub(crate) fn refused(event: &'static str, user: Option<&UserId>, address: IpAddr, reason: &dyn fmt::Display) {
    let user = user.map_or("unknown", UserId::as_str);
    warn!(target: TARGET, event, user, %address, reason = %reason);
}

/// An operator did something from the command line.
pub(crate) fn by_operator(event: &'static str, user: &UserId) {
    info!(target: TARGET, event, %user, by = "operator");
}

//! Limits on connected clients: in total, per network and per user.

use std::{net::IpAddr, sync::Arc, time::Instant};

use accounts::{UserId, network};

use super::app_state::AppState;
use crate::transport::one_less;

/// Why a client gets no slot.
pub(super) enum NoSlot {
    TooManyAttempts,
    TooManyConnections(&'static str),
}

/// A client's slot, from admission until its socket ends.
pub(super) struct ConnectionSlot {
    app: Arc<AppState>,
    address: IpAddr,
    user: Option<UserId>,
}

impl ConnectionSlot {
    pub(super) fn take(app: &Arc<AppState>, address: IpAddr) -> Result<Self, NoSlot> {
        let address = network(address);
        let mut clients = app.clients();
        if clients.admitted >= app.limits.connections {
            return Err(NoSlot::TooManyConnections("this gateway is full"));
        }
        let same = clients.by_address.entry(address).or_default();
        if *same >= app.limits.per_address {
            return Err(NoSlot::TooManyConnections("too many from this address"));
        }
        *same += 1;
        clients.admitted += 1;
        Ok(Self { app: app.clone(), address, user: None })
    }

    /// Counts the slot for its user, who is known only after authentication.
    pub(super) fn is_of(&mut self, user: &UserId) -> Result<(), NoSlot> {
        if self.app.sent_away.is_spent(user, Instant::now()) {
            return Err(NoSlot::TooManyAttempts);
        }
        let mut clients = self.app.clients();
        let same = clients.by_user.entry(user.clone()).or_default();
        if *same >= self.app.limits.per_user {
            return Err(NoSlot::TooManyConnections("too many of this user"));
        }
        *same += 1;
        self.user = Some(user.clone());
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut clients = self.app.clients();
        clients.admitted -= 1;
        one_less(&mut clients.by_address, &self.address);
        if let Some(user) = &self.user {
            one_less(&mut clients.by_user, user);
        }
    }
}

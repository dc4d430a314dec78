//! Applies account changes to connected clients: changes made here, changes made at other gateways, and changes whose
//! `control` message was lost.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use accounts::{Changed, Identity, User, UserId};
use kafka::{ControlMessage, TopicFollower};
use socketioxide::socket::Sid;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::app_state::AppState;
use crate::client::{Bye, Client, ClientRequest, RETRY_AFTER_MS, Subscription};

/// How many clients are compared with the store in one query.
const LOOKED_UP_AT_ONCE: usize = 500;
/// How often expired sessions are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

impl AppState {
    /// Applies an account's settings to a client, unless the client already has this revision or a later one.
    pub(super) async fn follow(&self, client: &Arc<Client>, subscription: &mut Subscription, user: User) {
        if client.revision.fetch_max(user.revision, Ordering::AcqRel) >= user.revision {
            return;
        }
        if !subscription.own && subscription.regions != user.regions {
            self.set_regions(client, subscription, user.regions).await;
        }
    }

    /// Makes the account's clients, here and at other gateways, check the store again after a change.
    pub(crate) fn account_changed(self: &Arc<Self>, changed: Changed) {
        self.recheck(&changed.user, changed.revision);
        let control = self.control.clone();
        tokio::spawn(async move {
            let message = ControlMessage::User { user: changed.user.as_str().to_owned(), revision: changed.revision };
            if let Err(error) = control.send(&message).await {
                warn!(%error, user = %changed.user, "a change can't be sent to other gateways: they will look it up");
            }
        });
    }

    /// Makes alerters read this user's rules again.
    pub(crate) fn rules_changed(&self, user: &UserId) {
        let (control, user) = (self.control.clone(), user.as_str().to_owned());
        tokio::spawn(async move {
            if let Err(error) = control.send(&ControlMessage::Rules { user }).await {
                warn!(%error, "a changed rule can't be announced: alerters will look it up");
            }
        });
    }

    /// Disconnects the client with this socket, if it is here.
    fn disconnect(&self, socket: &str) {
        let client = socket.parse().ok().and_then(|sid: Sid| self.clients().connected.get(&sid).cloned());
        if let Some(client) = client {
            client.end(Bye {
                code: "disconnected",
                message: "this connection was ended; connect again",
                retry_after_ms: Some(RETRY_AFTER_MS),
            });
        }
    }

    /// All clients that are connected.
    pub(crate) fn all_clients(&self) -> Vec<Arc<Client>> {
        self.clients().connected.values().cloned().collect()
    }

    /// Makes this user's clients check the store again, if they don't have this revision yet.
    pub(super) fn recheck(self: &Arc<Self>, user: &UserId, revision: u64) {
        let clients: Vec<Arc<Client>> = {
            let clients = self.clients();
            let sids = clients.of_user.get(user).into_iter().flatten();
            sids.filter_map(|sid| clients.connected.get(sid).cloned()).collect()
        };
        for client in clients {
            if client.revision.load(Ordering::Acquire) < revision {
                self.enqueue(&client, ClientRequest::Recheck);
            }
        }
    }

    /// Receives changes made at other gateways, and regularly compares all clients with the store, because messages may
    /// be lost.
    pub(crate) async fn follow_accounts(
        self: Arc<Self>,
        mut control: TopicFollower<ControlMessage>,
        every: Duration,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut look_up = tokio::time::interval(every);
        look_up.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = control.next() => match message {
                    ControlMessage::User { user, revision } => self.recheck(&UserId::named(&user), revision),
                    ControlMessage::Disconnect { socket } => self.disconnect(&socket),
                    ControlMessage::Republish { .. } | ControlMessage::Rules { .. } => {}
                },
                _ = look_up.tick() => self.look_up().await,
                _ = sweep.tick() => match self.accounts.sweep().await {
                    Ok(swept) => debug!(swept, "expired sessions deleted"),
                    Err(error) => debug!(%error, "expired sessions can't be deleted: retrying later"),
                },
            }
        }
    }

    /// Compares all clients with the store, and makes outdated ones check it again.
    pub(super) async fn look_up(self: &Arc<Self>) {
        let clients = self.all_clients();
        for some in clients.chunks(LOOKED_UP_AT_ONCE) {
            let mut users: Vec<UserId> = some.iter().map(|client| client.identity.user().clone()).collect();
            users.sort_unstable();
            users.dedup();
            let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
            for client in some {
                match &client.identity {
                    Identity::Session { key, .. } => sessions.push(key.clone()),
                    Identity::Token { token, .. } => tokens.push(token.clone()),
                }
            }
            let known = match self.accounts.known(&users, &sessions, &tokens).await {
                Ok(known) => known,
                Err(error) => return warn!(%error, "accounts can't be compared with the store: retrying later"),
            };
            for client in some {
                let proof = match &client.identity {
                    Identity::Session { key, .. } => known.sessions.contains(key),
                    Identity::Token { token, .. } => known.tokens.contains(token),
                };
                let revision = known.revisions.get(client.identity.user());
                let is_newest = revision.is_some_and(|newest| *newest <= client.revision.load(Ordering::Acquire));
                if !(proof && is_newest) {
                    self.enqueue(client, ClientRequest::Recheck);
                }
            }
        }
    }
}

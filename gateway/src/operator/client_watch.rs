//! Watches which clients don't take what they are sent, and who is connected.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use accounts::UserId;
use fleet::{Clients, SlowClient};
use odds::Timestamp;
use socketioxide::socket::Sid;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{client::Client, session::AppState};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many slow clients, and how many users, are reported.
const MOST: usize = 10;

/// The clients as they were when they were last looked at.
#[derive(Debug, Default)]
pub(crate) struct ClientWatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    clients: Clients,
    /// The clients that had not taken everything: what they had taken, and since when that has been all.
    waiting: HashMap<Sid, (u64, Timestamp)>,
}

impl ClientWatch {
    pub(crate) fn now(&self) -> Clients {
        self.state().clients.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn look(&self, all: &[Arc<Client>], now: Timestamp) {
        let mut waiting = HashMap::new();
        let mut slow = Vec::new();
        let mut connections: HashMap<&UserId, u64> = HashMap::new();
        let mut state = self.state();
        for client in all {
            *connections.entry(client.identity.user()).or_default() += 1;
            if client.tracker.has_taken_all() {
                continue;
            }
            let taken = client.tracker.taken();
            let known = state.waiting.get(&client.sid()).filter(|(before, _)| *before == taken);
            let since = known.map_or(now, |(_, since)| *since);
            waiting.insert(client.sid(), (taken, since));
            // One look more, because everybody takes a moment.
            if known.is_some() {
                slow.push(SlowClient { id: client.sid().to_string(), user: client.identity.user().to_string(), since });
            }
        }
        slow.sort_by_key(|client| client.since);
        slow.truncate(MOST);
        let users = connections.len() as u64;
        let mut most: Vec<(&UserId, u64)> = connections.into_iter().collect();
        most.sort_by_key(|(user, count)| (Reverse(*count), *user));
        most.truncate(MOST);
        let most = most.into_iter().map(|(user, count)| (user.to_string(), count)).collect();
        state.clients = Clients { users, most, slow };
        state.waiting = waiting;
    }
}

impl AppState {
    /// Looks at all clients, again and again.
    pub(crate) async fn watch_clients(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = look.tick() => self.client_watch.look(&self.all_clients(), (self.clock)()),
            }
        }
    }
}

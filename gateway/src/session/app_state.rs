//! The state that all connections share.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use accounts::{Accounts, Allowance, UserId};
use kafka::{ControlWriter, KafkaSettings};
use odds::{Region, Timestamp};
use rand::{RngExt, seq::SliceRandom};
use socketioxide::socket::Sid;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    brief::Brief,
    client::{Bye, Client},
    filters::Filters,
    http::{KnownOperators, LiveLines, Openings, Sparkline, SparklineOf},
    messages::Messages,
    metrics::Metrics,
    operator::{ClientWatch, FleetWatch},
    origin_policy::OriginPolicy,
    readiness::Readiness,
    region::{Excerpt, RegionHandle},
    turns::Turns,
};

/// Clients of a gateway that stops are told to connect again at random times within this.
const COME_BACK_WITHIN_MS: u64 = 5_000;
/// How many of a user's clients may be disconnected for too many requests before the user is refused,
pub(crate) const MOST_SENT_AWAY: u32 = 20;
/// and how often one more may be.
pub(crate) const SENT_AWAY_EVERY: Duration = Duration::from_secs(60);

/// The state that all connections share.
pub(crate) struct AppState {
    pub(crate) regions: [RegionHandle; Region::ALL.len()],
    pub(crate) limits: Limits,
    pub(crate) filters: Arc<Filters>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) accounts: Accounts,
    pub(crate) clock: fn() -> Timestamp,
    /// None if there is no history.
    pub(crate) history: Option<Arc<dyn history::Store>>,
    /// None if there are no messages.
    pub(crate) messages: Option<Messages>,
    /// Of requests that stream the history.
    pub(crate) history_turns: Turns,
    pub(crate) replay_turns: Turns,
    /// Of requests that look at whole boards, or at prices of many events.
    pub(crate) analysis_turns: Turns,
    pub(crate) live_boards: Brief<Region, Option<Excerpt>>,
    pub(crate) live_lines: Brief<Vec<Region>, LiveLines>,
    pub(crate) recorded_boards: Brief<(Region, Timestamp), history::RecordedBoard>,
    pub(crate) sparklines: Brief<SparklineOf, Option<Sparkline>>,
    pub(crate) openings: Openings,
    pub(crate) fleet: FleetWatch,
    pub(crate) known_operators: KnownOperators,
    pub(crate) client_watch: Arc<ClientWatch>,
    /// The clients that get what operators see, and some that no longer do.
    pub(crate) operator_clients: Mutex<Vec<Weak<Client>>>,
    /// The names of users that operators see.
    pub(crate) user_names: Brief<UserId, Option<String>>,
    pub(crate) kafka: KafkaSettings,
    pub(crate) origins: OriginPolicy,
    pub(crate) control: ControlWriter,
    pub(crate) clients: Mutex<Clients>,
    /// Each user's allowance of disconnections for too many requests.
    pub(crate) sent_away: Allowance<UserId>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) per_address: usize,
    pub(crate) per_user: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(super) connected: HashMap<Sid, Arc<Client>>,
    pub(super) of_user: HashMap<UserId, HashSet<Sid>>,
    /// Clients that are connected or about to be.
    pub(super) admitted: usize,
    pub(super) by_address: HashMap<IpAddr, usize>,
    pub(super) by_user: HashMap<UserId, usize>,
}

impl Clients {
    pub(super) fn remember(&mut self, client: &Arc<Client>) {
        self.of_user.entry(client.identity.user().clone()).or_default().insert(client.sid());
        self.connected.insert(client.sid(), client.clone());
    }

    pub(super) fn forget(&mut self, client: &Client) {
        self.connected.remove(&client.sid());
        let user = client.identity.user();
        if let Some(sids) = self.of_user.get_mut(user) {
            sids.remove(&client.sid());
            if sids.is_empty() {
                self.of_user.remove(user);
            }
        }
    }
}

impl AppState {
    pub(super) fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("nobody panics while holding it")
    }

    /// How many connections a user has here.
    pub(crate) fn connections_of(&self, user: &UserId) -> usize {
        self.clients().of_user.get(user).map_or(0, HashSet::len)
    }

    pub(super) fn region(&self, region: Region) -> &RegionHandle {
        &self.regions[region as usize]
    }

    /// Sends `bye` to all clients and cuts their connections one by one during this time. They connect again elsewhere.
    pub(crate) async fn close(&self, over: Duration) {
        let mut clients = self.all_clients();
        if clients.is_empty() {
            return;
        }
        info!(clients = clients.len(), "disconnecting all clients");
        clients.shuffle(&mut rand::rng());
        for client in &clients {
            let retry_after_ms = Some(rand::rng().random_range(0..COME_BACK_WITHIN_MS));
            client.send_bye(&Bye { code: "stopping", message: "this gateway is stopping", retry_after_ms });
        }
        let pause = over / clients.len() as u32;
        let mut late = Vec::new();
        for client in clients {
            // The official clients connect again if the transport ends, but not if the socket is disconnected.
            match client.tracker.has_taken_all() {
                true => client.tracker.cut(),
                false => late.push(client),
            }
            tokio::time::sleep(pause).await;
        }
        futures::future::join_all(late.iter().map(|client| client.cut_when_sent())).await;
    }

    /// Checks periodically whether the store accepts writes: on a full disk, reads still succeed.
    pub(crate) async fn check_store(self: Arc<Self>, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let mut check = tokio::time::interval(every);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = check.tick() => {}
            }
            if let Err(error) = self.accounts.look_at_registration().await {
                debug!(%error, "can't read whether registration is open");
            }
            let checked = self.accounts.check_writable().await;
            if let Err(error) = &checked {
                warn!(%error, "can't write to the store");
            }
            self.metrics.store_writable.set(checked.is_ok().into());
            self.readiness.stores(checked.is_ok());
        }
    }
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").finish_non_exhaustive()
    }
}

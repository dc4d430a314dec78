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
use tokio::time::{Instant, sleep_until};
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

/// Clients that are all sent away at once are told to connect again at random times within this,
const COME_BACK_WITHIN: Duration = Duration::from_secs(5);
/// and those that are sent away one after the other, within this.
const COME_BACK_SOON: Duration = Duration::from_secs(1);
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

    /// Sends all clients away, one after the other during this time, or at once when `stop_now` is cancelled. They connect
    /// again elsewhere.
    pub(crate) async fn send_all_away(&self, over: Duration, stop_now: &CancellationToken) {
        self.send_those_away(over, stop_now).await;
        // Whoever was being let in meanwhile.
        self.send_those_away(Duration::ZERO, stop_now).await;
    }

    /// Sends those away who are there now.
    async fn send_those_away(&self, over: Duration, stop_now: &CancellationToken) {
        let mut clients = self.all_clients();
        if clients.is_empty() {
            return;
        }
        info!(clients = clients.len(), seconds = over.as_secs(), "sending clients away");
        clients.shuffle(&mut rand::rng());
        // Those that poll come first: they may need new connections, which are not accepted any more.
        clients.sort_by_key(|client| client.tracker.has_websocket());
        let (begin, each) = (Instant::now(), over / clients.len() as u32);
        let mut ends = Vec::new();
        for client in clients.into_iter().filter(|client| client.socket.connected()) {
            // A pause of less than the timer's millisecond has to be made up for.
            tokio::select! {
                () = sleep_until(begin + each * ends.len() as u32) => {}
                () = stop_now.cancelled() => {}
            }
            let time = if stop_now.is_cancelled() { Duration::ZERO } else { over };
            let within = COME_BACK_WITHIN.saturating_sub(time).max(COME_BACK_SOON).as_millis() as u64;
            let retry_after_ms = Some(rand::rng().random_range(0..within));
            ends.push(client.end(Bye { code: "stopping", message: "this gateway is stopping", retry_after_ms }));
        }
        futures::future::join_all(ends).await;
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

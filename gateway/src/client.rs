//! A connected client: its socket, the account of what the network took, and what it asked for.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use accounts::Identity;
use odds::{Cursor, Region};
use serde::Serialize;
use serde_json::Value;
use socketioxide::{
    extract::{AckSender, SocketRef},
    socket::Sid,
};
use tokio::{sync::Mutex, time::Instant};
use tracing::debug;

use crate::{filters::HeldFilter, transport::DeliveryTracker};

/// When a client may come back that asked too much.
pub(crate) const RETRY_AFTER_MS: u64 = 5_000;
/// How long a client that is sent away may take to accept its `bye`.
const BYE_WITHIN: Duration = Duration::from_secs(5);
/// When the gateway first checks whether it has, and how long it waits at most until the next check.
const FIRST_BYE_CHECK: Duration = Duration::from_millis(10);
const LONGEST_BYE_CHECK: Duration = Duration::from_millis(640);

pub(crate) struct Client {
    pub(crate) socket: SocketRef,
    pub(crate) tracker: Arc<DeliveryTracker>,
    pub(crate) address: IpAddr,
    pub(crate) identity: Identity,
    /// Of the account, as it was read last.
    pub(crate) revision: AtomicU64,
    /// The least time between two frames of a region.
    pub(crate) gap: Option<Duration>,
    /// What is to be done for it, in the order in which it came.
    pub(crate) requests: std::sync::Mutex<ClientRequests>,
    /// Held by whoever carries orders out.
    pub(crate) subscription: Mutex<Subscription>,
}

#[derive(Default)]
pub(crate) struct ClientRequests {
    pub(crate) queue: VecDeque<ClientRequest>,
    /// Somebody is carrying them out.
    pub(crate) is_processing: bool,
    /// It asked too much and is being sent away: nothing more is accepted.
    pub(crate) closed: bool,
}

pub(crate) enum ClientRequest {
    /// With regions of its own, or with those of its account.
    Begin {
        own: Option<BTreeSet<Region>>,
        resume: HashMap<Region, Cursor>,
    },
    /// Its account may have changed.
    Recheck,
    Subscribe {
        data: Value,
        ack: AckSender,
    },
    Filter {
        data: Value,
        ack: AckSender,
    },
    Resync {
        data: Value,
        ack: AckSender,
    },
    End,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    /// It was sent away: nothing is done for it any more.
    pub(crate) over: bool,
    /// Its regions are not its account's.
    pub(crate) own: bool,
    pub(crate) regions: BTreeSet<Region>,
    pub(crate) filter: Arc<HeldFilter>,
}

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bye {
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

impl Client {
    pub(crate) fn sid(&self) -> Sid {
        self.socket.id
    }

    /// Sends one event by the socket's queue. Returns its number, or 0 if there is nothing to wait for.
    pub(crate) fn send_in_order<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> u64 {
        if self.tracker.is_ending() {
            return 0;
        }
        self.emit(event, data).unwrap_or_default()
    }

    fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Option<u64> {
        let number = self.tracker.count_event();
        if let Err(error) = self.socket.emit(event, data) {
            // Not sent, so nothing is to be waited for.
            self.tracker.took(1);
            debug!(socket = %self.socket.id, %error, event, "a client was not reached");
            return None;
        }
        Some(number)
    }

    /// Tells why it is sent away. It is sent nothing more. Returns whether its queue had a place for that.
    pub(crate) fn send_bye(&self, bye: &Bye) -> bool {
        self.tracker.begin_ending();
        self.emit("bye", bye).is_some()
    }

    /// Sends it away: says why, and cuts the connection once that has left.
    pub(crate) fn end(self: &Arc<Self>, bye: Bye) {
        let client = self.clone();
        tokio::spawn(async move {
            // A client that sends a lot before it reads has filled its queue with answers.
            check_until(|| client.send_bye(&bye) || !client.socket.connected()).await;
            client.cut_when_sent().await;
        });
    }

    /// Sends it away because it asks more than it takes answers. What it asked is not carried out. Tells whether it was
    /// not on its way already.
    pub(crate) fn end_for_too_many_requests(self: &Arc<Self>) -> bool {
        {
            let mut requests = self.requests.lock().expect("nobody panics while holding it");
            requests.queue.retain(|request| matches!(request, ClientRequest::End));
            if std::mem::replace(&mut requests.closed, true) {
                return false;
            }
        }
        self.end(Bye {
            code: "too_many_requests",
            message: "more requests at once than are answered",
            retry_after_ms: Some(RETRY_AFTER_MS),
        });
        true
    }

    /// Cuts the connection as soon as the network has accepted all that was sent, or if that takes too long.
    pub(crate) async fn cut_when_sent(&self) {
        check_until(|| self.tracker.has_taken_all() || self.tracker.is_cut()).await;
        self.tracker.cut();
    }
}

/// Until it is done, or has taken too long. Many may be sent away at once who don't read: they are looked at less
/// and less often.
async fn check_until(mut is_done: impl FnMut() -> bool) {
    let end = Instant::now() + BYE_WITHIN;
    let mut wait = FIRST_BYE_CHECK;
    while !is_done() && Instant::now() < end {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_BYE_CHECK);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("sid", &self.socket.id).finish_non_exhaustive()
    }
}

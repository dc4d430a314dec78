//! A connected client: its socket, its delivery tracker, and its pending requests.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use accounts::Identity;
use odds::{Cursor, Region, Replay};
use serde::Serialize;
use serde_json::Value;
use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef},
    handler::{FromMessageParts, Value as Packed},
    socket::{Sid, Socket},
};
use tokio::{sync::Mutex, task::JoinHandle, time::Instant};
use tracing::debug;

use crate::{
    filters::HeldFilter, replay::ReplayHandle, session::WaitingAlerts, transport::DeliveryTracker, turns::Turn,
};

/// How long a client should wait before it connects again after `too_many_requests` or `store_unavailable`.
pub(crate) const RETRY_AFTER_MS: u64 = 5_000;
/// How long a client may take to accept its `bye` before its connection is cut.
const BYE_WITHIN: Duration = Duration::from_secs(5);
/// The first and the longest interval between checks whether it has.
const FIRST_BYE_CHECK: Duration = Duration::from_millis(10);
const LONGEST_BYE_CHECK: Duration = Duration::from_millis(640);

/// A client that was let in.
pub(crate) struct Client {
    pub(crate) socket: SocketRef,
    pub(crate) tracker: Arc<DeliveryTracker>,
    pub(crate) address: IpAddr,
    pub(crate) identity: Identity,
    /// The account's revision that this client follows.
    pub(crate) revision: AtomicU64,
    /// The least time between two frames of a region.
    pub(crate) gap: Option<Duration>,
    /// Whether it asked for digests of its boards.
    pub(crate) wants_digests: bool,
    /// Whether it asked for what operators see, in a way that an operator may.
    pub(crate) wants_operator: bool,
    /// Whether it gets that.
    pub(crate) is_operator: AtomicBool,
    /// Locked while something is put into the socket's queue, so that nothing gets behind `bye`.
    pub(crate) sending: std::sync::Mutex<()>,
    /// Pending requests, in the order in which they came.
    pub(crate) requests: std::sync::Mutex<ClientRequests>,
    /// It gets the past instead of the present.
    pub(crate) is_replay: bool,
    pub(crate) alerts: std::sync::Mutex<WaitingAlerts>,
    /// Locked while its requests are processed.
    pub(crate) subscription: Mutex<Subscription>,
}

#[derive(Default)]
pub(crate) struct ClientRequests {
    pub(crate) queue: VecDeque<ClientRequest>,
    /// Whether a task is processing the queue.
    pub(crate) is_processing: bool,
    /// It sent too many requests and is being disconnected: no more are accepted.
    pub(crate) closed: bool,
}

pub(crate) enum ClientRequest {
    /// Begins with the client's own regions, or else with its account's.
    Begin {
        own: Option<BTreeSet<Region>>,
        resume: HashMap<Region, Cursor>,
        replay: Option<(Replay, Turn)>,
        /// The last alert that the client has.
        alerts: Option<String>,
    },
    /// Reads the account again, which may have changed.
    Recheck,
    Subscribe {
        data: Value,
        ack: Answer,
    },
    Filter {
        data: Value,
        ack: Answer,
    },
    Resync {
        data: Value,
        ack: Answer,
    },
    /// An event that the gateway doesn't know.
    Unknown {
        event: String,
        ack: Answer,
    },
    End,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    /// The client was told to leave; its requests are ignored.
    pub(crate) over: bool,
    /// Whether the client chose its own regions instead of its account's.
    pub(crate) own: bool,
    pub(crate) regions: BTreeSet<Region>,
    pub(crate) filter: Arc<HeldFilter>,
    /// The client gets the past instead of the present.
    pub(crate) replay: Option<ReplayHandle>,
}

/// The way to answer a request.
pub(crate) struct Answer {
    sender: AckSender,
    /// Whether the client asked for an acknowledgement. Otherwise nothing is sent.
    is_wanted: bool,
}

impl FromMessageParts<LocalAdapter> for Answer {
    type Error = Infallible;

    fn from_message_parts(socket: &Arc<Socket>, data: &mut Packed, ack_id: &Option<i64>) -> Result<Self, Infallible> {
        let sender = AckSender::from_message_parts(socket, data, ack_id)?;
        Ok(Self { sender, is_wanted: ack_id.is_some() })
    }
}

/// The last event for a client: why its connection ends.
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

    /// Sends one event through the socket's queue. Returns its number, or 0 if it was not sent.
    pub(crate) fn send_in_order<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> u64 {
        self.before_bye(|| self.emit(event, data)).flatten().unwrap_or_default()
    }

    /// Answers a request, if the client wants that. Returns false if it can't take the answer.
    pub(crate) fn acknowledge(&self, answer: Answer, data: &Value) -> bool {
        if !answer.is_wanted {
            return true;
        }
        let sent = self.before_bye(|| self.count_sent(|| answer.sender.send(data))).transpose();
        if let Err(error) = &sent {
            debug!(socket = %self.socket.id, %error, "can't send an answer to a client: it is disconnected");
        }
        sent.is_ok()
    }

    /// Puts something into the socket's queue, unless `bye` is there.
    fn before_bye<T>(&self, send: impl FnOnce() -> T) -> Option<T> {
        let _sending = self.sending.lock().expect("nobody panics while holding it");
        (!self.tracker.is_ending()).then(send)
    }

    fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Option<u64> {
        self.count_sent(|| self.socket.emit(event, data))
            .inspect_err(|error| debug!(socket = %self.socket.id, %error, event, "can't send an event to a client"))
            .ok()
    }

    /// Counts an event or an answer, and puts it into the socket's queue. Returns its number.
    fn count_sent<E>(&self, send: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
        let number = self.tracker.count_event();
        // What was not sent will never be accepted by the network.
        send().inspect_err(|_| self.tracker.took(1))?;
        self.tracker.is_queued();
        Ok(number)
    }

    /// Sends `bye`, after which nothing more is sent. Returns false if the socket's queue is full.
    pub(crate) fn send_bye(&self, bye: &Bye) -> bool {
        let _sending = self.sending.lock().expect("nobody panics while holding it");
        self.tracker.begin_ending();
        self.emit("bye", bye).is_some()
    }

    /// Sends `bye`, and cuts the connection once the network has accepted it.
    pub(crate) fn end(self: &Arc<Self>, bye: Bye) -> JoinHandle<()> {
        let client = self.clone();
        tokio::spawn(async move {
            // The queue may be full of answers that the client doesn't read.
            check_until(|| client.send_bye(&bye) || !client.socket.connected()).await;
            check_until(|| client.tracker.has_taken_all() || client.tracker.is_cut()).await;
            client.tracker.cut();
        })
    }

    /// Disconnects a client that sends more requests than it reads answers, and drops its pending requests. Returns
    /// false if that has begun already.
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
            message: "too many unanswered requests",
            retry_after_ms: Some(RETRY_AFTER_MS),
        });
        true
    }
}

/// Waits until the condition holds, but no longer than [`BYE_WITHIN`]. The interval between checks doubles, since many
/// clients that don't read may be waited for at once.
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

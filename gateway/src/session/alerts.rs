//! Sends alerts to all connections of their users.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use accounts::{AlertRecord, UserId};
use alerts::FiringId;
use kafka::TopicFollower;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::app_state::AppState;
use crate::client::Client;

/// How many alerts may wait for one client. Of more, the newest: the others can be read with `GET /api/alerts`.
const MOST_WAITING: usize = 1_000;
/// How many are put into the socket's queue at once, which has room for frames and answers, too.
const AT_ONCE: usize = 16;
/// How many are read from the store at once.
const PAGE: usize = 200;
/// The first and the longest interval between checks whether a client can take more.
const FIRST_CHECK: Duration = Duration::from_millis(10);
const LONGEST_CHECK: Duration = Duration::from_millis(640);

/// The alerts that a client has not been sent yet.
#[derive(Default)]
pub(crate) struct WaitingAlerts {
    queue: VecDeque<Arc<RawValue>>,
    /// Whether a task sends them.
    is_sending: bool,
}

impl AppState {
    /// Sends what is published from now on.
    pub(crate) async fn follow_alerts(
        self: Arc<Self>,
        mut published: TopicFollower<AlertRecord>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let record = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                record = published.next() => record,
            };
            let user = UserId::named(&record.user);
            let clients: Vec<Arc<Client>> = {
                let clients = self.clients();
                let sids = clients.of_user.get(&user).into_iter().flatten();
                sids.filter_map(|sid| clients.connected.get(sid).cloned()).collect()
            };
            let alert: Arc<RawValue> = record.alert.into();
            for client in clients {
                client.queue_alert(alert.clone());
                self.metrics.alerts.inc();
            }
        }
    }

    /// Sends a client the alerts after the last one that it has. One that is published meanwhile may come before them.
    pub(super) async fn send_alerts_after(&self, client: &Arc<Client>, last: &str) {
        let Ok(mut last) = last.parse::<FiringId>() else {
            return debug!(socket = %client.sid(), "a client names an unknown alert");
        };
        for _ in 0..MOST_WAITING / PAGE {
            let alerts = match self.accounts.alerts_of(client.identity.user(), Some(last), PAGE).await {
                Ok((alerts, _)) => alerts,
                Err(error) => return warn!(%error, "the alerts of a client can't be read"),
            };
            for alert in &alerts {
                let payload = RawValue::from_string(alert.to_json()).expect("it is JSON");
                client.queue_alert(payload.into());
            }
            match alerts.last() {
                Some(newest) if alerts.len() == PAGE => last = newest.id,
                _ => return,
            }
        }
    }
}

impl Client {
    /// Sends an alert when the client can take it. A client that watches the past gets nothing of the present.
    fn queue_alert(self: &Arc<Self>, alert: Arc<RawValue>) {
        if self.is_replay {
            return;
        }
        {
            let mut waiting = self.alerts.lock().expect("nobody panics while holding it");
            if waiting.queue.len() == MOST_WAITING {
                waiting.queue.pop_front();
            }
            waiting.queue.push_back(alert);
            if std::mem::replace(&mut waiting.is_sending, true) {
                return;
            }
        }
        tokio::spawn(self.clone().send_alerts());
    }

    async fn send_alerts(self: Arc<Self>) {
        let mut pause = FIRST_CHECK;
        loop {
            if self.socket.connected() && !self.tracker.has_taken_all() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_CHECK);
                continue;
            }
            pause = FIRST_CHECK;
            let some: Vec<Arc<RawValue>> = {
                let mut waiting = self.alerts.lock().expect("nobody panics while holding it");
                if waiting.queue.is_empty() || !self.socket.connected() {
                    *waiting = WaitingAlerts::default();
                    return;
                }
                let count = waiting.queue.len().min(AT_ONCE);
                waiting.queue.drain(..count).collect()
            };
            for alert in some {
                self.send_in_order("alert", &*alert);
            }
        }
    }
}

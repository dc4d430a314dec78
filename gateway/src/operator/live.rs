//! Sends operators what they see, again and again, as the event `operator`.

use std::{
    sync::{Arc, MutexGuard, Weak, atomic::Ordering},
    time::Duration,
};

use accounts::User;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{client::Client, session::AppState, transport::Packet};

const SEND_EVERY: Duration = Duration::from_secs(2);
const EVENT: &str = "operator";

impl AppState {
    /// Notes whether a client is an operator's, which may change at any time. Returns whether it has become one.
    pub(crate) fn note_operator(&self, client: &Arc<Client>, user: &User) -> bool {
        let is_operator = client.wants_operator && user.is_operator;
        let is_new = !client.is_operator.swap(is_operator, Ordering::AcqRel) && is_operator;
        if is_new {
            self.operators().push(Arc::downgrade(client));
        }
        is_new
    }

    fn operators(&self) -> MutexGuard<'_, Vec<Weak<Client>>> {
        self.operator_clients.lock().expect("nobody panics while holding it")
    }

    /// The clients that are operators' now. The others are forgotten.
    fn operators_now(&self) -> Vec<Arc<Client>> {
        let mut clients = Vec::new();
        self.operators().retain(|client| {
            let client = client.upgrade().filter(|it| it.socket.connected() && it.is_operator.load(Ordering::Acquire));
            clients.extend(client.clone());
            client.is_some()
        });
        clients
    }

    /// Sends what there is to see now.
    pub(crate) async fn send_status(&self, client: &Client) {
        send(client, &self.status_packet().await);
    }

    /// Sends it to all operators, again and again.
    pub(crate) async fn send_statuses(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tick = interval(SEND_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            let operators = self.operators_now();
            if operators.is_empty() {
                continue;
            }
            let packet = self.status_packet().await;
            for client in operators {
                send(&client, &packet);
            }
        }
    }

    async fn status_packet(&self) -> Packet {
        let status = serde_json::to_string(&self.status().await).expect("plain values");
        Packet::new(EVENT, &status)
    }
}

/// One that has not taken what it was sent before gets the next one.
fn send(client: &Client, packet: &Packet) {
    if client.tracker.has_taken_all() && client.tracker.pass(packet).is_none() {
        client.send_in_order(packet.event(), packet.payload());
    }
}

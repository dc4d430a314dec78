//! Sends operators what they see, again and again, as the event `operator`.

use std::{
    sync::{Arc, atomic::Ordering},
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
    pub(crate) fn note_operator(&self, client: &Client, user: &User) -> bool {
        let is_operator = client.wants_operator && user.is_operator;
        !client.is_operator.swap(is_operator, Ordering::AcqRel) && is_operator
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
            let mut operators = self.all_clients();
            operators.retain(|client| client.is_operator.load(Ordering::Acquire));
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

//! A socket's way from its admission to its end.

use std::{
    collections::BTreeSet,
    mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use accounts::Identity;
use odds::{Hello, Replay};
use socketioxide::extract::SocketRef;
use tracing::debug;

use super::{app_state::AppState, requests::MAX_REQUESTS, slot::ConnectionSlot};
use crate::{
    client::{Client, ClientRequest, Subscription},
    filters::HeldFilter,
    transport::{EngineSession, Peer},
    turns::Turn,
};

/// How long it may take from the admission of a client to its connection, if there are requests already.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// A socket that was let in.
///
/// socketioxide sends the answer to CONNECT first, and then says that the socket is connected. The client's first
/// requests, or the end of its connection, may come in between.
pub(super) struct Connection(Mutex<State>);

enum State {
    Admitted {
        admitted: Box<Admitted>,
        early: Vec<ClientRequest>,
        /// Whether there were more requests than may be pending.
        too_many: bool,
    },
    Connected {
        client: Arc<Client>,
        _slot: ConnectionSlot,
    },
    Over,
}

/// What is known about a client when it is let in.
pub(super) struct Admitted {
    pub(super) hello: Hello,
    pub(super) identity: Identity,
    /// Whether it asks for what operators see, in a way that an operator may.
    pub(super) wants_operator: bool,
    pub(super) filter: Arc<HeldFilter>,
    pub(super) replay: Option<(Replay, Turn)>,
    pub(super) slot: ConnectionSlot,
}

impl Connection {
    pub(super) fn of(admitted: Admitted) -> Self {
        Self(Mutex::new(State::Admitted { admitted: Box::new(admitted), early: Vec::new(), too_many: false }))
    }

    /// Registers the client, and processes the requests that came already.
    pub(super) fn begin(&self, app: &Arc<AppState>, socket: &SocketRef) {
        let mut state = self.state();
        // The connection may be over.
        let State::Admitted { admitted, early, too_many } = mem::replace(&mut *state, State::Over) else { return };
        let Admitted { hello, identity, wants_operator, filter, replay, slot } = *admitted;
        let parts = socket.req_parts();
        let peer = Peer::of(&parts.extensions);
        let session = parts.extensions.get::<Arc<EngineSession>>().expect("the transport layer adds it");
        session.is_known();
        let tracker = session.tracker.clone();
        tracker.is_of(socket.id);
        let client = Arc::new(Client {
            socket: socket.clone(),
            tracker,
            address: peer.address,
            identity,
            revision: AtomicU64::new(0),
            gap: hello.gap,
            wants_digests: hello.digest,
            is_replay: replay.is_some(),
            wants_operator,
            is_operator: AtomicBool::new(false),
            alerts: Mutex::default(),
            sending: Mutex::default(),
            requests: Mutex::default(),
            subscription: tokio::sync::Mutex::new(Subscription {
                over: false,
                own: false,
                regions: BTreeSet::new(),
                filter,
                replay: None,
            }),
        });
        debug!(socket = %socket.id, address = %client.address, user = %client.identity.user(), "client connected");
        // The client must receive account changes before its account is read.
        app.clients().remember(&client);
        app.metrics.connections.inc();
        let begin = ClientRequest::Begin { own: hello.regions, resume: hello.resume, replay, alerts: hello.alerts };
        for request in [begin].into_iter().chain(early) {
            app.enqueue(&client, request);
        }
        if too_many {
            app.sends_away(&client);
        }
        *state = State::Connected { client, _slot: slot };
    }

    pub(super) fn ask(self: &Arc<Self>, app: &Arc<AppState>, request: ClientRequest) {
        match &mut *self.state() {
            State::Admitted { early, too_many, .. } => {
                if early.is_empty() {
                    tokio::spawn(self.clone().give_up());
                }
                if early.len() < MAX_REQUESTS {
                    early.push(request);
                } else {
                    *too_many = true;
                }
            }
            State::Connected { client, .. } => app.enqueue(client, request),
            State::Over => {}
        }
    }

    /// If the answer to CONNECT can't be sent, socketioxide forgets the socket without a word. A request that came
    /// before would hold the socket, and the socket the request.
    async fn give_up(self: Arc<Self>) {
        tokio::time::sleep(CONNECTED_WITHIN).await;
        let mut state = self.state();
        if matches!(*state, State::Admitted { .. }) {
            let admitted = mem::replace(&mut *state, State::Over);
            drop(state);
            drop(admitted);
        }
    }

    pub(super) fn end(&self, app: &Arc<AppState>) {
        let before = mem::replace(&mut *self.state(), State::Over);
        if let State::Connected { client, .. } = before {
            debug!(socket = %client.sid(), address = %client.address, "client disconnected");
            app.clients().forget(&client);
            app.metrics.connections.dec();
            app.enqueue(&client, ClientRequest::End);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

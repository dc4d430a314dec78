//! A socket's way from its admission to its end.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU64},
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

/// A socket that was let in.
///
/// socketioxide sends the answer to CONNECT first, and then says that the socket is connected. The client's first
/// requests, or the end of its connection, may come in between.
pub(super) struct Connection(Mutex<State>);

enum State {
    Admitted { admitted: Box<Admitted>, early: Vec<ClientRequest> },
    Connected { client: Arc<Client>, _slot: ConnectionSlot },
    Over,
}

/// What is known about a client when it is let in.
pub(super) struct Admitted {
    pub(super) hello: Hello,
    pub(super) identity: Identity,
    pub(super) filter: Arc<HeldFilter>,
    pub(super) replay: Option<(Replay, Arc<Turn>)>,
    pub(super) slot: ConnectionSlot,
}

impl Connection {
    pub(super) fn of(admitted: Admitted) -> Self {
        Self(Mutex::new(State::Admitted { admitted: Box::new(admitted), early: Vec::new() }))
    }

    /// Registers the client, and processes the requests that came already.
    pub(super) fn begin(&self, app: &Arc<AppState>, socket: &SocketRef) {
        let mut state = self.state();
        // The connection may be over.
        let State::Admitted { admitted, early } = mem::replace(&mut *state, State::Over) else { return };
        let Admitted { hello, identity, filter, replay, slot } = *admitted;
        let parts = socket.req_parts();
        let peer = parts.extensions.get::<Peer>().expect("the listener adds the peer");
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
            is_replay: replay.is_some(),
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
        *state = State::Connected { client, _slot: slot };
    }

    pub(super) fn ask(&self, app: &Arc<AppState>, request: ClientRequest) {
        match &mut *self.state() {
            // One more than may be pending, so that the client is sent away.
            State::Admitted { early, .. } if early.len() <= MAX_REQUESTS => early.push(request),
            State::Connected { client, .. } => app.enqueue(client, request),
            State::Admitted { .. } | State::Over => {}
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

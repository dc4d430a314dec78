//! Authenticates connecting clients and registers their event handlers.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use accounts::{AccountsError, Scope};
use axum::extract::Query;
use http::Uri;
use odds::{BadHello, Hello, Replay};
use serde_json::Value;
use socketioxide::{
    SocketIo,
    adapter::LocalAdapter,
    extract::{Event, SocketRef, State, TryData},
    handler::{ConnectHandler, DisconnectHandler},
    socket::{DisconnectReason, Socket},
};
use tracing::{debug, warn};

use super::{
    app_state::AppState,
    connection::{Admitted, Connection},
    slot::{ConnectionSlot, NoSlot},
};
use crate::{
    client::{Answer, ClientRequest},
    filters::TooManyFilters,
    transport::Peer,
    turns::NoTurn,
};

/// Why a client is not let in. Its text is sent as `<code>: <text>`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("bad_auth: {0}")]
    BadAuth(#[from] BadHello),
    #[error("unauthenticated: sign in, or give a valid token")]
    Unauthenticated,
    #[error("forbidden_origin: a cookie is accepted only from this gateway's own page; use a token")]
    ForbiddenOrigin,
    #[error("too_many_attempts: wait before you try again")]
    TooManyAttempts,
    #[error("store_unavailable: accounts can't be read just now; connect again in a few seconds")]
    StoreUnavailable,
    #[error("too_many_connections: {0}")]
    TooManyConnections(&'static str),
    #[error("too_many_filters: {0}")]
    TooManyFilters(#[from] TooManyFilters),
    /// The same code as for connections, so that clients know that they may try again.
    #[error("too_many_connections: {0}")]
    TooManyReplays(#[from] NoTurn),
    #[error("history_disabled: this gateway has no history to replay")]
    HistoryDisabled,
    #[error("stopping: this gateway is about to stop; connect again in a moment")]
    Stopping,
}

pub(crate) fn serve(io: &SocketIo) {
    io.ns("/", connected.with(admit));
}

async fn admit(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(auth): TryData<Option<Value>>,
) -> Result<(), Refusal> {
    let admitted = match auth {
        Ok(auth) => admitted(&socket, &app, &auth.unwrap_or_default()).await,
        Err(_) => Err(Refusal::BadAuth(BadHello::not_json())),
    };
    if let Err(refusal) = &admitted {
        app.metrics.refused.inc();
        debug!(socket = %socket.id, %refusal, "refused a client");
    }
    socket.extensions.insert(Arc::new(Connection::of(admitted?)));
    // The client's first request may come before `connected` is called.
    socket.on_disconnect(Disconnected(app));
    socket.on("subscribe", subscribe);
    socket.on("filter", refilter);
    socket.on("resync", resync);
    socket.on_fallback(unknown_event);
    Ok(())
}

async fn admitted(socket: &SocketRef, app: &Arc<AppState>, auth: &Value) -> Result<Admitted, Refusal> {
    if app.readiness.is_stopping() {
        return Err(Refusal::Stopping);
    }
    let parts = socket.req_parts();
    let peer = Peer::of(&parts.extensions);
    let mut slot = ConnectionSlot::take(app, peer.address)?;
    let hello = Hello::read(auth)?;
    let identity = match &hello.token {
        Some(token) => app.accounts.by_token(token, Scope::Stream, peer.address).await?.0,
        None => {
            let key = app.origins.session_of(&parts.headers).ok_or(Refusal::Unauthenticated)?;
            if !app.origins.is_ours(&parts.headers) {
                return Err(Refusal::ForbiddenOrigin);
            }
            app.accounts.by_session(&key).await?.0
        }
    };
    // To others, it is a field that is not known.
    let wants_operator = hello.operator
        && match &hello.token {
            Some(token) => app.accounts.by_token(token, Scope::Operator, peer.address).await.is_ok(),
            None => true,
        };
    slot.is_of(identity.user())?;
    let filter = Arc::new(app.filters.hold(identity.user(), hello.filter.clone(), None)?);
    let replay = match hello.replay.map_or_else(|| replay_in(&parts.uri), |replay| Ok(Some(replay)))? {
        Some(_) if app.history.is_none() => return Err(Refusal::HistoryDisabled),
        Some(replay) => Some((replay, app.replay_turns.take(identity.user())?)),
        None => None,
    };
    Ok(Admitted { hello, identity, wants_operator, filter, replay, slot })
}

/// The replay that the address asks for, for clients whose `auth` can't be changed.
fn replay_in(uri: &Uri) -> Result<Option<Replay>, BadHello> {
    // A query that can't be read has no replay.
    let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Ok(None) };
    let parameters = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Replay::from_query(parameters).map_err(|error| BadHello::replay(&error))
}

impl From<AccountsError> for Refusal {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::TooManyAttempts { .. } => Self::TooManyAttempts,
            AccountsError::Store(error) => {
                warn!(%error, "refused a client: the store is unavailable");
                Self::StoreUnavailable
            }
            _ => Self::Unauthenticated,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "socketioxide passes extracted values by value")]
fn connected(socket: SocketRef, State(app): State<Arc<AppState>>) -> Ready<()> {
    if let Some(connection) = socket.extensions.get::<Arc<Connection>>() {
        connection.begin(&app, &socket);
    }
    ready(())
}

/// Removes a client whose connection has ended.
struct Disconnected(Arc<AppState>);

/// Not a function, since a function's future completes later. Until then, the client's next packets would belong to the
/// old connection, and a CONNECT would be ignored.
impl DisconnectHandler<LocalAdapter, Self> for Disconnected {
    fn call_with_defer(&self, socket: Arc<Socket>, _: DisconnectReason, remove: fn(Arc<Socket>)) {
        if let Some(connection) = socket.extensions.remove::<Arc<Connection>>() {
            connection.end(&self.0);
        }
        remove(socket);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "socketioxide passes extracted values by value")]
fn subscribe(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(data): TryData<Value>,
    ack: Answer,
) -> Ready<()> {
    ask(&app, &socket, ClientRequest::Subscribe { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "socketioxide passes extracted values by value")]
fn refilter(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(data): TryData<Value>,
    ack: Answer,
) -> Ready<()> {
    ask(&app, &socket, ClientRequest::Filter { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "socketioxide passes extracted values by value")]
fn resync(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(data): TryData<Value>,
    ack: Answer,
) -> Ready<()> {
    ask(&app, &socket, ClientRequest::Resync { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "socketioxide passes extracted values by value")]
fn unknown_event(socket: SocketRef, State(app): State<Arc<AppState>>, Event(name): Event, ack: Answer) -> Ready<()> {
    ask(&app, &socket, ClientRequest::Unknown { event: name.chars().take(64).collect(), ack });
    ready(())
}

/// Queues a request at once, and the handlers' futures are ready: socketioxide doesn't run futures in the order of
/// events.
fn ask(app: &Arc<AppState>, socket: &SocketRef, request: ClientRequest) {
    if let Some(connection) = socket.extensions.get::<Arc<Connection>>() {
        connection.ask(app, request);
    }
}

impl From<NoSlot> for Refusal {
    fn from(reason: NoSlot) -> Self {
        match reason {
            NoSlot::TooManyAttempts => Self::TooManyAttempts,
            NoSlot::TooManyConnections(reason) => Self::TooManyConnections(reason),
        }
    }
}

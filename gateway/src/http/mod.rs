//! What is served by HTTP beside Socket.IO and the page.

mod error;
mod health;
mod odds;

use std::sync::Arc;

use axum::Router;

use crate::sockets::Hub;

pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new().merge(health::router()).merge(odds::router()).with_state(hub)
}

//! Socket.IO: who connects, and what they ask.

use std::{collections::HashMap, sync::Arc};

use odds::{Cursor, PROTOCOL_VERSION, Region, Subscriptions};
use serde::Deserialize;
use serde_json::Value;
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};

use crate::region::{RegionHandle, Request};

pub(crate) type Regions = Arc<HashMap<Region, RegionHandle>>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConnectAuth {
    regions: Option<Vec<Region>>,
    resume: HashMap<Region, Cursor>,
}

#[derive(Deserialize)]
struct Resync {
    region: Region,
    #[serde(default)]
    cursor: Option<Cursor>,
}

pub(crate) fn serve(io: &SocketIo, regions: Regions) {
    io.ns("/", async move |socket: SocketRef, TryData(auth): TryData<Value>| {
        let auth = auth.ok().and_then(|auth| ConnectAuth::deserialize(auth).ok()).unwrap_or_default();
        connected(socket, auth, regions).await;
    });
}

async fn connected(socket: SocketRef, auth: ConnectAuth, regions: Regions) {
    let wanted = auth.regions.unwrap_or_else(|| Region::ALL.to_vec());
    let hello = Subscriptions { v: PROTOCOL_VERSION, regions: wanted.clone() };
    if socket.emit("subscriptions", &hello).is_err() {
        return;
    }
    let known = regions.clone();
    socket.on("resync", async move |socket: SocketRef, Data(request): Data<Resync>, ack: AckSender| {
        let _ = ack.send(&serde_json::json!({ "ok": true }));
        if let Some(region) = known.get(&request.region) {
            region.ask(Request::Resync { socket, cursor: request.cursor }).await;
        }
    });
    for region in wanted {
        let resume = auth.resume.get(&region).copied();
        if let Some(handle) = regions.get(&region) {
            handle.ask(Request::Join { socket: socket.clone(), resume }).await;
        }
    }
}

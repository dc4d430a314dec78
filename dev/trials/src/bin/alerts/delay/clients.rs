//! Clients that wait for alerts, one for each user, and one that follows a board.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alerts::FiringId;
use anyhow::{Context, ensure};
use client::{Client, ServerMessage};
use odds::{Region, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::accounts_of_trial::Users;

/// The shortest time in which a live client must get some frames.
const LEAST_FRAMES: usize = 10;

/// An alert at a client.
#[derive(Clone, Debug)]
pub struct Received {
    pub id: FiringId,
    /// The time of the step's marker.
    pub at: Timestamp,
    pub received_at: Timestamp,
}

impl Received {
    pub fn delay_ms(&self) -> u64 {
        self.received_at.millis_since(self.at).max(0).unsigned_abs()
    }
}

/// The connections of all users.
pub struct Clients {
    received: Arc<Mutex<Vec<Received>>>,
    failed: Arc<Mutex<Option<String>>>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

#[derive(Deserialize)]
struct AlertPayload {
    id: FiringId,
    at: Timestamp,
}

impl Clients {
    pub async fn connect(users: &Users, address: &str) -> anyhow::Result<Self> {
        let (received, failed) = (Arc::<Mutex<Vec<Received>>>::default(), Arc::<Mutex<Option<String>>>::default());
        let mut tasks = Vec::new();
        for user in &users.ids {
            let auth = json!({ "v": 1, "token": users.token(user).await?, "regions": [] });
            let mut client = Client::connect(address, &auth).await?;
            let (received, failed) = (received.clone(), failed.clone());
            tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                if let Err(error) = receive(&mut client, &received).await {
                    *failed.lock().expect("no panic while the lock is held") = Some(format!("{error:#}"));
                }
            })));
        }
        Ok(Self { received, failed, _tasks: tasks })
    }

    /// Everything that was received so far.
    pub fn received(&self) -> Vec<Received> {
        if let Some(error) = &*self.failed.lock().expect("no panic while the lock is held") {
            tracing::warn!(error, "a client was disconnected");
        }
        self.received.lock().expect("no panic while the lock is held").clone()
    }
}

async fn receive(client: &mut Client, all: &Mutex<Vec<Received>>) -> anyhow::Result<()> {
    loop {
        let ServerMessage::Event { name, payload } = client.next().await? else { continue };
        if name == "alert" {
            let received_at = service::now();
            let AlertPayload { id, at } = serde_json::from_str(&payload).context("an alert")?;
            all.lock().expect("no panic while the lock is held").push(Received { id, at, received_at });
        }
    }
}

/// A client that follows a board. It measures how old the newest price of each frame is.
pub struct LiveClient {
    /// In microseconds.
    ages: Arc<Mutex<Vec<u64>>>,
    _task: AbortOnDropHandle<anyhow::Result<()>>,
}

impl LiveClient {
    pub async fn connect(address: &str, token: &str) -> anyhow::Result<Self> {
        let auth = json!({ "v": 1, "token": token, "regions": [Region::Uk] });
        let mut client = Client::connect(address, &auth).await?;
        let ages = Arc::<Mutex<Vec<u64>>>::default();
        let measured = ages.clone();
        let task = tokio::spawn(async move {
            loop {
                let ServerMessage::Event { name, payload } = client.next().await? else { continue };
                let newest = newest_update(&payload).filter(|_| name == "odds");
                if let Some(newest) = newest {
                    let age = service::now().millis_since(newest).max(0).unsigned_abs();
                    measured.lock().expect("no panic while the lock is held").push(age * 1_000);
                }
            }
        });
        Ok(Self { ages, _task: AbortOnDropHandle::new(task) })
    }

    /// The ages of the frames that come in this time, sorted. Fails if there are few.
    pub async fn during(&self, time: Duration) -> anyhow::Result<Vec<u64>> {
        self.ages.lock().expect("no panic while the lock is held").clear();
        tokio::time::sleep(time).await;
        let mut ages = std::mem::take(&mut *self.ages.lock().expect("no panic while the lock is held"));
        ensure!(ages.len() >= LEAST_FRAMES, "the live client got {} frames in {time:?}", ages.len());
        ages.sort_unstable();
        Ok(ages)
    }
}

fn newest_update(frame: &str) -> Option<Timestamp> {
    let times = frame.split(r#""last_update":""#).skip(1).filter_map(|rest| rest.split('"').next());
    times.filter_map(|time| time.parse().ok()).max()
}

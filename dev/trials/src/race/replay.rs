//! Records the gateway's frames, and replays them to servers that don't read Kafka.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{Client, ServerMessage};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    author::Times,
    server::{Publisher, Server},
    world::newest_step,
};

/// Recorded packets, each with its time after the first one.
pub type Frames = Arc<Vec<(Duration, String)>>;

/// A client of the gateway that records the frames that it receives.
#[derive(Debug)]
pub struct Recorder {
    frames: Arc<Mutex<Vec<(Duration, String)>>>,
    _task: AbortOnDropHandle<()>,
}

impl Recorder {
    pub async fn start(server: &Server) -> anyhow::Result<Self> {
        let mut client = Client::connect(server.address(), &server.auth(&[server.region()])).await?;
        let frames = Arc::<Mutex<Vec<(Duration, String)>>>::default();
        let noted = frames.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut first = None;
            while let Ok(message) = client.next().await {
                if let ServerMessage::Event { name, payload } = message
                    && name == "odds"
                {
                    let packet = format!(r#"42["odds",{payload}]"#);
                    let since = first.get_or_insert_with(Instant::now).elapsed();
                    noted.lock().expect("no panic while the lock is held").push((since, packet));
                }
            }
        }));
        Ok(Self { frames, _task: task })
    }

    pub fn stop(self) -> Frames {
        Arc::new(std::mem::take(&mut *self.frames.lock().expect("no panic while the lock is held")))
    }
}

/// A replay in the background, which sends each frame at its recorded time.
#[derive(Debug)]
pub struct Replaying {
    task: JoinHandle<anyhow::Result<Times>>,
    stop: CancellationToken,
}

impl Replaying {
    pub fn start(mut publisher: Publisher, frames: Frames) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let times = Times::default();
            let begin = Instant::now();
            for (since, frame) in frames.iter() {
                tokio::time::sleep_until(begin + *since).await;
                if stopped.is_cancelled() {
                    break;
                }
                if let Some(step) = newest_step(frame) {
                    times.note(step);
                }
                publisher.hand(frame).await?;
            }
            Ok(times)
        });
        Self { task, stop }
    }

    /// Stops and returns when each step was sent to the server.
    pub async fn stop(self) -> anyhow::Result<Times> {
        self.stop.cancel();
        self.task.await?
    }
}

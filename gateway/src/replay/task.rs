//! Plays the regions of a replay in the order of their steps, as fast as its clock and its client allow.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use history::{HistoryError, Moment, Playback, Played, Upcoming};
use odds::{Cursor, Feed, Filter, Frame, FrameKind, Region, Replay, Timestamp};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Request, clock::ReplayClock, player::Player};
use crate::{
    client::{Bye, Client, RETRY_AFTER_MS},
    metrics::Metrics,
    transport::Packet,
    turns::Turn,
};

/// So many events are sent before the network has accepted the first of them.
const AHEAD: u64 = 16;
/// How often feeds are checked while nothing is played.
const CLOCK_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is checked whether a client that takes nothing is still connected.
const CONNECTED_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct ReplayTask {
    client: Arc<Client>,
    store: Arc<dyn history::Store>,
    metrics: Metrics,
    clock: ReplayClock,
    until: Option<Timestamp>,
    players: BTreeMap<Region, Player>,
    /// Whether the client has joined once.
    has_begun: bool,
    requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
}

/// Why a replay ends.
enum End {
    /// The client is gone.
    Gone,
    Over,
    Failed(HistoryError),
}

impl From<HistoryError> for End {
    fn from(error: HistoryError) -> Self {
        Self::Failed(error)
    }
}

impl ReplayTask {
    pub(super) fn new(
        replay: Replay,
        client: Arc<Client>,
        store: Arc<dyn history::Store>,
        metrics: Metrics,
        requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
    ) -> Self {
        let Replay { at, speed, until } = replay;
        let clock = ReplayClock::new(at, speed, Instant::now());
        Self { client, store, metrics, clock, until, players: BTreeMap::new(), has_begun: false, requests, stop }
    }

    /// Runs until all is played, something can't be read, or the client leaves. Whoever is told that it is over may begin
    /// another one.
    pub(super) async fn run(mut self, turn: Turn) {
        self.metrics.replays.inc();
        let end = loop {
            if let Err(end) = self.advance().await {
                break end;
            }
        };
        self.metrics.replays.dec();
        let bye = match end {
            End::Gone => return debug!("the client has left"),
            End::Over => Bye { code: "replay_over", message: "all that is recorded was sent", retry_after_ms: None },
            End::Failed(error) => {
                self.metrics.count_damage(&error);
                warn!(%error, "a replay ends");
                match error {
                    HistoryError::Store(_) => Bye {
                        code: "history_unavailable",
                        message: "the history can't be read just now",
                        retry_after_ms: Some(RETRY_AFTER_MS),
                    },
                    _ => Bye {
                        code: "history_damaged",
                        message: "what was recorded of that time is damaged",
                        retry_after_ms: None,
                    },
                }
            }
        };
        drop(turn);
        self.client.end(bye);
    }

    /// Carries out a request, plays a step, or waits for either.
    async fn advance(&mut self) -> Result<(), End> {
        if let Ok(request) = self.requests.try_recv() {
            return self.handle(request).await;
        }
        if self.players.is_empty() {
            return self.wait(None).await;
        }
        let Some((region, next)) = self.next_step().await? else { return Err(End::Over) };
        let wait = self.clock.time_until(next.at, Instant::now());
        if !wait.is_zero() {
            self.send_feeds().await?;
            return self.wait(Some(wait.min(CLOCK_INTERVAL))).await;
        }
        self.clock.plays(next.at, Instant::now());
        let frames = self.player(region).play().await?;
        self.send_frames(region, frames).await?;
        self.send_feeds().await
    }

    /// The first of the regions' next steps. If nothing is recorded of any region until then, the clock goes on to it.
    async fn next_step(&mut self) -> Result<Option<(Region, Upcoming)>, End> {
        let (mut first, mut all_wait) = (None::<(Region, Upcoming)>, true);
        for (region, player) in &mut self.players {
            let Some(upcoming) = player.upcoming().await? else { continue };
            all_wait &= upcoming.after_gap;
            if first.is_none_or(|(_, first)| upcoming.at < first.at) {
                first = Some((*region, upcoming));
            }
        }
        if let Some((_, first)) = first.filter(|_| all_wait) {
            // Says which time is left out.
            self.send_feeds().await?;
            self.clock.set(first.at.max(self.now()), Instant::now());
        }
        Ok(first)
    }

    /// The time that the replay shows.
    fn now(&self) -> Timestamp {
        self.clock.now(Instant::now())
    }

    fn player(&mut self, region: Region) -> &mut Player {
        self.players.get_mut(&region).expect("the client follows this region")
    }

    /// Waits for a request, which is carried out, but no longer than this.
    async fn wait(&mut self, time: Option<Duration>) -> Result<(), End> {
        let request = tokio::select! {
            () = self.stop.cancelled() => return Err(End::Gone),
            request = self.requests.recv() => request.ok_or(End::Gone)?,
            () = passes(time) => return Ok(()),
        };
        self.handle(request).await
    }

    async fn handle(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Join { regions, filter } => self.join(regions, &filter).await,
            Request::Leave { regions, left } => {
                self.players.retain(|region, _| !regions.contains(region));
                // The client may be gone by now.
                let _ = left.send(());
                Ok(())
            }
            Request::Resync { region, from } => {
                let Some(player) = self.players.get_mut(&region) else { return Ok(()) };
                let frames = player.frames(from);
                self.send_frames(region, frames).await
            }
        }
    }

    async fn join(&mut self, regions: Vec<(Region, Option<Cursor>)>, filter: &Arc<Filter>) -> Result<(), End> {
        let is_first = std::mem::replace(&mut self.has_begun, true);
        if regions.is_empty() {
            return Ok(());
        }
        let mut others = Vec::new();
        for (region, from) in regions {
            let resumed = match from {
                Some(cursor) => self.begin(region, Moment::Step(cursor.step())).await?,
                None => None,
            };
            match resumed {
                Some((playback, played)) => self.add(region, playback, played, filter, from),
                None => others.push(region),
            }
        }
        // A client that comes back goes on where it was: its cursors say when that is.
        if let Some(at) = self.players.values().map(Player::at).min().filter(|_| is_first) {
            self.clock.set(at, Instant::now());
        }
        for region in others {
            match self.begin(region, Moment::At(self.now())).await? {
                Some((playback, played)) => self.add(region, playback, played, filter, None),
                None => {
                    let feed = Feed::down(region, self.now(), "nothing is recorded from here on");
                    let json = serde_json::to_string(&feed).expect("plain values");
                    self.emit(&Packet::new("feed", &json)).await?;
                }
            }
        }
        let lacking = self.players.iter().filter(|(_, player)| player.lacks_board()).map(|(region, _)| *region);
        for region in lacking.collect::<Vec<_>>() {
            let frames = self.player(region).frames(None);
            self.send_frames(region, frames).await?;
        }
        self.send_feeds().await?;
        if self.players.is_empty() { Err(End::Over) } else { Ok(()) }
    }

    fn add(&mut self, region: Region, playback: Playback, played: Played, filter: &Arc<Filter>, has: Option<Cursor>) {
        let player = Player::new(playback, played, filter.clone(), has, self.client.wants_digests);
        self.players.insert(region, player);
    }

    /// `None` if nothing is recorded of that moment, and nothing after it before the end.
    async fn begin(&self, region: Region, moment: Moment) -> Result<Option<(Playback, Played)>, HistoryError> {
        match Playback::start(self.store.clone(), region, moment, self.until).await {
            Err(HistoryError::NotRecorded { .. }) => Ok(None),
            began => began.map(Some),
        }
    }

    async fn send_feeds(&mut self) -> Result<(), End> {
        let now = self.now();
        let due: Vec<Feed> = self.players.values_mut().filter_map(|player| player.feed_if_due(now)).collect();
        for feed in due {
            let json = serde_json::to_string(&feed).expect("plain values");
            self.emit(&Packet::new("feed", &json)).await?;
        }
        Ok(())
    }

    /// Sends frames of a region, not before the client's least time between two of them has passed.
    async fn send_frames(&mut self, region: Region, frames: Vec<Frame>) -> Result<(), End> {
        if frames.is_empty() {
            return Ok(());
        }
        if let Some(gap) = self.client.gap {
            let not_before = self.player(region).not_before.replace(Instant::now() + gap);
            tokio::select! {
                () = self.stop.cancelled() => return Err(End::Gone),
                () = tokio::time::sleep_until(not_before.unwrap_or_else(Instant::now)) => {}
            }
        }
        for Frame { kind, json } in frames {
            let event = match kind {
                FrameKind::Snapshot => "snapshot",
                FrameKind::Odds => "odds",
            };
            self.emit(&Packet::new(event, &json)).await?;
        }
        Ok(())
    }

    /// Sends an event. Returns when the network has accepted enough of those before it.
    async fn emit(&self, packet: &Packet) -> Result<(), End> {
        let number = match self.client.tracker.pass(packet) {
            Some(passed) => passed.number,
            None => self.client.send_in_order(packet.event(), packet.payload()),
        };
        if number == 0 {
            return Err(End::Gone);
        }
        // Behind others, a frame would go through the socket's queue, without compression.
        let ahead = if self.client.tracker.has_compression() { 0 } else { AHEAD };
        let accepted = number.saturating_sub(ahead);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Err(End::Gone),
                () = self.client.tracker.until_taken(accepted) => return Ok(()),
                () = tokio::time::sleep(CONNECTED_INTERVAL) => {}
            }
            if !self.client.socket.connected() {
                return Err(End::Gone);
            }
        }
    }
}

/// Waits for this time, or for ever.
async fn passes(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

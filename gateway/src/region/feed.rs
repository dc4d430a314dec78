//! How fresh the region is, and who is told when.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use kafka::RegionFollower;
use odds::{Feed, FeedState, Filter, Phase, SportFreshness, SportKey, Timestamp};
use tokio::{sync::watch, time::Instant};
use tracing::info;

use super::{
    member::Member,
    task::{CLOCK_INTERVAL, RegionTask},
};
use crate::transport::Packet;

/// A member is told at least this often how fresh the region is: each in its own time, so that no tick
/// waits until a crowd is told.
const FEED_INTERVAL: Duration = Duration::from_secs(10);
/// And no more often than this, however short-lived its prices are.
const SHORTEST_FEED_INTERVAL: Duration = Duration::from_secs(1);

impl RegionTask {
    /// Tells how fresh the boards are that the rooms have now.
    pub(super) async fn publish_freshness(&mut self, follower: &RegionFollower) {
        let at = (self.clock)();
        self.publish_feed(follower, at).await;
        if std::mem::take(&mut self.reminders_due) {
            self.send_reminders(follower, at).await;
        }
    }

    /// Tells everybody at once if the region stands otherwise than they were told, or if prices are good
    /// that were not.
    pub(super) async fn publish_feed(&mut self, follower: &RegionFollower, at: Timestamp) {
        let (state, reason) = state(follower, at);
        let marker = follower.reader().marker();
        let source = marker.map_or("", |marker| &marker.source);
        let (is_new_state, is_fresher) = {
            let published = self.published.borrow();
            let is_new_state = published.state != state
                || published.reason.as_deref() != reason.as_deref()
                || published.source != source;
            (is_new_state, marker.is_some_and(|marker| is_fresher(&published, &marker.sports, at)))
        };
        if is_new_state {
            info!(state = state.key(), reason = reason.as_deref(), "feed");
        } else if !is_fresher {
            return;
        }
        let feed = self.feed(follower, at);
        let packet = Arc::new(feed_packet(&feed));
        self.published.send_replace(feed);
        let mut ready = Vec::new();
        let filters: Vec<Arc<Filter>> = self.rooms.keys().cloned().collect();
        for filter in filters {
            let room = self.rooms.get_mut(&filter).expect("it was just listed");
            let at = room.cursor;
            for member in room.members.values_mut() {
                let reached = member.is_following() && member.takes(packet.bytes());
                member.feed_is_due |= !reached;
            }
            self.broadcast(&filter, at, Some(&packet), &mut ready).await;
        }
        self.serve_if_settled(follower, &mut ready).await;
    }

    /// Tells those who were told long ago.
    pub(super) async fn send_reminders(&mut self, follower: &RegionFollower, at: Timestamp) {
        let feed = self.feed(follower, at);
        let interval = reminder_interval(&feed);
        self.published.send_replace(feed);
        let (now, mut ready) = (Instant::now(), Vec::new());
        while let Some((last, sid)) = self.reminders.front().copied() {
            if now + CLOCK_INTERVAL < last + interval {
                break;
            }
            self.reminders.pop_front();
            let room = self.room_of.get(&sid).and_then(|filter| self.rooms.get_mut(filter));
            // Who left and came back has a reminder of that time.
            if let Some(member) = room.and_then(|room| room.members.get_mut(&sid)).filter(|it| it.reminded_at == last) {
                member.feed_is_due = true;
                member.reminded_at = now;
                self.reminders.push_back((now, sid));
                ready.push(sid);
            }
        }
        self.serve_if_settled(follower, &mut ready).await;
    }

    pub(super) fn feed(&self, follower: &RegionFollower, at: Timestamp) -> Feed {
        let (state, reason) = state(follower, at);
        let marker = follower.reader().marker();
        Feed {
            region: self.region,
            at,
            state,
            reason: reason.map(Cow::into_owned),
            source: marker.map(|marker| marker.source.clone()).unwrap_or_default(),
            sports: marker.map(|marker| marker.sports.clone()).unwrap_or_default(),
            bookmakers: marker.map(|marker| marker.bookmakers.clone()).unwrap_or_default(),
            bookmaker_names: marker.map(|marker| marker.bookmaker_names.clone()).unwrap_or_default(),
        }
    }
}

/// Whether a sport's prices are good that were not, or were unheard of, when this was told.
fn is_fresher(published: &Feed, sports: &BTreeMap<SportKey, SportFreshness>, at: Timestamp) -> bool {
    let was_good = |key| published.sports.get(key).is_some_and(|it| it.stale_after >= published.at);
    sports.iter().any(|(key, it)| it.stale_after >= at && !was_good(key))
}

/// How long members may be left with this: nobody is to take prices for old that were polled again.
fn reminder_interval(published: &Feed) -> Duration {
    let good = published.sports.values().filter(|it| it.stale_after >= published.at);
    let shortest = good.map(|it| it.stale_after.millis_since(it.polled_at)).min();
    let half = shortest.map_or(FEED_INTERVAL, |millis| Duration::from_millis(millis.max(0) as u64) / 2);
    half.clamp(SHORTEST_FEED_INTERVAL, FEED_INTERVAL)
}

/// How a region stands, and why.
fn state(follower: &RegionFollower, at: Timestamp) -> (FeedState, Option<Cow<'_, str>>) {
    let reader = follower.reader();
    match (reader.phase(), reader.marker()) {
        (Phase::Live, None) => (FeedState::Down, Some("nothing published yet".into())),
        (Phase::Live, Some(marker)) if marker.next_by < at => (FeedState::Stale, Some("the producer is silent".into())),
        (Phase::Live, Some(marker)) => (marker.state, marker.reason.as_deref().map(Cow::from)),
        (phase, _) => {
            let reason = match reader.newest_is_in().filter(|_| phase == Phase::Unverified) {
                Some(has) => {
                    format!("only {has} of {} partitions have the newest step", reader.partition_count()).into()
                }
                None => "the board is being read".into(),
            };
            (FeedState::Down, Some(reason))
        }
    }
}

fn feed_packet(feed: &Feed) -> Packet {
    Packet::new("feed", &serde_json::to_string(feed).expect("plain values"))
}

/// Tells a member what it was not told yet. It is made once for all.
pub(super) fn send_due_feed(member: &mut Member, made: &mut Option<Packet>, published: &watch::Sender<Feed>) {
    member.send(made.get_or_insert_with(|| feed_packet(&published.borrow())), Instant::now());
    member.feed_is_due = false;
}

//! The region's feed, which says how fresh its prices are, and when members get it.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use kafka::RegionFollower;
use odds::{Cursor, Feed, FeedState, Filter, Phase, Timestamp};
use tokio::time::Instant;
use tracing::info;

use super::{
    member::Member,
    task::{CLOCK_INTERVAL, RegionTask},
};
use crate::transport::Packet;

impl RegionTask {
    /// Sends the feed that belongs to the rooms' current boards, and the reminders that are due.
    pub(super) async fn publish_freshness(&mut self, follower: &RegionFollower) {
        let at = (self.clock)();
        self.publish_feed(follower, at).await;
        if std::mem::take(&mut self.reminders_due) {
            self.send_reminders(follower, at).await;
        }
    }

    /// Sends the feed to all members at once if its state, reason or source changed, or if stale prices are good again.
    pub(super) async fn publish_feed(&mut self, follower: &RegionFollower, at: Timestamp) {
        let (state, reason) = state(follower, at);
        let marker = follower.reader().marker();
        let source = marker.map_or("", |marker| &marker.source);
        let (is_new_state, is_fresher) = {
            let published = self.published.borrow();
            let is_new_state = published.state != state
                || published.reason.as_deref() != reason.as_deref()
                || published.source != source;
            (is_new_state, marker.is_some_and(|marker| published.is_staler_than(&marker.sports, at)))
        };
        if is_new_state {
            info!(state = state.key(), reason = reason.as_deref(), "feed");
        } else if !is_fresher {
            return;
        }
        let feed = self.feed(follower, at);
        let mut packets = FeedPackets::new(&feed);
        self.published.send_replace(feed);
        let mut ready = Vec::new();
        let filters: Vec<Arc<Filter>> = self.rooms.keys().cloned().collect();
        for filter in filters {
            let room = self.rooms.get_mut(&filter).expect("it was just listed");
            let at = room.cursor;
            let packet = packets.at(at);
            for member in room.members.values_mut() {
                let reached = member.is_following() && member.takes(packet.bytes());
                member.feed_is_due |= !reached;
            }
            self.broadcast(&filter, at, Some(&packet), &mut ready).await;
        }
        self.serve_if_settled(follower, &mut ready).await;
    }

    /// Sends the feed to the members whose reminder is due. Members get it at different times: sent to all at once, it
    /// would make a tick late.
    pub(super) async fn send_reminders(&mut self, follower: &RegionFollower, at: Timestamp) {
        let feed = self.feed(follower, at);
        let interval = feed.reminder_interval();
        self.published.send_replace(feed);
        let (now, mut ready) = (Instant::now(), Vec::new());
        while let Some((last, sid)) = self.reminders.front().copied() {
            if now + CLOCK_INTERVAL < last + interval {
                break;
            }
            self.reminders.pop_front();
            let room = self.room_of.get(&sid).and_then(|filter| self.rooms.get_mut(filter));
            // A member that left and joined again has a newer reminder.
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
        let reason = reason.map(Cow::into_owned);
        match follower.reader().marker() {
            Some(marker) => Feed { state, reason, ..Feed::of(self.region, marker, at) },
            None => Feed { state, reason, ..Feed::down(self.region, at, "") },
        }
    }
}

/// Returns the region's state, and why it has it.
fn state(follower: &RegionFollower, at: Timestamp) -> (FeedState, Option<Cow<'_, str>>) {
    let reader = follower.reader();
    match (reader.phase(), reader.marker()) {
        (Phase::Live, None) => (FeedState::Down, Some("nothing published yet".into())),
        (Phase::Live, Some(marker)) => {
            let (state, reason) = marker.state_at(at);
            (state, reason.map(Cow::from))
        }
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

/// The packets of a feed: one for each cursor that members are at, and one without a cursor for members that are
/// behind.
pub(super) struct FeedPackets {
    json: String,
    packets: HashMap<Option<Cursor>, Arc<Packet>>,
}

impl FeedPackets {
    pub(super) fn new(feed: &Feed) -> Self {
        Self { json: serde_json::to_string(feed).expect("plain values"), packets: HashMap::new() }
    }

    fn at(&mut self, cursor: Option<Cursor>) -> Arc<Packet> {
        let json = &self.json;
        let packet = self.packets.entry(cursor).or_insert_with(|| {
            let packet = match cursor {
                Some(cursor) => Packet::new("feed", &format!(r#"{},"cursor":"{cursor}"}}"#, &json[..json.len() - 1])),
                None => Packet::new("feed", json),
            };
            Arc::new(packet)
        });
        packet.clone()
    }

    /// Sends a member the feed that is due.
    pub(super) fn send_due(&mut self, member: &mut Member, room: Option<Cursor>) {
        let packet = self.at(room.filter(|_| member.is_at(room)));
        member.send(&packet, Instant::now());
        member.feed_is_due = false;
    }
}

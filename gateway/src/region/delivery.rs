//! Decides which frames each member gets next. A member either *follows* or is *behind*. A member that follows is at
//! its room's cursor and gets every frame of the room. A member that is behind waits until the network has accepted
//! what it was sent, or until its interval has passed; then it gets the frames from its own cursor to the room's.
//! Nothing is queued for it.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use kafka::RegionFollower;
use odds::{Cursor, FeedState, Filter, FrameKind, PART_BYTES, Phase};
use socketioxide::socket::Sid;
use tokio::time::Instant;

use super::{broadcast::Broadcast, feed::FeedPackets, frames::Frames, member::SyncState, task::RegionTask};
use crate::transport::Packet;

/// How long a member with a cursor from a step that this gateway has not read yet waits for that step.
const AHEAD_WITHIN: Duration = Duration::from_secs(5);

/// How many parts a member is sent in a row.
const MOST_PARTS: usize = 16;

/// How many members are served before it is looked at the time.
const SERVED_AT_ONCE: usize = 256;

/// How long members are served before everything else gets its turn. A crowd that comes at once would delay a tick by
/// seconds.
const SERVED_FOR: Duration = Duration::from_millis(25);

/// Members that get the same part of the same frames, by the frames' address in memory and the part.
type SamePart = HashMap<(usize, usize), (Arc<Filter>, Arc<Frames>, Vec<Sid>)>;

impl RegionTask {
    /// Sends one event to all members of a room that follow. A member that can't take it now falls behind, at this
    /// cursor.
    pub(super) async fn broadcast(
        &mut self,
        filter: &Arc<Filter>,
        from: Option<Cursor>,
        packet: Option<&Arc<Packet>>,
        ready: &mut Vec<Sid>,
    ) {
        let room = self.rooms.get_mut(filter).expect("the room is there while frames are sent to it");
        let bytes = packet.map_or(0, |packet| packet.bytes());
        let mut broadcast = packet.map(|packet| Broadcast::new(packet, room.members.len(), &self.threads));
        for batch in room.batches() {
            batch.values().for_each(|member| member.tracker().prefetch());
            for (sid, member) in batch {
                match (&member.sync_state, &mut broadcast) {
                    (SyncState::Following, Some(broadcast)) if member.takes(bytes) => broadcast.send(*sid, member),
                    (SyncState::Following, _) => {
                        self.metrics.slow_client_deferrals.inc();
                        member.sync_state = SyncState::Behind(from);
                        ready.push(*sid);
                    }
                    (SyncState::Behind(_) | SyncState::Partly(..), _) => ready.push(*sid),
                }
            }
        }
        if let Some(broadcast) = broadcast {
            self.finish(filter, broadcast).await;
        }
    }

    /// Waits until a broadcast was sent to all of a room's members, and notes that.
    pub(super) async fn finish(&mut self, filter: &Arc<Filter>, broadcast: Broadcast) {
        let (packet, at, reached) = (broadcast.packet.clone(), broadcast.at, broadcast.reached);
        let room = self.rooms.get_mut(filter).expect("only this task removes rooms");
        let (passed_to, mut bytes) = broadcast.end().await;
        for (sid, passed) in passed_to {
            let member = room.members.get_mut(&sid).expect("only this task removes members");
            bytes += member.note(passed, &packet, at) as u64;
        }
        room.compresses = packet.was_compressed();
        self.metrics.frames.inc_by(reached);
        self.metrics.json_bytes.inc_by(reached * packet.bytes() as u64);
        self.metrics.sent_bytes.inc_by(bytes);
    }

    /// Serves these members now. If a tick is due, the board is ahead of the rooms, and the tick serves all but those in
    /// the middle of a snapshot: what they get next is decided, and in a busy region, a tick is always due.
    pub(super) async fn serve_if_settled(&mut self, follower: &RegionFollower, ready: &mut Vec<Sid>) {
        if self.due.is_some() {
            let (partly, others) = ready.drain(..).partition(|sid| self.is_in_snapshot(*sid));
            *ready = partly;
            self.waiting_for_time.extend::<Vec<Sid>>(others);
        }
        self.serve(follower, ready).await;
    }

    fn is_in_snapshot(&self, sid: Sid) -> bool {
        let member = self.room_of.get(&sid).and_then(|filter| self.rooms.get(filter)?.members.get(&sid));
        member.is_some_and(|member| matches!(member.sync_state, SyncState::Partly(..)))
    }

    /// Sends members what they need to reach their rooms' cursors, as far as they can take it and there is time. A live
    /// feed is sent only to members that have the board it belongs to; any other feed is sent to all.
    pub(super) async fn serve(&mut self, follower: &RegionFollower, ready: &mut Vec<Sid>) {
        let end = Instant::now() + SERVED_FOR;
        // Each member once: an event that is counted twice and sent once would never be accepted in full.
        let mut known = HashSet::with_capacity(ready.len());
        ready.retain(|sid| known.insert(*sid));
        for _ in 0..MOST_PARTS {
            let mut others = mem::take(ready);
            while !others.is_empty() {
                // Who waits longest comes first.
                let mut some: Vec<Sid> = others.drain(..others.len().min(SERVED_AT_ONCE)).collect();
                self.serve_once(follower, &mut some).await;
                ready.append(&mut some);
                if Instant::now() > end {
                    self.unserved.append(&mut others);
                    self.unserved.append(ready);
                    return;
                }
            }
            if ready.is_empty() {
                return;
            }
        }
        self.unserved.append(ready);
    }

    /// Sends each of these members one part. Leaves those that can take the next one at once.
    async fn serve_once(&mut self, follower: &RegionFollower, ready: &mut Vec<Sid>) {
        let live = follower.reader().phase() == Phase::Live;
        let mut feed: Option<FeedPackets> = None;
        // Members that get the same part are served together.
        let mut same_part = SamePart::new();
        for sid in ready.drain(..) {
            let Some(filter) = self.room_of.get(&sid) else { continue };
            let room = self.rooms.get_mut(filter).expect("a member's room is there");
            let member = room.members.get_mut(&sid).expect("room_of names only rooms that the member is in");
            if !member.is_writable(self.region) {
                continue;
            }
            if member.feed_is_due && (member.is_at(room.cursor) || self.published.borrow().state != FeedState::Live) {
                feed.get_or_insert_with(|| FeedPackets::new(&self.published.borrow())).send_due(member, room.cursor);
            }
            if !live || member.is_following() {
                continue;
            }
            if member.not_before.is_some_and(|at| at > Instant::now()) {
                self.waiting_for_time.insert(sid);
                continue;
            }
            let (frames, part) = match &member.sync_state {
                SyncState::Following => continue,
                SyncState::Partly(frames, sent) => (frames.clone(), *sent),
                SyncState::Behind(from) => {
                    let ahead = from.is_some_and(|from| follower.board().is_ahead(&from, &room.filter));
                    if ahead && member.joined.elapsed() < AHEAD_WITHIN {
                        self.waiting_for_time.insert(sid);
                        continue;
                    }
                    if *from == room.cursor && !member.asked && member.client.gap.is_none() {
                        member.sync_state = SyncState::Following;
                        continue;
                    }
                    if *from == room.cursor && !member.asked {
                        continue;
                    }
                    let (from, throughput) = (*from, &member.throughput);
                    let (update, part) = (throughput.instead_of_a_board(), throughput.at_once().min(PART_BYTES));
                    let frames = room.frames(self.region, follower.board(), from, update, part);
                    let Some(frames) = frames else { continue };
                    (frames, 0)
                }
            };
            let key = (Arc::as_ptr(&frames).addr(), part);
            same_part.entry(key).or_insert_with(|| (filter.clone(), frames, Vec::new())).2.push(sid);
        }
        for ((_, part), (filter, frames, sids)) in same_part {
            self.send_part(&filter, &frames, part, &sids, ready).await;
            let room = self.rooms.get_mut(&filter).expect("it was just served");
            for sid in sids {
                let member = room.members.get_mut(&sid).expect("it was just served");
                if member.feed_is_due && member.is_at(room.cursor) {
                    feed.get_or_insert_with(|| FeedPackets::new(&self.published.borrow()))
                        .send_due(member, room.cursor);
                }
            }
        }
    }

    /// Sends one part to these members of a room, and updates their state. Adds to `ready` who can take the next one at
    /// once; the region is notified when the others can.
    async fn send_part(
        &mut self,
        filter: &Arc<Filter>,
        frames: &Arc<Frames>,
        part: usize,
        sids: &[Sid],
        ready: &mut Vec<Sid>,
    ) {
        let done = part + 1 == frames.parts.len();
        let mut broadcast = Broadcast::new(&frames.parts[part], sids.len(), &self.threads);
        let room = self.rooms.get_mut(filter).expect("it was just served");
        let at_end = room.cursor == Some(frames.cursor);
        for sid in sids {
            let member = room.members.get_mut(sid).expect("it was just served");
            member.asked = false;
            broadcast.send(*sid, member);
            member.not_before = member.client.gap.map(|gap| Instant::now() + gap);
            member.sync_state = match (done, member.client.gap) {
                (false, _) => SyncState::Partly(frames.clone(), part + 1),
                (true, None) if at_end => SyncState::Following,
                (true, _) => SyncState::Behind(Some(frames.cursor)),
            };
            if !done {
                member.not_before = None;
            }
        }
        self.finish(filter, broadcast).await;
        if !done {
            let room = self.rooms.get_mut(filter).expect("it was just served");
            for sid in sids {
                if room.members.get_mut(sid).expect("it was just served").is_writable(self.region) {
                    ready.push(*sid);
                }
            }
        }
        if frames.kind == FrameKind::Snapshot {
            self.metrics.snapshots.inc_by(sids.len() as u64);
        }
    }
}

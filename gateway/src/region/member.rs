//! A client in a region: its cursor, and how much it can take.

use std::{sync::Arc, time::Duration};

use odds::{Cursor, Region};
use tokio::time::Instant;

use super::{frames::Frames, throughput::Throughput};
use crate::{
    client::Client,
    transport::{DeliveryTracker, Packet, Passed},
};

/// A client in this region.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client: Arc<Client>,
    /// A copy of the client's, so that a tick need not load the client.
    tracker: Arc<DeliveryTracker>,
    pub(crate) sync_state: SyncState,
    /// What was sent last.
    last: Sent,
    /// Whether a check found that the network had not accepted it yet.
    blocked: bool,
    pub(crate) throughput: Throughput,
    /// The number of the last event that `throughput` took into account.
    judged: u64,
    pub(crate) joined: Instant,
    /// When the client's minimum interval between frames has passed, if it has one.
    pub(crate) not_before: Option<Instant>,
    pub(crate) feed_is_due: bool,
    /// When it joined, or was last sent a reminder of the feed.
    pub(crate) reminded_at: Instant,
    /// It joined or asked for a resync, which is answered even if there is nothing new.
    pub(crate) asked: bool,
}

/// An event that was sent to a member; with previous ones, if those were not accepted yet.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The event's number in the delivery tracker.
    number: u64,
    bytes: usize,
    at: Instant,
}

/// A member's position relative to its room.
#[derive(Clone, Debug)]
pub(crate) enum SyncState {
    /// At its room's cursor; gets every frame of the room.
    Following,
    /// At this cursor, or without a board.
    Behind(Option<Cursor>),
    /// In the middle of a snapshot, of which this many parts were sent.
    Partly(Arc<Frames>, usize),
}

impl Member {
    /// A member that joins with this cursor, and must answer pings within `ping_timeout`.
    pub(crate) fn new(client: Arc<Client>, from: Option<Cursor>, ping_timeout: Duration, now: Instant) -> Self {
        let mut member = Self {
            tracker: client.tracker.clone(),
            client,
            sync_state: SyncState::Behind(from),
            last: Sent { number: 0, bytes: 0, at: now },
            blocked: false,
            throughput: Throughput::new(ping_timeout, now),
            judged: 0,
            joined: now,
            not_before: None,
            feed_is_due: true,
            reminded_at: now,
            asked: true,
        };
        member.asks(from, now);
        member
    }

    /// Notes that it asks for what leads from its cursor to the room's, or for a snapshot.
    pub(crate) fn asks(&mut self, from: Option<Cursor>, now: Instant) {
        self.sync_state = SyncState::Behind(from);
        self.asked = true;
        self.joined = now;
        // What is sent before everything else has been taken goes through the socket's queue, without compression.
        if self.tracker.has_compression() {
            let was_judged = self.judged == self.last.number;
            self.last.number = self.tracker.newest();
            if was_judged {
                self.judged = self.last.number;
            }
        }
    }

    /// The tracker, with which other threads can send to it.
    pub(crate) fn tracker(&self) -> &Arc<DeliveryTracker> {
        &self.tracker
    }

    pub(crate) fn is_following(&self) -> bool {
        matches!(self.sync_state, SyncState::Following)
    }

    /// Whether it has the room's board.
    pub(crate) fn is_at(&self, room: Option<Cursor>) -> bool {
        match &self.sync_state {
            SyncState::Following => true,
            SyncState::Behind(from) => from.is_some() && *from == room,
            SyncState::Partly(..) => false,
        }
    }

    /// Sends a packet that other members get, too. Returns how many bytes that takes.
    pub(crate) fn send(&mut self, packet: &Packet, at: Instant) -> usize {
        let passed = self.tracker.pass(packet);
        self.note(passed, packet, at)
    }

    /// Notes how a packet was passed directly. If it was not, it is sent through the socket's queue, after all answers
    /// and events that are queued there. Returns how many bytes that takes.
    pub(crate) fn note(&mut self, passed: Option<Passed>, packet: &Packet, at: Instant) -> usize {
        let Passed { number, bytes } = passed.unwrap_or_else(|| {
            let number = self.client.send_in_order(packet.event(), packet.payload());
            Passed { number, bytes: packet.bytes() }
        });
        // If the previous event is not accepted yet, both are measured together.
        self.last = match self.can_take() {
            true => Sent { number, bytes, at },
            false => Sent { number, bytes: self.last.bytes + bytes, at: self.last.at },
        };
        bytes
    }

    /// Whether the network has accepted what was sent last.
    fn can_take(&self) -> bool {
        self.tracker.has_taken(self.last.number)
    }

    /// Whether it can take this many bytes now.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        self.can_take() && bytes <= self.throughput.at_once()
    }

    /// Whether the network has accepted what was sent last. If not, the region is notified when that changes.
    pub(crate) fn is_writable(&mut self, region: Region) -> bool {
        if !self.can_take() {
            self.tracker.notify_when_writable(region);
            // Check again: an event that was accepted before the request does not notify.
            if !self.can_take() {
                self.blocked = true;
                return false;
            }
        }
        let was_blocked = std::mem::take(&mut self.blocked);
        if self.judged != self.last.number {
            self.judged = self.last.number;
            let Sent { bytes, at, .. } = self.last;
            match was_blocked {
                true => self.throughput.kept_waiting(bytes, at, Instant::now()),
                false => self.throughput.took(bytes, at, Instant::now()),
            }
        }
        true
    }
}

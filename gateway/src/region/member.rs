//! A client in a region: where it stands, and what it can take.

use std::sync::Arc;

use odds::{Cursor, Region};
use tokio::time::Instant;

use super::{frames::Frames, throughput::Throughput};
use crate::{
    client::Client,
    transport::{DeliveryTracker, Packet},
};

/// A client in this region.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client: Arc<Client>,
    /// The client's, at hand: of most members a tick needs nothing else.
    tracker: Arc<DeliveryTracker>,
    pub(crate) sync_state: SyncState,
    /// What it was sent last.
    last: Sent,
    /// It was found not to have taken that.
    blocked: bool,
    pub(crate) throughput: Throughput,
    /// The number of the event that this was last judged by.
    judged: u64,
    pub(crate) joined: Instant,
    /// Nothing is sent before: it asked for fewer frames.
    pub(crate) not_before: Option<Instant>,
    pub(crate) feed_is_due: bool,
    /// When it came, or was last sent the feed because that was long ago.
    pub(crate) reminded_at: Instant,
    /// It asked, and is answered even if there is nothing new.
    pub(crate) asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The event's number on its account.
    number: u64,
    bytes: usize,
    at: Instant,
}

#[derive(Clone, Debug)]
pub(crate) enum SyncState {
    /// At its room's cursor, and in its room.
    Following,
    Behind(Option<Cursor>),
    /// In the middle of a snapshot: this many parts are sent.
    Partly(Arc<Frames>, usize),
}

impl Member {
    /// Asks for what leads from there.
    pub(crate) fn new(client: Arc<Client>, from: Option<Cursor>, now: Instant) -> Self {
        Self {
            tracker: client.tracker.clone(),
            client,
            sync_state: SyncState::Behind(from),
            last: Sent { number: 0, bytes: 0, at: now },
            blocked: false,
            throughput: Throughput::new(now),
            judged: 0,
            joined: now,
            not_before: None,
            feed_is_due: true,
            reminded_at: now,
            asked: true,
        }
    }

    /// Its account, for whoever sends in its stead.
    pub(crate) fn tracker(&self) -> &Arc<DeliveryTracker> {
        &self.tracker
    }

    pub(crate) fn is_following(&self) -> bool {
        matches!(self.sync_state, SyncState::Following)
    }

    /// It has what its room has.
    pub(crate) fn is_at(&self, room: Option<Cursor>) -> bool {
        match &self.sync_state {
            SyncState::Following => true,
            SyncState::Behind(from) => from.is_some() && *from == room,
            SyncState::Partly(..) => false,
        }
    }

    /// Sends it what others are sent, too.
    pub(crate) fn send(&mut self, packet: &Packet, at: Instant) {
        let number = self.tracker.pass(packet.frame());
        self.note(number, packet, at);
    }

    /// It was passed this, and has this number on its account; or it could not be passed it, and gets it by
    /// the socket's queue.
    pub(crate) fn note(&mut self, number: Option<u64>, packet: &Packet, at: Instant) {
        match number {
            Some(number) => self.sent(number, packet, at),
            None => self.send_in_order(packet, at),
        }
    }

    /// What is on its way and what follows it are taken together.
    fn sent(&mut self, number: u64, packet: &Packet, at: Instant) {
        self.last = match self.can_take() {
            true => Sent { number, bytes: packet.bytes(), at },
            false => Sent { number, bytes: self.last.bytes + packet.bytes(), at: self.last.at },
        };
    }

    /// Sends by the socket's queue: after all that it was answered.
    pub(crate) fn send_in_order(&mut self, packet: &Packet, at: Instant) {
        let number = self.client.send_in_order(packet.event(), packet.payload());
        self.sent(number, packet, at);
    }

    /// The network has what it was sent last.
    fn can_take(&self) -> bool {
        self.tracker.has_taken(self.last.number)
    }

    /// It can take so much now.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        self.can_take() && bytes <= self.throughput.at_once()
    }

    /// Whether the network has what it was sent last. If not, the region is notified when that changes.
    pub(crate) fn is_writable(&mut self, region: Region) -> bool {
        if !self.can_take() {
            self.tracker.notify_when_writable(region);
            // What was accepted before that was noted notifies nobody.
            if !self.can_take() {
                self.blocked = true;
                return false;
            }
        }
        if self.judged != self.last.number {
            self.judged = self.last.number;
            let Sent { bytes, at, .. } = self.last;
            match std::mem::take(&mut self.blocked) {
                true => self.throughput.kept_waiting(bytes, at, Instant::now()),
                false => self.throughput.took(bytes, at, Instant::now()),
            }
        }
        true
    }
}

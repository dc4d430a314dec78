//! Sends one packet to many members. The region's thread sends to a few members by itself; for more, it splits the work
//! among the threads of the shared runtime.

use std::sync::Arc;

use socketioxide::socket::Sid;
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::member::Member;
use crate::transport::{DeliveryTracker, Packet, Passed};

/// A packet that is being sent to many members.
pub(crate) struct Broadcast {
    pub(crate) packet: Arc<Packet>,
    pub(crate) at: Instant,
    /// The runtime that helps; none for a few members.
    threads: Option<Handle>,
    /// How many members it was sent to so far.
    pub(crate) reached: u64,
    /// How many bytes were sent to those members that this thread sent to.
    bytes: u64,
    share: Vec<(Sid, Arc<DeliveryTracker>)>,
    shares: Vec<JoinHandle<PassedTo>>,
}

/// What was passed to each member; none if it could not be passed and has to go through the socket's queue.
pub(crate) type PassedTo = Vec<(Sid, Option<Passed>)>;

/// The most members that the region's thread sends to by itself, which takes about ten milliseconds.
const FEW: usize = 1_024;
/// How many members one task sends to.
const SHARE: usize = 256;
/// How many members' trackers are prefetched at a time, so that their cache misses overlap.
pub(crate) const BATCH: usize = 32;

impl Broadcast {
    /// Begins a broadcast to at most this many members.
    pub(crate) fn new(packet: &Arc<Packet>, most: usize, threads: &Handle) -> Self {
        Self {
            packet: packet.clone(),
            at: Instant::now(),
            threads: (most > FEW).then(|| threads.clone()),
            reached: 0,
            bytes: 0,
            share: Vec::new(),
            shares: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, sid: Sid, member: &mut Member) {
        self.reached += 1;
        let Some(threads) = &self.threads else {
            self.bytes += member.send(&self.packet, self.at) as u64;
            return;
        };
        self.share.push((sid, member.tracker().clone()));
        if self.share.len() == SHARE {
            let (share, packet) = (std::mem::replace(&mut self.share, Vec::with_capacity(SHARE)), self.packet.clone());
            self.shares.push(threads.spawn(async move { pass(&share, &packet) }));
        }
    }

    /// Waits until all members were sent it. Returns what was passed to those that other threads sent to, and how many
    /// bytes were sent to the others.
    pub(crate) async fn end(self) -> (PassedTo, u64) {
        let mut passed = pass(&self.share, &self.packet);
        for share in self.shares {
            passed.extend(share.await.expect("passing does not panic"));
        }
        (passed, self.bytes)
    }
}

fn pass(share: &[(Sid, Arc<DeliveryTracker>)], packet: &Packet) -> PassedTo {
    let mut passed = PassedTo::with_capacity(share.len());
    for batch in share.chunks(BATCH) {
        batch.iter().for_each(|(_, tracker)| tracker.prefetch());
        passed.extend(batch.iter().map(|(sid, tracker)| (*sid, tracker.pass(packet))));
    }
    passed
}

//! A frame on its way to many. A few are passed it by the region's task itself; a crowd is shared out among
//! the threads of all.

use std::sync::Arc;

use socketioxide::socket::Sid;
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::member::Member;
use crate::transport::{DeliveryTracker, Packet};

pub(crate) struct Broadcast {
    pub(crate) packet: Arc<Packet>,
    pub(crate) at: Instant,
    /// Those who help, if it is a crowd.
    threads: Option<Handle>,
    /// So far.
    pub(crate) reached: u64,
    share: Vec<(Sid, Arc<DeliveryTracker>)>,
    shares: Vec<JoinHandle<Passed>>,
}

/// The numbers on the accounts of those that it was passed to; nothing where something was in the way.
pub(crate) type Passed = Vec<(Sid, Option<u64>)>;

/// No more than these are a few: some ten milliseconds' work.
const FEW: usize = 1_024;
const SHARE: usize = 256;
/// For so many the processor waits for memory once, not for each between two calls of the kernel.
pub(crate) const BATCH: usize = 32;

impl Broadcast {
    /// To no more than so many.
    pub(crate) fn new(packet: &Arc<Packet>, most: usize, threads: &Handle) -> Self {
        Self {
            packet: packet.clone(),
            at: Instant::now(),
            threads: (most > FEW).then(|| threads.clone()),
            reached: 0,
            share: Vec::new(),
            shares: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, sid: Sid, member: &mut Member) {
        self.reached += 1;
        let Some(threads) = &self.threads else { return member.send(&self.packet, self.at) };
        self.share.push((sid, member.tracker().clone()));
        if self.share.len() == SHARE {
            let (share, packet) = (std::mem::replace(&mut self.share, Vec::with_capacity(SHARE)), self.packet.clone());
            self.shares.push(threads.spawn(async move { pass(&share, &packet) }));
        }
    }

    pub(crate) fn send_in_order(&mut self, member: &mut Member) {
        self.reached += 1;
        member.send_in_order(&self.packet, self.at);
    }

    /// Waits until the crowd is passed it.
    pub(crate) async fn end(self) -> Passed {
        let mut passed = pass(&self.share, &self.packet);
        for share in self.shares {
            passed.extend(share.await.expect("passing does not panic"));
        }
        passed
    }
}

fn pass(share: &[(Sid, Arc<DeliveryTracker>)], packet: &Packet) -> Passed {
    let mut passed = Passed::with_capacity(share.len());
    for batch in share.chunks(BATCH) {
        batch.iter().for_each(|(_, tracker)| tracker.prefetch());
        passed.extend(batch.iter().map(|(sid, tracker)| (*sid, tracker.pass(packet.frame()))));
    }
    passed
}

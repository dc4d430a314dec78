//! A frame on its way to many. A few are passed it by the region's task itself; a crowd is shared out among
//! the threads.

use std::sync::Arc;

use socketioxide::socket::Sid;
use tokio::{task::JoinHandle, time::Instant};

use crate::{link::Link, member::Member, packet::Packet};

pub(crate) struct Sending {
    pub(crate) packet: Arc<Packet>,
    pub(crate) at: Instant,
    is_crowd: bool,
    /// So far.
    pub(crate) reached: u64,
    share: Vec<(Sid, Arc<Link>)>,
    shares: Vec<JoinHandle<Passed>>,
}

/// The numbers on the accounts of those that it was passed to; nothing where something was in the way.
pub(crate) type Passed = Vec<(Sid, Option<u64>)>;

/// No more than these are a few: some ten milliseconds' work.
const FEW: usize = 1_024;
const SHARE: usize = 256;

impl Sending {
    /// To no more than so many.
    pub(crate) fn new(packet: &Arc<Packet>, most: usize) -> Self {
        Self {
            packet: packet.clone(),
            at: Instant::now(),
            is_crowd: most > FEW,
            reached: 0,
            share: Vec::new(),
            shares: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, sid: Sid, member: &mut Member) {
        self.reached += 1;
        if !self.is_crowd {
            return member.send(&self.packet, self.at);
        }
        self.share.push((sid, member.link()));
        if self.share.len() == SHARE {
            let (share, packet) = (std::mem::replace(&mut self.share, Vec::with_capacity(SHARE)), self.packet.clone());
            self.shares.push(tokio::spawn(async move { pass(share, &packet) }));
        }
    }

    pub(crate) fn tell(&mut self, member: &mut Member) {
        self.reached += 1;
        member.tell(&self.packet, self.at);
    }

    /// Waits until the crowd is passed it.
    pub(crate) async fn end(self) -> Passed {
        let mut passed = pass(self.share, &self.packet);
        for share in self.shares {
            passed.extend(share.await.expect("passing does not panic"));
        }
        passed
    }
}

fn pass(share: Vec<(Sid, Arc<Link>)>, packet: &Packet) -> Passed {
    share.into_iter().map(|(sid, link)| (sid, link.pass(packet.frame()))).collect()
}

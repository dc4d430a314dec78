//! Limits on connections, in total and per network.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::OwnedSemaphorePermit;

/// The most connections, in total and per network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) all: usize,
    pub(crate) of_network: usize,
}

/// A connection's slot in both limits. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    pub(super) _of_all: OwnedSemaphorePermit,
    pub(super) _of_network: OfNetwork,
    pub(super) _counted: Counted,
}

/// How many connections have begun or ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turnover(Arc<AtomicU64>);

/// A connection that counts when it begins and when it ends.
#[derive(Debug)]
pub(super) struct Counted(Turnover);

impl Turnover {
    pub(super) fn begins(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The number of connections of each network.
#[derive(Debug)]
pub(super) struct Networks {
    pub(super) most: usize,
    pub(super) connections: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's slot in its network; none for proxies.
#[derive(Debug)]
pub(super) struct OfNetwork(Option<(Arc<Networks>, IpAddr)>);

impl Networks {
    pub(super) fn let_in(self: &Arc<Self>, network: IpAddr, is_proxy: bool) -> Option<OfNetwork> {
        if is_proxy {
            return Some(OfNetwork(None));
        }
        let mut connections = self.connections.lock().expect("nobody panics while holding it");
        let count = connections.get(&network).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        connections.insert(network, count + 1);
        Some(OfNetwork(Some((self.clone(), network))))
    }
}

impl Drop for OfNetwork {
    fn drop(&mut self) {
        if let Some((networks, network)) = &self.0 {
            one_less(&mut networks.connections.lock().expect("nobody panics while holding it"), network);
        }
    }
}

/// Decrements a count, and removes it when it reaches zero.
pub(crate) fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

//! How hostile peers affect a gateway's good clients, compared with the same number of harmless connections.

mod kind;
mod leg;
mod peer;
mod swarm;
mod wire;

pub use kind::Kind;
pub use leg::{Leg, Outcome};
pub use peer::{End, Peer, live};
pub use swarm::{Origin, Tally};

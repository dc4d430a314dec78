//! Engine.IO's first packet, which opens a session.

use serde_json::{Map, Value};
use socketioxide::socket::Sid;

/// The first packet with the gateway's limit on messages as its `maxPayload`: Engine.IO's own limit is for what it
/// sends.
#[derive(Debug)]
pub(super) struct OpenPacket {
    pub(super) sid: Option<Sid>,
    pub(super) text: String,
}

impl OpenPacket {
    /// Returns `None` for any other packet.
    pub(super) fn limited(packet: &[u8], max_payload: usize) -> Option<Self> {
        let mut open: Map<String, Value> = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
        let sid = open.get("sid").and_then(|sid| sid.as_str()?.parse().ok());
        open.insert("maxPayload".into(), max_payload.into());
        Some(Self { sid, text: format!("0{}", Value::Object(open)) })
    }
}

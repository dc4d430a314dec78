//! An event for many clients, encoded once, and compressed at most once.

use std::{ops::Range, sync::OnceLock};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

/// An event, encoded as the websocket frame that is written to the socket.
#[derive(Debug)]
pub(crate) struct Packet {
    event: &'static str,
    frame: Bytes,
    /// Where the message begins in the frame, behind its header.
    message: usize,
    /// The position of the payload in the frame.
    payload: Range<usize>,
    /// The same event compressed; the frame itself if compressing it isn't worth it. Empty until somebody wants it.
    compressed: OnceLock<Bytes>,
}

impl Packet {
    /// Encodes an event with this JSON as its payload.
    pub(crate) fn new(event: &'static str, json: &str) -> Self {
        // 4: Engine.IO message; 2: Socket.IO event.
        let begin = format!(r#"42["{event}","#);
        let length = begin.len() + json.len() + 1;
        let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
        let mut frame = Vec::with_capacity(header.len(length as u64) + length);
        header.format(length as u64, &mut frame).expect("writing to memory");
        let message = frame.len();
        frame.extend(begin.as_bytes());
        let payload = frame.len()..frame.len() + json.len();
        frame.extend(json.as_bytes());
        frame.push(b']');
        Self { event, frame: frame.into(), message, payload, compressed: OnceLock::new() }
    }

    pub(crate) fn event(&self) -> &'static str {
        self.event
    }

    /// The payload, for clients that get the event through their socket's queue.
    pub(crate) fn payload(&self) -> &RawValue {
        serde_json::from_slice(&self.frame[self.payload.clone()]).expect("it was made of JSON")
    }

    /// The size of the payload in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len()
    }

    pub(crate) fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The frame for connections with compression. Whoever asks first compresses it, which takes a tenth of a
    /// millisecond or so; others wait.
    pub(crate) fn compressed(&self) -> &Bytes {
        self.compressed.get_or_init(|| {
            let message = &self.frame[self.message..];
            deflate::compressed_frame(message).map_or_else(|| self.frame.clone(), Bytes::from)
        })
    }

    /// Whether somebody wanted it compressed.
    pub(crate) fn was_compressed(&self) -> bool {
        self.compressed.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_a_frame_of_any_length_and_its_payload() {
        for (digits, header) in [(1, 2), (200, 4), (70_000, 10)] {
            let json = format!("[{}]", "7".repeat(digits));
            let packet = Packet::new("odds", &json);
            let text = format!(r#"42["odds",{json}]"#);
            assert_eq!(&packet.frame()[header..], text.as_bytes());
            assert_eq!((packet.payload().get(), packet.bytes()), (json.as_str(), json.len()));
            let length = packet.frame()[2..header].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            assert_eq!(if header == 2 { packet.frame()[1].into() } else { length }, text.len());
        }
    }
}

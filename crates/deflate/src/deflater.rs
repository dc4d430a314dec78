//! Compresses messages.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::TAIL;

/// The shortest message that is worth compressing, in bytes. Below it, the packet's own headers weigh as much as what
/// would be saved.
const WORTH_FROM: usize = 600;
const LEVEL: u32 = 6;
/// The longest header of a server's frame.
const HEADER: usize = 10;

thread_local! {
    /// Reset for each message. A new one would take longer to allocate than a short message to compress.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// Compresses a text message into a whole frame, as a server sends it. Returns `None` if that isn't worth it.
pub fn compressed_frame(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < WORTH_FROM {
        return None;
    }
    let compressed = compressed(message);
    if compressed.len() >= message.len() {
        return None;
    }
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), rsv1: true, ..FrameHeader::default() };
    let mut frame = Vec::with_capacity(HEADER + compressed.len());
    header.format(compressed.len() as u64, &mut frame).expect("writing to memory");
    frame.extend(compressed);
    Some(frame)
}

fn compressed(message: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut compressed = Vec::with_capacity(message.len() / 3);
        loop {
            let read = compress.total_in() as usize;
            // With room left, everything was flushed.
            if compressed.capacity() - compressed.len() < 64 {
                compressed.reserve(compressed.len().max(256));
            }
            compress
                .compress_vec(&message[read..], &mut compressed, FlushCompress::Sync)
                .expect("the compressor is in a valid state");
            if compressed.len() < compressed.capacity() {
                break;
            }
        }
        let end = compressed.len().saturating_sub(TAIL.len());
        assert_eq!(compressed[end..], TAIL, "a flush ends with an empty block");
        compressed.truncate(end);
        compressed
    })
}

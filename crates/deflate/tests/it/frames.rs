//! Frames as clients and servers write and read them.

use std::io::Cursor;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tungstenite::protocol::frame::{FrameHeader, coding::OpCode};

pub const TEXT: u8 = 1;
pub const CONTINUE: u8 = 0;
pub const PING: u8 = 9;

/// A frame as a client sends it.
pub fn client_frame(opcode: u8, rsv1: bool, is_final: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header =
        FrameHeader { is_final, rsv1, opcode: OpCode::from(opcode), mask: Some(mask), ..FrameHeader::default() };
    let mut frame = Vec::new();
    header.format(payload.len() as u64, &mut frame).unwrap();
    frame.extend(payload.iter().zip(0..).map(|(byte, at): (_, usize)| byte ^ mask[at % 4]));
    frame
}

/// Each frame of these bytes: its first byte and its payload, without its mask.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().expect("a whole header");
        let (begin, mask) = (cursor.position() as usize, header.mask.unwrap_or_default());
        let payload = &bytes[begin..begin + length as usize];
        frames.push((bytes[0], payload.iter().zip(0..).map(|(byte, at): (_, usize)| byte ^ mask[at % 4]).collect()));
        bytes = &bytes[begin + length as usize..];
    }
    frames
}

/// Compresses a message as a client does.
pub fn compressed(message: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(2 * message.len() + 100);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(message, &mut compressed, FlushCompress::Sync).unwrap();
    compressed.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec()
}

/// Inflates a message as a client does.
pub fn inflated(compressed: &[u8], length: usize) -> Vec<u8> {
    let mut inflated = Vec::with_capacity(length + 1);
    let whole = [compressed, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false).decompress_vec(&whole, &mut inflated, FlushDecompress::Sync).unwrap();
    inflated
}

//! A websocket reader that does as little work as possible, because thousands of them share the machine with the server
//! that is measured.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

/// A text frame, whose payload may be compressed.
#[derive(Clone, Copy, Debug)]
pub struct TextFrame<'a> {
    /// The first bytes of the payload.
    pub kept: &'a [u8],
    /// The length of the payload.
    pub length: usize,
    pub is_compressed: bool,
}

/// Splits a stream of bytes into text frames. Servers don't mask frames; fragmented messages are not supported.
#[derive(Debug)]
pub struct FrameReader {
    header: [u8; 10],
    have: usize,
    is_text: bool,
    is_compressed: bool,
    left: u64,
    length: usize,
    /// The first bytes of the payload.
    kept: Vec<u8>,
    keep: usize,
}

impl FrameReader {
    /// Creates a reader that keeps at most this many bytes of each payload.
    pub fn keeping(keep: usize) -> Self {
        Self {
            header: [0; 10],
            have: 0,
            is_text: false,
            is_compressed: false,
            left: 0,
            length: 0,
            kept: Vec::new(),
            keep,
        }
    }

    /// Takes the next bytes. Calls `on_frame` for each text frame that ends in them.
    pub fn take(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(TextFrame<'_>)) {
        while let Some(&first) = bytes.first() {
            if self.left == 0 {
                self.header[self.have] = first;
                self.have += 1;
                bytes = &bytes[1..];
                let header = FrameHeader::parse(&mut Cursor::new(&self.header[..self.have]));
                let Ok(Some((header, length))) = header else { continue };
                self.is_text = header.opcode == OpCode::Data(Data::Text);
                self.is_compressed = header.rsv1;
                self.left = length;
                self.length = usize::try_from(length).unwrap_or(usize::MAX);
                self.kept.clear();
                if length > 0 {
                    continue;
                }
            } else {
                let now = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let room = self.keep.saturating_sub(self.kept.len()).min(now);
                self.kept.extend_from_slice(&bytes[..room]);
                bytes = &bytes[now..];
                self.left -= now as u64;
            }
            if self.left == 0 {
                if self.is_text {
                    let Self { length, is_compressed, .. } = *self;
                    on_frame(TextFrame { kept: &self.kept, length, is_compressed });
                }
                self.have = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_however_the_bytes_are_cut() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x89, 0, 0x81, 0, 0x81, 126, 1, 0];
        bytes.extend([b'x'; 256]);
        bytes.extend([0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        bytes.extend([b'y'; 70_000]);
        for size in [1, 2, 3, 100, bytes.len()] {
            let mut frames = Vec::new();
            let mut reader = FrameReader::keeping(4);
            for part in bytes.chunks(size) {
                reader.take(part, |frame| frames.push((frame.kept.to_vec(), frame.length)));
            }
            let expected: [(&[u8], usize); 4] = [(b"hi", 2), (b"", 0), (b"xxxx", 256), (b"yyyy", 70_000)];
            assert!(frames.iter().map(|(kept, length)| (&kept[..], *length)).eq(expected), "in pieces of {size}");
        }
    }
}

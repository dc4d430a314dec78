//! Tells where frames end in a websocket's bytes.

use std::io;

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, OpCode},
};

/// Follows the bytes that hyper and the websocket write: the HTTP response that upgrades the connection, and then answers to
/// the client's control frames. A server's frames are not masked.
#[derive(Debug)]
pub(super) struct FrameBoundary {
    state: State,
}

#[derive(Debug)]
enum State {
    /// In the HTTP response that upgrades the connection; this many bytes of its end are matched.
    Answer { matched: usize },
    /// In a frame's header.
    Header { bytes: [u8; 10], have: usize },
    /// In a frame's payload.
    Payload { left: u64 },
    /// In or after the close frame, which no other frame may follow.
    Over,
}

const END_OF_ANSWER: &[u8; 4] = b"\r\n\r\n";

impl Default for FrameBoundary {
    fn default() -> Self {
        Self { state: State::Answer { matched: 0 } }
    }
}

impl State {
    const FRAME: Self = Self::Header { bytes: [0; 10], have: 0 };
}

impl FrameBoundary {
    pub(super) fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            match &mut self.state {
                State::Answer { matched } => {
                    *matched = match (first == END_OF_ANSWER[*matched], first == END_OF_ANSWER[0]) {
                        (true, _) => *matched + 1,
                        (false, true) => 1,
                        (false, false) => 0,
                    };
                    bytes = &bytes[1..];
                    if *matched == END_OF_ANSWER.len() {
                        self.state = State::FRAME;
                    }
                }
                State::Header { bytes: header, have } => {
                    header[*have] = first;
                    *have += 1;
                    bytes = &bytes[1..];
                    if let Ok(Some((header, left))) = FrameHeader::parse(&mut io::Cursor::new(&header[..*have])) {
                        self.state = match left {
                            _ if header.opcode == OpCode::Control(Control::Close) => State::Over,
                            0 => State::FRAME,
                            _ => State::Payload { left },
                        };
                    }
                }
                State::Payload { left } => {
                    let now = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[now..];
                    *left -= now as u64;
                    if *left == 0 {
                        self.state = State::FRAME;
                    }
                }
                State::Over => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { opcode: OpCode::from(opcode), ..FrameHeader::default() };
        let mut frame = Vec::new();
        header.format(payload.len() as u64, &mut frame).unwrap();
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_end_where_they_end_however_the_bytes_are_cut() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
        let frames =
            [frame(1, b"0{}"), frame(10, b""), frame(10, &[7; 125]), frame(2, &[7; 200]), frame(1, &[7; 70_000])];
        for size in [1, 2, 3, 7, 64, 1_000, 100_000] {
            let mut boundary = FrameBoundary::default();
            assert!(!boundary.is_between_frames());
            for bytes in [&answer[..]].into_iter().chain(frames.iter().map(Vec::as_slice)) {
                let (last, before) = bytes.split_last().unwrap();
                before.chunks(size).for_each(|chunk| boundary.follow(chunk));
                assert!(!boundary.is_between_frames(), "in pieces of {size}");
                boundary.follow(&[*last]);
                assert!(boundary.is_between_frames(), "in pieces of {size}");
            }
        }
    }

    #[test]
    fn nothing_follows_the_frame_that_closes() {
        for payload in [&b""[..], &[0x03, 0xe8]] {
            let mut boundary = FrameBoundary::default();
            boundary.follow(b"HTTP/1.1 101 x\r\n\r\n");
            boundary.follow(&frame(9, b"ping"));
            assert!(boundary.is_between_frames());
            boundary.follow(&frame(8, payload));
            assert!(!boundary.is_between_frames());
        }
    }
}

//! Inflates what the other side sends.

use std::{cell::RefCell, io::Cursor};

use flate2::{Decompress, FlushDecompress, Status};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::TAIL;

/// The longest header of a client's frame.
const HEADER: usize = 14;
/// What a message may grow to in any case, in bytes.
const SMALL: usize = 4_096;
/// How many times longer a larger message may become. JSON seldom shrinks to less than a twentieth.
const MOST_RATIO: usize = 100;
/// Enough for most messages of a client.
const CHUNK: usize = 2_048;

thread_local! {
    /// Reset for each message.
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Why a connection can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("a compressed message is too large")]
    TooLarge,
    #[error("a compressed message can't be inflated")]
    Corrupt,
    #[error("a compressed frame is where none may be")]
    Unexpected,
}

/// Reads the bytes of a client, or of a server, and writes the same messages without compression.
///
/// What is not compressed passes as it is, also if it is wrong. A message that was compressed becomes one frame.
#[derive(Debug, Default)]
pub struct Inflater {
    state: State,
    /// The compressed message that has begun.
    message: Option<Message>,
}

#[derive(Debug)]
struct Message {
    opcode: OpCode,
    is_masked: bool,
    compressed: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// In a frame's header.
    Header { bytes: [u8; HEADER], have: usize },
    /// In the payload of a frame that passes as it is.
    Passing { left: u64 },
    /// In the payload of a frame of a compressed message.
    Collecting { left: usize, mask: [u8; 4], at: usize, is_last: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::FRAME
    }
}

impl State {
    const FRAME: Self = Self::Header { bytes: [0; HEADER], have: 0 };
}

impl Inflater {
    /// Reads the next bytes, and appends to `out` what they are without compression. No compressed message may be longer
    /// than `most`, compressed or not.
    pub fn read(&mut self, mut bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), BadFrame> {
        while let Some(&first) = bytes.first() {
            match &mut self.state {
                State::Header { bytes: header, have } => {
                    header[*have] = first;
                    *have += 1;
                    bytes = &bytes[1..];
                    let header = &header[..*have];
                    match FrameHeader::parse(&mut Cursor::new(header)) {
                        Ok(None) => {}
                        Ok(Some((parsed, length))) => {
                            let next = begin(&mut self.message, &parsed, length, most)?;
                            if matches!(next, State::Passing { .. }) {
                                out.extend(header);
                            }
                            self.state = next;
                        }
                        // An unknown opcode, which whoever reads this refuses.
                        Err(_) => {
                            out.extend(header);
                            self.state = State::Passing { left: u64::MAX };
                        }
                    }
                }
                State::Passing { left } => {
                    let now = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    out.extend(&bytes[..now]);
                    bytes = &bytes[now..];
                    *left -= now as u64;
                }
                State::Collecting { left, mask, at, .. } => {
                    let now = (*left).min(bytes.len());
                    let message = self.message.as_mut().ok_or(BadFrame::Unexpected)?;
                    message.compressed.extend(bytes[..now].iter().zip(*at..).map(|(byte, at)| byte ^ mask[at % 4]));
                    bytes = &bytes[now..];
                    *left -= now;
                    *at += now;
                }
            }
            self.end_frame(most, out)?;
        }
        Ok(())
    }

    /// Whether the next byte begins a message, so that nothing needs to be kept.
    pub fn is_between_messages(&self) -> bool {
        self.message.is_none() && matches!(self.state, State::Header { have: 0, .. })
    }

    /// Ends the frame if its payload is complete, and the compressed message if this was its last frame.
    fn end_frame(&mut self, most: usize, out: &mut Vec<u8>) -> Result<(), BadFrame> {
        match self.state {
            State::Passing { left: 0 } => self.state = State::FRAME,
            State::Collecting { left: 0, is_last, .. } => {
                self.state = State::FRAME;
                if is_last && let Some(message) = self.message.take() {
                    inflate(message, most, out)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Begins a frame: decides whether it passes or belongs to a compressed message.
fn begin(message: &mut Option<Message>, header: &FrameHeader, length: u64, most: usize) -> Result<State, BadFrame> {
    let FrameHeader { is_final, rsv1, rsv2, rsv3, opcode, mask } = *header;
    match (opcode, message.is_some(), rsv1) {
        // Between the frames of any message.
        (OpCode::Control(_), _, false) | (OpCode::Data(_), false, false) => {
            return Ok(State::Passing { left: length });
        }
        (OpCode::Data(Data::Text | Data::Binary), false, true) => {
            *message = Some(Message { opcode, is_masked: mask.is_some(), compressed: Vec::new() });
        }
        (OpCode::Data(Data::Continue), true, false) => {}
        _ => return Err(BadFrame::Unexpected),
    }
    if rsv2 || rsv3 {
        return Err(BadFrame::Unexpected);
    }
    let mask = mask.unwrap_or_default();
    let before = message.as_ref().map_or(0, |message| message.compressed.len());
    match usize::try_from(length).ok().and_then(|length| Some((length, before.checked_add(length)?))) {
        Some((left, whole)) if whole <= most => Ok(State::Collecting { left, mask, at: 0, is_last: is_final }),
        _ => Err(BadFrame::TooLarge),
    }
}

/// Appends a compressed message as one frame that is not compressed.
fn inflate(
    Message { opcode, is_masked, mut compressed }: Message,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<(), BadFrame> {
    let most = most.min(SMALL.max(compressed.len() * MOST_RATIO));
    compressed.extend(TAIL);
    let inflated = DECOMPRESS.with_borrow_mut(|decompress| inflated(decompress, &compressed, most))?;
    // A client's frames must have a mask. This one changes nothing.
    let header = FrameHeader { opcode, mask: is_masked.then_some([0; 4]), ..FrameHeader::default() };
    header.format(inflated.len() as u64, out).expect("writing to memory");
    out.extend(inflated);
    Ok(())
}

fn inflated(decompress: &mut Decompress, mut compressed: &[u8], most: usize) -> Result<Vec<u8>, BadFrame> {
    decompress.reset(false);
    let mut inflated = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let (read, written) = (decompress.total_in(), decompress.total_out());
        let status = decompress.decompress(compressed, &mut chunk, FlushDecompress::Sync);
        let status = status.map_err(|_| BadFrame::Corrupt)?;
        compressed = &compressed[(decompress.total_in() - read) as usize..];
        let new = &chunk[..(decompress.total_out() - written) as usize];
        if inflated.len() + new.len() > most {
            return Err(BadFrame::TooLarge);
        }
        inflated.extend(new);
        match status {
            // Some compressors end each message with a last block. What follows is another stream.
            Status::StreamEnd if !compressed.is_empty() => decompress.reset(false),
            Status::StreamEnd => return Ok(inflated),
            Status::Ok | Status::BufError if new.len() < chunk.len() => {
                return if compressed.is_empty() { Ok(inflated) } else { Err(BadFrame::Corrupt) };
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

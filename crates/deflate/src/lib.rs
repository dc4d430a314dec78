//! The websocket extension permessage-deflate (RFC 7692), for a server, without context takeover: each message is
//! compressed by itself, so that one compressed frame serves many connections, and no connection needs a window of its
//! own.
//!
//! tungstenite refuses compressed frames. So the extension is negotiated, and messages are compressed and inflated, in
//! the bytes below it: what it reads and writes is never compressed.

mod deflater;
mod inflater;
mod offer;

pub use deflater::compressed_frame;
pub use inflater::{BadFrame, Inflater};
pub use offer::answer_to;

/// The end of each compressed message, which is not sent (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

//! What a client has sent, without compression. The websocket's own buffer is small, so more is read here at once.

use std::{
    io, mem,
    task::{Context, Poll, ready},
};

use deflate::Inflater;
use tokio::io::ReadBuf;

use super::Connection;

pub(super) const CHUNK: usize = 4_096;

/// The bytes of a connection that were read and not given on yet.
#[derive(Default)]
pub(super) struct ReadAhead {
    /// Empty while no message has begun: most of the time, clients send nothing.
    inflater: Option<Box<Inflater>>,
    bytes: Vec<u8>,
    /// How many of them were given on.
    given: usize,
}

impl ReadAhead {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads what the network has. Inflates it, if there is compression and messages may have this many bytes. Returns how
    /// many bytes the network had.
    pub(super) fn poll_read(
        &mut self,
        connection: &Connection,
        longest: Option<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK];
        let read = ready!(connection.socket.poll_read(&mut ReadBuf::new(&mut chunk), cx))?;
        let Some(longest) = longest else {
            self.bytes.extend_from_slice(&chunk[..read]);
            return Poll::Ready(Ok(read));
        };
        let mut inflater = self.inflater.take().unwrap_or_default();
        let inflated = inflater.read(&chunk[..read], connection.longest_message(longest), &mut self.bytes);
        inflated.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if !inflater.is_between_messages() {
            self.inflater = Some(inflater);
        }
        // What it became longer by counts as well.
        connection.received(self.bytes.len().saturating_sub(read))?;
        Poll::Ready(Ok(read))
    }

    /// Gives on what there is. Returns false if that is nothing.
    pub(super) fn give(&mut self, to: &mut ReadBuf<'_>) -> bool {
        let left = &self.bytes[self.given..];
        let now = left.len().min(to.remaining());
        to.put_slice(&left[..now]);
        self.given += now;
        if self.given == self.bytes.len() {
            drop(mem::take(&mut self.bytes));
            self.given = 0;
        }
        now > 0
    }
}

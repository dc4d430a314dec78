//! Counts the events of a long-polling response as delivered when the connection takes its body.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::connection::DeliveryTracker;

/// Separates packets in a long-polling response.
const RECORD_SEPARATOR: u8 = 0x1e;

/// The body of a long-polling response. If the connection ends before it takes the body, the session is cut.
pub(super) struct Carried<B> {
    pub(super) body: B,
    pub(super) tracker: Arc<DeliveryTracker>,
    /// Whether the connection took the body.
    pub(super) was_taken: bool,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Carried<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.tracker.took(frame.data_ref().map_or(0, |data| events_in(data)));
        }
        self.was_taken = true;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Carried<B> {
    fn drop(&mut self) {
        // The connection ended first: the events are lost and can't be sent again.
        if !self.was_taken {
            self.tracker.cut();
        }
    }
}

fn events_in(payload: &[u8]) -> u64 {
    payload.split(|byte| *byte == RECORD_SEPARATOR).filter(|packet| packet.starts_with(b"42")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_poll_carries_events_among_other_packets() {
        assert_eq!(events_in("42[\"a\"]\u{1e}2\u{1e}430[]\u{1e}42[\"b\"]".as_bytes()), 2);
        assert_eq!(events_in(b"40{}"), 0);
        assert_eq!(events_in(b""), 0);
    }
}

//! Counts the events of a long-polling response as delivered when the connection takes its body, and compresses it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

use super::{
    connection::{DeliveryTracker, counts},
    engine::packets_in,
};
use crate::gzip::{COMPRESS_FROM, compress};

pub(super) const TEXT: &str = "text/plain; charset=UTF-8";

/// The body of a long-polling response. If the connection ends before it takes the body, the session is cut.
struct Carried {
    body: Full<Bytes>,
    tracker: Arc<DeliveryTracker>,
    events: u64,
    /// Whether the connection took the body.
    was_taken: bool,
}

/// Makes a response of these packets. It is compressed if the client takes that, and it is large enough.
pub(super) async fn carried(packets: Bytes, tracker: Arc<DeliveryTracker>, takes_gzip: bool) -> Response<Body> {
    let mut carried = Carried { body: Full::default(), tracker, events: events_in(&packets), was_taken: false };
    let is_zipped = takes_gzip && packets.len() >= COMPRESS_FROM;
    let body = match is_zipped {
        // If it is interrupted, the session is cut.
        true => {
            tokio::task::spawn_blocking(move || compress(&packets)).await.expect("compressing does not panic").into()
        }
        false => packets,
    };
    carried.body = Full::new(body);
    let mut response = Response::new(Body::new(carried));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    if is_zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

impl http_body::Body for Carried {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() {
            self.tracker.took(self.events);
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

impl Drop for Carried {
    fn drop(&mut self) {
        // The connection ended first: the events are lost and can't be sent again.
        if !self.was_taken {
            self.tracker.cut();
        }
    }
}

fn events_in(payload: &[u8]) -> u64 {
    packets_in(payload).filter(|packet| counts(packet)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_poll_carries_events_and_answers_among_other_packets() {
        assert_eq!(events_in("42[\"a\"]\u{1e}2\u{1e}430[]\u{1e}42[\"b\"]".as_bytes()), 3);
        assert_eq!(events_in(b"40{}"), 0);
        assert_eq!(events_in(b""), 0);
    }
}

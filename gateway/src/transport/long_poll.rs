//! Counts the events of a long-polling response as delivered when the connection takes its body, and compresses it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};

use super::connection::{DeliveryTracker, counts};
use crate::gzip::{COMPRESS_FROM, compress};

/// Separates packets in a long-polling response.
const RECORD_SEPARATOR: u8 = 0x1e;

/// The body of a long-polling response. If the connection ends before it takes the body, the session is cut.
pub(super) struct Carried<B> {
    body: B,
    tracker: Arc<DeliveryTracker>,
    /// The events in the body, if it is compressed.
    events: Option<u64>,
    /// Whether the connection took the body.
    was_taken: bool,
}

impl<B> Carried<B> {
    pub(super) fn new(body: B, tracker: Arc<DeliveryTracker>) -> Self {
        Self { body, tracker, events: None, was_taken: false }
    }

    /// Replaces the body, which must have been read.
    fn instead(mut self, body: Bytes, events: u64) -> Carried<Full<Bytes>> {
        self.was_taken = true;
        Carried { body: Full::new(body), tracker: self.tracker.clone(), events: Some(events), was_taken: false }
    }
}

/// Compresses a response, if it is large enough.
pub(super) async fn zipped<B>(response: Response<Carried<B>>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    let (mut head, mut carried) = response.into_parts();
    // Engine.IO's response is in memory. If it fails all the same, the session is cut.
    let Ok(whole) = (&mut carried.body).collect().await else { return Response::from_parts(head, Body::empty()) };
    let body = whole.to_bytes();
    let events = events_in(&body);
    if body.len() < COMPRESS_FROM {
        return Response::from_parts(head, Body::new(carried.instead(body, events)));
    }
    let zipped = tokio::task::spawn_blocking(move || compress(&body)).await.expect("compressing does not panic");
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, Body::new(carried.instead(zipped.into(), events)))
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
            let events = self.events.unwrap_or_else(|| frame.data_ref().map_or(0, |data| events_in(data)));
            self.tracker.took(events);
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
    payload.split(|byte| *byte == RECORD_SEPARATOR).filter(|packet| counts(packet)).count() as u64
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

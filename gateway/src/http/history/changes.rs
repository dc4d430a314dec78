//! Streams what was recorded, line by line: every change of a region, every gap, and every change of the feed.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use ::history::{HistoryError, Moment, Playback, Played};
use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use odds::{Cursor, FeedState, Filter, Region, Timestamp};
use serde_json::json;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tracing::warn;

use super::{invalid, store};
use crate::{
    gzip::takes_gzip,
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        odds::filter,
        subscriptions::RegionKey,
    },
    metrics::Metrics,
    session::AppState,
    turns::Turn,
};

/// About how much is sent at once, before compression.
const PART_BYTES: usize = 64 << 10;
/// How many parts may wait for the client.
const PARTS_AHEAD: usize = 2;
/// How long lines may wait for others.
const SEND_AFTER: Duration = Duration::from_secs(2);
/// How long an answer may take. The client goes on with another request.
const AT_MOST: Duration = Duration::from_secs(600);
/// A client that takes nothing for this long is disconnected.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Which changes are requested.
struct Wanted {
    from: From,
    to: Option<Timestamp>,
    filter: Filter,
}

enum From {
    Instant(Timestamp),
    After(Cursor),
}

impl Wanted {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let (mut from, mut to, mut rest) = (None, None, Vec::new());
        for (name, value) in query {
            match name.as_str() {
                "from" | "after" if from.is_some() => {
                    return Err(invalid("query", "give one of from and after, once"));
                }
                "from" => from = Some(From::Instant(value.parse().map_err(|error| invalid("from", &error))?)),
                "after" => from = Some(From::After(value.parse().map_err(|error| invalid("after", &error))?)),
                "to" => to = Some(value.parse::<Timestamp>().map_err(|error| invalid("to", &error))?),
                _ => rest.push((name, value)),
            }
        }
        let from = from.ok_or_else(|| invalid("query", "from or after is missing"))?;
        if let (From::Instant(from), Some(to)) = (&from, to)
            && to < *from
        {
            return Err(invalid("to", "it is before from"));
        }
        Ok(Self { from, to, filter: filter(&rest, "from, after, to, sport, event, bookmaker or market")? })
    }
}

/// Streams what was recorded of a region, as lines of JSON: `{ event, at, data }`. `snapshot` and `odds` have the same
/// data as on a socket. Before a snapshot that does not follow the line before, `gap` says of which time nothing is
/// recorded. `feed` comes when the feed's state, reason or source changes. `end` is the last line, and `error` if
/// something can't be read. A stream without either was cut off, at the latest after ten minutes: continue with `after`
/// and the last cursor.
#[utoipa::path(
    get, path = "/api/history/changes/{region}", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("region" = RegionKey, Path),
        ("from" = Option<String>, Query, description = "The time to begin at, with the board as it was then."),
        ("after" = Option<String>, Query, description = "Instead of `from`: the cursor of the board that you have."),
        ("to" = Option<String>, Query, description = "The last time. Without it: until the newest recorded change."),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("event" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
    ),
    responses(
        (
            status = OK, body = String, content_type = "application/x-ndjson",
            description = "Lines, each of which is a `RecordedLine`.",
        ),
        HistoryRefusals,
        Refusals,
    ),
)]
pub(super) async fn recorded_changes(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Path(region): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let region: Region = region.parse()?;
    let Wanted { from, to, filter } = Wanted::read(query)?;
    let store = store(&app)?.clone();
    let turn = app.history_turns.take(&caller.user.id)?;
    let moment = match from {
        From::Instant(from) => Moment::At(from),
        From::After(cursor) => Moment::Step(cursor.step()),
    };
    let started = Playback::start(store, region, moment, to).await;
    let (playback, played) = started.inspect_err(|error| app.metrics.count_damage(error))?;
    let with_board = match from {
        From::Instant(_) => Some(played),
        From::After(cursor) if cursor == playback.cursor(&filter) => None,
        From::After(_) => return Err(invalid("after", "a cursor of another filter")),
    };
    let is_zipped = takes_gzip(&headers);
    let (send, receive) = mpsc::channel(PARTS_AHEAD);
    let cursor = playback.cursor(&filter);
    let lines = Lines { playback, filter, cursor, feed: None, part: Part::new(is_zipped), send };
    let (metrics, runtime) = (app.metrics.clone(), Handle::current());
    // On a thread of its own: the runtime's threads deliver the stream of live odds.
    tokio::task::spawn_blocking(move || runtime.block_on(lines.write(with_board, &metrics, turn)));
    let body = stream::unfold(receive, |mut receive| async {
        let part: Bytes = receive.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(part), receive))
    });
    let head = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::VARY, "accept-encoding"),
    ];
    let mut answer = (head, Body::from_stream(body)).into_response();
    if is_zipped {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

/// The lines of an answer.
struct Lines {
    playback: Playback,
    filter: Filter,
    /// The cursor of the last line.
    cursor: Cursor,
    /// The feed of the last line about it.
    feed: Option<(FeedState, Option<String>, String)>,
    part: Part,
    send: mpsc::Sender<Bytes>,
}

/// The client is gone or takes nothing.
struct Gone;

impl Lines {
    /// Writes all lines, beginning with the board unless the client has it.
    async fn write(mut self, board: Option<Played>, metrics: &Metrics, _turn: Turn) {
        if let Some(played) = board {
            self.board(played);
        }
        self.feed();
        let (begun, mut sent) = (Instant::now(), Instant::now());
        while begun.elapsed() < AT_MOST {
            if self.send.is_closed() {
                return;
            }
            let is_late = self.part.length > 0 && sent.elapsed() >= SEND_AFTER;
            if self.part.length >= PART_BYTES || is_late {
                if self.send().await.is_err() {
                    return;
                }
                sent = Instant::now();
            }
            match self.playback.next().await {
                Ok(Played::Step) => self.step(),
                Ok(played @ Played::AfterGap(_)) => self.board(played),
                Ok(Played::End(next)) => {
                    self.end(next);
                    break;
                }
                Err(error) => {
                    metrics.count_damage(&error);
                    let at = self.playback.marker().at;
                    self.part.line("error", at, &reason(error).to_string());
                    break;
                }
            }
            self.feed();
        }
        self.part.finish();
        // Nothing is to be done if the client is gone by now.
        let _ = self.send().await;
    }

    fn step(&mut self) {
        let Some(frame) = self.playback.odds(&self.cursor, &self.filter) else { return };
        self.cursor = self.playback.cursor(&self.filter);
        self.part.line("odds", self.playback.marker().at, &frame.json);
    }

    /// The last line, after the gap that the wanted time ends in.
    fn end(&mut self, next: Option<Timestamp>) {
        let at = self.playback.marker().at;
        if let Some(next) = next {
            self.gap(Some(at), next);
        }
        // Nothing that passes the filter changed between the last line and this step.
        let cursor = self.playback.cursor(&self.filter);
        self.part.line("end", at, &json!({ "cursor": cursor }).to_string());
    }

    fn gap(&mut self, from: Option<Timestamp>, until: Timestamp) {
        let region = self.playback.region();
        self.part.line("gap", until, &json!({ "region": region, "from": from, "until": until }).to_string());
    }

    /// The whole board, and the gap before it.
    fn board(&mut self, played: Played) {
        let (region, at) = (self.playback.region(), self.playback.marker().at);
        if let Played::AfterGap(from) = played {
            self.gap(from, at);
        }
        self.cursor = self.playback.cursor(&self.filter);
        self.part.line("snapshot", at, &self.playback.board().whole(region, &self.cursor, &self.filter));
    }

    fn feed(&mut self) {
        let marker = self.playback.marker();
        let feed = (marker.state, marker.reason.clone(), marker.source.clone());
        if self.feed.as_ref() == Some(&feed) {
            return;
        }
        let (region, (state, reason, source)) = (self.playback.region(), &feed);
        let mut data = json!({ "region": region, "state": state, "source": source });
        if let Some(reason) = reason {
            data["reason"] = json!(reason);
        }
        self.part.line("feed", marker.at, &data.to_string());
        self.feed = Some(feed);
    }

    async fn send(&mut self) -> Result<(), Gone> {
        let part = self.part.take();
        timeout(STALLED_AFTER, self.send.send(part)).await.map_err(|_| Gone)?.map_err(|_| Gone)
    }
}

fn reason(error: HistoryError) -> serde_json::Value {
    if let HistoryError::Store(error) = &error {
        warn!(%error, "a stream of the history ends: the history is unavailable");
    }
    let error = ApiError::History(error);
    json!({ "code": error.code(), "message": error.message() })
}

/// The part of the answer that is sent next.
struct Part {
    writer: Writer,
    /// Its length before compression.
    length: usize,
}

enum Writer {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    /// The answer is complete.
    Done(Vec<u8>),
}

impl Part {
    fn new(is_zipped: bool) -> Self {
        let writer = match is_zipped {
            true => Writer::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(5)))),
            false => Writer::Plain(Vec::new()),
        };
        Self { writer, length: 0 }
    }

    fn line(&mut self, event: &str, at: Timestamp, data: &str) {
        let line = format!("{{\"event\":\"{event}\",\"at\":\"{at}\",\"data\":{data}}}\n");
        self.length += line.len();
        match &mut self.writer {
            Writer::Plain(bytes) | Writer::Done(bytes) => bytes.extend_from_slice(line.as_bytes()),
            Writer::Gzip(encoder) => encoder.write_all(line.as_bytes()).expect("writing to memory"),
        }
    }

    fn finish(&mut self) {
        let writer = std::mem::replace(&mut self.writer, Writer::Done(Vec::new()));
        self.writer = match writer {
            Writer::Gzip(encoder) => Writer::Done(encoder.finish().expect("writing to memory")),
            Writer::Plain(bytes) | Writer::Done(bytes) => Writer::Done(bytes),
        };
    }

    fn take(&mut self) -> Bytes {
        self.length = 0;
        match &mut self.writer {
            Writer::Plain(bytes) | Writer::Done(bytes) => std::mem::take(bytes).into(),
            Writer::Gzip(encoder) => {
                // Whoever reads gets every line of this part.
                encoder.flush().expect("writing to memory");
                std::mem::take(encoder.get_mut()).into()
            }
        }
    }
}

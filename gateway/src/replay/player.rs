//! One region of a replay: what the client has of it, and what comes next.

use std::{borrow::Cow, sync::Arc};

use history::{HistoryError, Playback, Played, Upcoming};
use odds::{Cursor, Feed, FeedState, Filter, Frame, FrameDigest, PART_BYTES, REPLAYED, Region, Timestamp};
use tokio::time::Instant;

pub(super) struct Player {
    playback: Playback,
    filter: Arc<Filter>,
    /// The digest of the playback's board under the filter, if the client asked for digests.
    digest: Option<FrameDigest>,
    /// The cursor of the client's board. `None` while it has none.
    cursor: Option<Cursor>,
    /// Whether the replay has come to the first board: it may be later than the beginning.
    has_begun: bool,
    /// The feed that the client has.
    feed: Option<Feed>,
    /// The time of the next step, if nothing is recorded until then.
    gap_until: Option<Timestamp>,
    /// When the client's least time between two frames has passed.
    pub(super) not_before: Option<Instant>,
}

impl Player {
    /// Begins where the playback is. If the client has that board already, this is its cursor.
    pub(super) fn new(
        playback: Playback,
        played: Played,
        filter: Arc<Filter>,
        has: Option<Cursor>,
        wants_digests: bool,
    ) -> Self {
        let (at, has_begun) = (playback.marker().at, !matches!(played, Played::AfterGap(_)));
        let cursor = has.filter(|cursor| *cursor == playback.cursor(&filter));
        let gap_until = (!has_begun).then_some(at);
        let digest = wants_digests.then(|| FrameDigest::of(playback.board().passing(&filter)));
        Self { playback, filter, digest, cursor, has_begun, feed: None, gap_until, not_before: None }
    }

    fn region(&self) -> Region {
        self.playback.region()
    }

    /// The time of the step that was played last.
    pub(super) fn at(&self) -> Timestamp {
        self.playback.marker().at
    }

    /// The next step, unless this is the end.
    pub(super) async fn upcoming(&mut self) -> Result<Option<Upcoming>, HistoryError> {
        if !self.has_begun {
            return Ok(Some(Upcoming { at: self.at(), after_gap: true }));
        }
        let upcoming = self.playback.upcoming().await?;
        self.gap_until = upcoming.filter(|next| next.after_gap).map(|next| next.at);
        Ok(upcoming)
    }

    /// Goes on to the next step. Returns the frames that bring the client there.
    pub(super) async fn play(&mut self) -> Result<Vec<Frame>, HistoryError> {
        let played = match std::mem::replace(&mut self.has_begun, true) {
            true => self.playback.next().await?,
            false => Played::AfterGap(None),
        };
        self.gap_until = None;
        if let Some(digest) = &mut self.digest {
            match played {
                Played::Step => self.playback.passing_changes(&self.filter).iter().for_each(|it| digest.apply(it)),
                Played::AfterGap(_) => *digest = FrameDigest::of(self.playback.board().passing(&self.filter)),
                Played::End(_) => {}
            }
        }
        Ok(match (played, self.cursor) {
            (Played::Step, Some(cursor)) => self.step_after(cursor),
            (Played::Step | Played::AfterGap(_), _) => self.snapshot(),
            (Played::End(_), _) => Vec::new(),
        })
    }

    /// The frames that bring a client from a cursor to that of the replay.
    pub(super) fn frames(&mut self, from: Option<Cursor>) -> Vec<Frame> {
        if !self.has_begun {
            return Vec::new();
        }
        let to = self.playback.cursor(&self.filter);
        let since = from.and_then(|from| self.playback.board().since_until(self.region(), &from, &to, &self.filter));
        match since {
            Some(frame) => {
                self.cursor = Some(to);
                self.with_digest(vec![frame])
            }
            None => self.snapshot(),
        }
    }

    /// Whether the client lacks the board of the last step.
    pub(super) fn lacks_board(&self) -> bool {
        self.has_begun && self.cursor.is_none()
    }

    fn step_after(&mut self, cursor: Cursor) -> Vec<Frame> {
        let Some(frame) = self.playback.odds(&cursor, &self.filter) else { return Vec::new() };
        self.cursor = Some(self.playback.cursor(&self.filter));
        self.with_digest(vec![frame])
    }

    fn snapshot(&mut self) -> Vec<Frame> {
        let cursor = self.playback.cursor(&self.filter);
        self.cursor = Some(cursor);
        self.with_digest(self.playback.board().snapshot_at(self.region(), &cursor, &self.filter, PART_BYTES))
    }

    fn with_digest(&self, mut frames: Vec<Frame>) -> Vec<Frame> {
        Frame::add_digest(&mut frames, self.digest.as_ref());
        frames
    }

    /// The feed, if the client must get it now: its state, its reason or its source is another, prices are good again,
    /// or the time for a reminder has come.
    pub(super) fn feed_if_due(&mut self, now: Timestamp) -> Option<Feed> {
        if self.feed.as_ref().is_some_and(|last| !self.is_outdated(last, now)) {
            return None;
        }
        let (state, reason) = self.state(now);
        let feed = match self.has_begun {
            true => Feed::of(self.region(), self.playback.marker(), now),
            false => Feed::down(self.region(), now, ""),
        };
        let source = format!("{REPLAYED}{}", feed.source);
        let feed = Feed { state, reason: reason.map(Cow::into_owned), source, cursor: self.cursor, ..feed };
        self.feed = Some(feed.clone());
        Some(feed)
    }

    fn is_outdated(&self, last: &Feed, now: Timestamp) -> bool {
        let (state, reason) = self.state(now);
        let marker = self.playback.marker();
        let source = if self.has_begun { &*marker.source } else { "" };
        (last.state, last.reason.as_deref()) != (state, reason.as_deref())
            || last.source.strip_prefix(REPLAYED) != Some(source)
            || now.millis_since(last.at) >= last.reminder_interval().as_millis() as i64
            || (self.has_begun && last.is_staler_than(&marker.sports, now))
    }

    fn state(&self, now: Timestamp) -> (FeedState, Option<Cow<'_, str>>) {
        match self.gap_until {
            Some(until) => (FeedState::Down, Some(format!("nothing is recorded until {until}").into())),
            None => {
                let (state, reason) = self.playback.marker().state_at(now);
                (state, reason.map(Cow::from))
            }
        }
    }
}

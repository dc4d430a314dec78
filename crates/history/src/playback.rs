//! Plays back what was recorded: one verified board after the other, with every gap named.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use odds::{Board, Change, Cursor, EventId, Filter, Frame, LogPosition, Marker, Region, Revision, StepId, Timestamp};
use tracing::error;

use crate::{HistoryError, Moment, RecordedBoard, Store, StoredStep, Then, rebuild::apply};

/// A board that moves through the recorded steps of a region.
#[derive(Debug)]
pub struct Playback {
    store: Arc<dyn Store>,
    region: Region,
    until: Option<Timestamp>,
    position: LogPosition,
    id: StepId,
    marker: Marker,
    board: Board,
    /// The board's revision before the last step.
    before: Revision,
    /// The next steps.
    read: VecDeque<StoredStep>,
    /// What comes after them.
    then: Then,
    /// The next step, if its whole board had to be read.
    whole: Option<RecordedBoard>,
}

/// The next step of a playback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upcoming {
    pub at: Timestamp,
    /// Nothing is recorded between the last step and this one.
    pub after_gap: bool,
}

/// Where a playback is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// At the step after the last one.
    Step,
    /// At a step before which nothing is recorded since this time.
    AfterGap(Option<Timestamp>),
    /// At the newest recorded step, or at the last one before the end. If nothing is recorded of the end, this is the
    /// time of the next step.
    End(Option<Timestamp>),
}

impl Playback {
    /// Starts at a moment: at its board, or at the first one after it if nothing is recorded of an instant. No step
    /// after `until` is played.
    pub async fn start(
        store: Arc<dyn Store>,
        region: Region,
        from: Moment,
        until: Option<Timestamp>,
    ) -> Result<(Self, Played), HistoryError> {
        let (first, played) = match store.board_at(region, from).await {
            Ok(first) => (first, Played::Step),
            Err(HistoryError::NotRecorded { from, until: Some(next) }) if until.is_none_or(|until| next <= until) => {
                (store.board_at(region, Moment::At(next)).await?, Played::AfterGap(from))
            }
            Err(error) => return Err(error),
        };
        let RecordedBoard { position, id, marker, board, .. } = first;
        let (before, read, then) = (board.revision(), VecDeque::new(), Then::More);
        let this = Self { store, region, until, position, id, marker, board, before, read, then, whole: None };
        Ok((this, played))
    }

    pub fn region(&self) -> Region {
        self.region
    }

    pub fn position(&self) -> LogPosition {
        self.position
    }

    pub fn step(&self) -> StepId {
        self.id
    }

    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    pub fn cursor(&self, filter: &Filter) -> Cursor {
        Cursor::new(self.id, self.marker.digest, filter)
    }

    pub fn board(&self) -> &Board {
        &self.board
    }

    /// What the last step changed, as the payload of an `odds` event after the cursor `prev`. `None` if nothing of it
    /// passes the filter.
    pub fn odds(&self, prev: &Cursor, filter: &Filter) -> Option<Frame> {
        self.board.changed_since(self.region, self.before, prev, &self.cursor(filter), filter)
    }

    /// What the last step changed: one change for each event.
    pub fn changes(&self) -> Vec<Change> {
        self.passing_changes(&Filter::default())
    }

    /// What the last step changed and passes the filter.
    pub fn passing_changes(&self, filter: &Filter) -> Vec<Change> {
        self.board.passing_since(self.before, filter).expect("the state before the last step is remembered")
    }

    /// The next step, unless this is the end.
    pub async fn upcoming(&mut self) -> Result<Option<Upcoming>, HistoryError> {
        if self.read.is_empty() && self.whole.is_none() {
            self.read_on().await?;
        }
        let upcoming = match (self.read.front(), &self.whole) {
            (Some(step), _) => Upcoming { at: step.marker.at, after_gap: false },
            (None, Some(board)) => Upcoming { at: board.marker.at, after_gap: !board.position.follows(self.position) },
            (None, None) => return Ok(None),
        };
        Ok((!self.is_over(upcoming.at)).then_some(upcoming))
    }

    /// Goes on to the next step.
    pub async fn next(&mut self) -> Result<Played, HistoryError> {
        if self.upcoming().await?.is_none() {
            return Ok(Played::End(self.end_in_gap()));
        }
        match (self.read.pop_front(), self.whole.take()) {
            (Some(step), _) => self.advance(step).map(|()| Played::Step),
            (None, whole) => Ok(self.jump(whole.expect("there is a next step"))),
        }
    }

    async fn read_on(&mut self) -> Result<(), HistoryError> {
        loop {
            if self.then == Then::More {
                let after = self.store.steps_after(self.region, self.position, &self.marker).await?;
                (self.read, self.then) = (after.steps.into(), after.then);
            }
            let Then::Gap { next } = self.then else { return Ok(()) };
            if !self.read.is_empty() {
                return Ok(());
            }
            match self.store.board_at(self.region, Moment::Step(next)).await {
                Ok(board) => {
                    self.whole = Some(board);
                    return Ok(());
                }
                // It was removed since it was found. The next look finds a later one.
                Err(HistoryError::NotRecorded { .. }) => self.then = Then::More,
                Err(error) => return Err(error),
            }
        }
    }

    /// The time of the next step, if nothing is recorded of the wanted end.
    fn end_in_gap(&self) -> Option<Timestamp> {
        let next = self.whole.as_ref()?;
        let is_in_gap = !next.position.follows(self.position) && self.until.is_some_and(|until| until > self.marker.at);
        is_in_gap.then_some(next.marker.at)
    }

    fn is_over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| at > until)
    }

    /// Goes on to a step that was recorded as a whole board.
    fn jump(&mut self, to: RecordedBoard) -> Played {
        let RecordedBoard { position, id, marker, board, .. } = to;
        let (follows, last) = (position.follows(self.position), self.marker.at);
        // Another log may begin before the last time of the one before.
        let from = last.min(marker.at);
        (self.position, self.id, self.marker, self.then) = (position, id, marker, Then::More);
        if follows {
            // A historian that had not seen the step before has recorded the whole board.
            self.become_board(&board);
            return Played::Step;
        }
        (self.before, self.board) = (board.revision(), board);
        Played::AfterGap(Some(from))
    }

    fn become_board(&mut self, board: &Board) {
        self.before = self.board.revision();
        let ids: BTreeSet<EventId> = self.board.event_ids().chain(board.event_ids()).cloned().collect();
        for id in &ids {
            match board.image(id, Timestamp::default()) {
                Some(image) => drop(self.board.set(id, &image)),
                None => drop(self.board.remove(id)),
            }
        }
        self.board.remember(self.id);
    }

    fn advance(&mut self, step: StoredStep) -> Result<(), HistoryError> {
        self.before = self.board.revision();
        let mut changes = step.changes;
        // A store may return them in any order.
        changes.sort_by(|a, b| a.id().cmp(b.id()));
        apply(&mut self.board, changes);
        if self.board.digest() != step.marker.digest {
            error!(region = %self.region, step = %step.id, "the recorded board does not match its digest");
            return Err(HistoryError::Damaged(step.id));
        }
        self.board.remember(step.id);
        (self.position, self.id, self.marker) = (step.position, step.id, step.marker);
        Ok(())
    }
}

//! Reads an exported history back: every step as it was recorded, with its board.

use std::{
    io::{self, BufRead},
    sync::Arc,
};

use odds::{
    Board, Change, Cursor, Filter, LogPosition, Marker, OddsPayload, Region, SnapshotPayload, StepId, Timestamp,
};

use super::{
    BadLine, ExportHeader,
    line::{EndData, GapData, Line},
    lines::Lines,
};
use crate::{
    Difference, RecordedStep,
    keyframe_plan::KeyframePlan,
    rebuild::{Rebuild, apply},
};

/// Why a file can't be read on. Everything before the line is whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("line {number}: {reason}")]
    Line { number: u64, reason: BadLine },
    #[error("it ends after line {lines}, before its last line: it was cut off")]
    CutOff { lines: u64 },
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the steps of an exported history in order, and checks each line and each board.
#[derive(Debug)]
pub struct ExportReader<R> {
    lines: Lines<R>,
    header: ExportHeader,
    board: Board,
    last: Option<Step>,
    /// When the gap ends that the line before was about.
    gap: Option<Timestamp>,
    keyframes: KeyframePlan,
    steps: u64,
    gaps: u64,
}

#[derive(Clone, Debug)]
struct Step {
    position: LogPosition,
    id: StepId,
    marker: Arc<Marker>,
}

/// What a line says.
enum Content {
    /// The whole board.
    Board(Step, Vec<Change>),
    /// What changed since the board of a cursor.
    Changes(Step, Cursor, Vec<Change>),
    Gap(Timestamp),
    End(EndData),
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the first line.
    pub fn open(input: R) -> Result<Self, ExportError> {
        let mut lines = Lines::new(input);
        let Some(first) = lines.next()? else {
            return Err(ExportError::Line { number: 1, reason: BadLine::NotAnExport });
        };
        let header = ExportHeader::read(first).map_err(|reason| lines.bad(reason))?;
        let (board, keyframes) = (Board::default(), KeyframePlan::default());
        Ok(Self { lines, header, board, last: None, gap: None, keyframes, steps: 0, gaps: 0 })
    }

    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    /// The board after the step that was read last.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The next step, as a recorder would have recorded it. A step without a difference is the first one, or the first
    /// one after a gap. `None` after the last one, if the file is whole.
    pub fn next_step(&mut self) -> Result<Option<RecordedStep>, ExportError> {
        loop {
            let lines = self.lines.number();
            let text = self.lines.next()?.ok_or(ExportError::CutOff { lines })?;
            let accepted = match Content::read(text, self.header.region) {
                Ok(Content::Board(step, changes)) => self.begin(step, changes).map(Some),
                Ok(Content::Changes(step, prev, changes)) => self.go_on(step, prev, changes).map(Some),
                Ok(Content::Gap(until)) => self.note_gap(until).map(|()| None),
                Ok(Content::End(end)) => {
                    self.check_end(end).map_err(|reason| self.lines.bad(reason))?;
                    return self.lines.finish().map(|()| None);
                }
                Err(reason) => Err(reason),
            };
            if let Some(step) = accepted.map_err(|reason| self.lines.bad(reason))? {
                return Ok(Some(step));
            }
        }
    }

    /// Begins with a whole board: at the first step, and after a gap.
    fn begin(&mut self, step: Step, changes: Vec<Change>) -> Result<RecordedStep, BadLine> {
        let is_behind = |last: &Step| step.position > last.position && !step.position.follows(last.position);
        let fits = match (&self.last, self.gap) {
            (None, None) => true,
            (last, Some(until)) => step.marker.at == until && last.as_ref().is_none_or(is_behind),
            (Some(_), None) => false,
        };
        if !fits {
            return Err(BadLine::Unconnected);
        }
        let mut events = Rebuild::default();
        events.apply(changes);
        self.board = events.finish(step.id, step.marker.digest).map_err(|_| BadLine::Digest)?;
        Ok(self.record(step, None))
    }

    /// Goes on from the board before.
    fn go_on(&mut self, step: Step, prev: Cursor, changes: Vec<Change>) -> Result<RecordedStep, BadLine> {
        let last = self.last.clone().filter(|_| self.gap.is_none()).ok_or(BadLine::Unconnected)?;
        let is_next = step.position.follows(last.position) && step.marker.at > last.marker.at;
        if prev != last.cursor() || !is_next {
            return Err(BadLine::Unconnected);
        }
        let before = self.board.revision();
        apply(&mut self.board, changes);
        if self.board.digest() != step.marker.digest {
            return Err(BadLine::Digest);
        }
        self.board.remember(step.id);
        let changes = self.board.changes_since(before).expect("the state before the last step is remembered");
        Ok(self.record(step, Some(Difference { changes, previous: (last.id, last.marker) })))
    }

    fn record(&mut self, step: Step, difference: Option<Difference>) -> RecordedStep {
        let changes: Option<&[Change]> = difference.as_ref().map(|difference| &difference.changes[..]);
        let is_due = self.keyframes.is_due(step.marker.at, changes, self.board.quote_count());
        let keyframe = is_due.then(|| self.board.content());
        self.steps += 1;
        self.gap = None;
        let Step { position, id, marker } = step.clone();
        self.last = Some(step);
        RecordedStep { position, id, marker, difference, keyframe }
    }

    fn note_gap(&mut self, until: Timestamp) -> Result<(), BadLine> {
        self.gaps += 1;
        if self.gap.replace(until).is_some() { Err(BadLine::Unconnected) } else { Ok(()) }
    }

    fn check_end(&self, end: EndData) -> Result<(), BadLine> {
        let read = EndData { cursor: self.last.as_ref().map(Step::cursor), steps: self.steps, gaps: self.gaps };
        if end == read { Ok(()) } else { Err(BadLine::Incomplete) }
    }
}

impl Step {
    /// The step of a line whose parts agree.
    fn of(line: &mut Line<'_>, cursor: Cursor) -> Result<Self, BadLine> {
        let marker = line.marker.take().ok_or(BadLine::NoPosition)?;
        let is_valid = |position: &LogPosition| (1..=LogPosition::MAX_SEQ).contains(&position.seq);
        let position = marker.position.filter(is_valid).ok_or(BadLine::NoPosition)?;
        let step = Self { position, id: cursor.step(), marker: Arc::new(marker) };
        if line.at == Some(step.marker.at) && cursor == step.cursor() { Ok(step) } else { Err(BadLine::Contradiction) }
    }

    fn cursor(&self) -> Cursor {
        Cursor::new(self.id, self.marker.digest, &Filter::default())
    }
}

impl Content {
    fn read(text: &str, region: Region) -> Result<Self, BadLine> {
        let mut line = Line::read(text)?;
        let of_region = |it: Region| if it == region { Ok(()) } else { Err(BadLine::Contradiction) };
        match &*line.event {
            "snapshot" => {
                let SnapshotPayload { region, cursor, events, .. } = line.data()?;
                of_region(region)?;
                Ok(Self::Board(Step::of(&mut line, cursor)?, events))
            }
            "odds" => {
                let OddsPayload { region, prev, cursor, events, digest: _ } = line.data()?;
                of_region(region)?;
                Ok(Self::Changes(Step::of(&mut line, cursor)?, prev, events))
            }
            "gap" => {
                let GapData { region, until, .. } = line.data()?;
                of_region(region)?;
                Ok(Self::Gap(until))
            }
            "end" => line.data().map(Self::End),
            other => Err(BadLine::UnknownEvent(other.chars().take(40).collect())),
        }
    }
}

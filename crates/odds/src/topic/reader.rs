//! Reads a region's partitions into steps, and steps into the board.
//!
//! Partitions race each other, leaders die in the middle of a step, wake up as zombies and go on writing, and
//! compaction drops superseded records. Every reader still arrives at the same board:
//!
//! - a record is held back until the marker of its step, or of a later one, has been read in **every** partition;
//! - behind a term's fence, a partition's records of lower terms are ignored, and behind a step's marker, those of that
//!   step and of earlier ones;
//! - records of terms and steps so high that no leader can have written them are ignored, too;
//! - where the newest record of an event in a partition is not what the board shows, the two are remembered as a loose
//!   end, which the leader overwrites;
//! - the board's digest after a step must be the marker's.

use std::collections::{BTreeMap, HashMap};

use crate::{Board, EventId, Image, Marker, Record, RecordKind, StepId, Term};

/// The result of reading one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The board has not changed yet.
    Waiting,
    /// The record is ignored: its term or step is too far above those read before for a leader to have written it.
    Implausible(StepId),
    /// A new term's fence is complete: the records before it are staged, and applied with the term's first step.
    Fenced,
    /// The step is on the board, and its digest matches or, while loading, is not checked yet.
    Applied(StepId),
    /// The digest does not match: the topic must be read again from its beginning.
    Mismatched(StepId),
}

/// How far the board is read and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet read to the ends that the partitions had at the start.
    Loading,
    /// Read to those ends, but the digest does not match: the next step decides.
    Unverified,
    /// The board is verified.
    Live,
    /// The board is wrong, and the topic must be read again.
    Mismatched,
}

/// A partition and an event whose newest record there is not, or not verified to be, what the board shows.
pub type LooseEnd = (u32, EventId);

/// Turns the records of a region's partitions into a verified board.
#[derive(Clone, Debug)]
pub struct Reader {
    partitions: Vec<Partition>,
    /// Changes that are read but not applied, by step.
    waiting: BTreeMap<StepId, Vec<Change>>,
    /// Markers and fences that are not yet read in every partition.
    markers: BTreeMap<StepId, Arrived>,
    /// Changes from before the fence of a term that has not made its first step.
    staged: Vec<Change>,
    applied: StepId,
    /// The marker of the newest complete step.
    marker: Option<Marker>,
    phase: Phase,
    /// Each with the offset of the record that caused it.
    loose: BTreeMap<LooseEnd, i64>,
    /// The partitions in which the newest record of an event is an image, one bit each.
    held: HashMap<EventId, u64>,
    board: Board,
}

#[derive(Clone, Debug)]
struct Partition {
    /// The offset after the last record that was read.
    position: i64,
    /// Where it ended when reading began.
    end: i64,
    /// The offset after the marker of the newest complete step.
    applied: i64,
    term: Term,
    /// The highest step of the term that was read.
    step: u64,
    /// Records of this step and of earlier ones come too late, and are ignored.
    over: StepId,
}

#[derive(Clone, Debug)]
struct Change {
    partition: u32,
    offset: i64,
    event: EventId,
    /// `None` for a removal.
    image: Option<Box<Image>>,
}

/// A marker or fence, and the partitions in which it is read.
#[derive(Clone, Debug)]
struct Arrived {
    /// `None` for a fence.
    marker: Option<Box<Marker>>,
    /// The offset after it, by partition.
    after: BTreeMap<u32, i64>,
}

impl Reader {
    /// Each partition has one bit of a 64-bit word.
    pub const MAX_PARTITIONS: usize = 64;

    /// A reader of partitions that now end at these offsets. They must be read from their beginnings.
    ///
    /// # Panics
    /// If there are no partitions or more than [`Self::MAX_PARTITIONS`].
    pub fn new(ends: &[i64]) -> Self {
        Self::with_board(ends, Board::default())
    }

    /// Like [`Self::new`], with a given empty board.
    pub fn with_board(ends: &[i64], board: Board) -> Self {
        assert!(!ends.is_empty() && ends.len() <= Self::MAX_PARTITIONS, "{} partitions", ends.len());
        let partition =
            |&end| Partition { position: 0, end, applied: 0, term: Term::default(), step: 0, over: StepId::default() };
        let mut reader = Self {
            partitions: ends.iter().map(partition).collect(),
            waiting: BTreeMap::new(),
            markers: BTreeMap::new(),
            staged: Vec::new(),
            applied: StepId::default(),
            marker: None,
            phase: Phase::Loading,
            loose: BTreeMap::new(),
            held: HashMap::new(),
            board,
        };
        reader.judge_at_end();
        reader
    }

    pub fn board(&self) -> &Board {
        &self.board
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The newest step or fence that is complete in every partition.
    pub fn applied(&self) -> StepId {
        self.applied
    }

    /// In how many partitions the newest step or fence is read, if it is not complete.
    pub fn newest_is_in(&self) -> Option<usize> {
        self.markers.last_key_value().map(|(_, arrived)| arrived.after.len())
    }

    /// The marker of the newest complete step; fences have none.
    pub fn marker(&self) -> Option<&Marker> {
        self.marker.as_ref()
    }

    /// Whether the board matches the digest of the newest complete step.
    pub fn is_verified(&self) -> bool {
        self.marker.as_ref().is_some_and(|marker| marker.digest == self.board.digest())
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// The next offset to read in a partition.
    pub fn position(&self, partition: u32) -> i64 {
        self.partitions[partition as usize].position
    }

    /// Everything before this offset of a partition is on the board.
    pub fn applied_position(&self, partition: u32) -> i64 {
        self.partitions[partition as usize].applied
    }

    pub fn greatest_term(&self) -> Term {
        self.partitions.iter().map(|partition| partition.term).max().expect("there is a partition")
    }

    pub fn loose_ends(&self) -> impl Iterator<Item = &LooseEnd> {
        self.loose.keys()
    }

    /// Every event whose newest record in some partition is an image.
    pub fn held(&self) -> impl Iterator<Item = &EventId> {
        self.held.iter().filter(|(_, partitions)| **partitions != 0).map(|(event, _)| event)
    }

    /// Notes that everything before this offset is read, compacted away or unreadable.
    pub fn advance(&mut self, partition: u32, position: i64) {
        let it = &mut self.partitions[partition as usize];
        it.position = it.position.max(position);
        if self.phase == Phase::Loading {
            self.judge_at_end();
        }
    }

    /// Takes a record. A record that was read before, as happens when partitions move between consumers, changes
    /// nothing.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn read(&mut self, partition: u32, offset: i64, record: Record) -> Progress {
        if offset < self.position(partition) || self.phase == Phase::Mismatched {
            return Progress::Waiting;
        }
        let Record { id, kind } = record;
        let it = &mut self.partitions[partition as usize];
        // Compared with this partition only, whose content is the same for every reader.
        if !id.is_plausible_after(StepId::new(it.term, it.step)) {
            match kind {
                RecordKind::Image(event, image) => self.change(partition, offset, id, event, Some(image), true),
                RecordKind::Removal(event) => self.change(partition, offset, id, event, None, true),
                RecordKind::Marker(_) | RecordKind::Fence(_) => Progress::Waiting,
            };
            self.advance(partition, offset + 1);
            return Progress::Implausible(id);
        }
        let late = id <= it.over;
        // Compaction may have dropped the fence, but every record of a term comes after it, so any of them shows that
        // there was one.
        let fence = StepId::new(id.term, 0);
        it.over = it.over.max(if matches!(kind, RecordKind::Marker(_)) { id } else { fence });
        if id.term >= it.term {
            it.step = if id.term == it.term { it.step.max(id.step) } else { id.step };
            it.term = id.term;
        }

        let progress = match kind {
            RecordKind::Image(event, image) => self.change(partition, offset, id, event, Some(image), late),
            RecordKind::Removal(event) => self.change(partition, offset, id, event, None, late),
            RecordKind::Marker(_) | RecordKind::Fence(_) if late => Progress::Waiting,
            RecordKind::Marker(marker) => self.arrive(partition, offset, id, Some(marker)),
            RecordKind::Fence(_) => self.arrive(partition, offset, id, None),
        };
        self.advance(partition, offset + 1);
        match progress {
            Progress::Applied(step) if self.phase == Phase::Mismatched => Progress::Mismatched(step),
            progress => progress,
        }
    }

    fn change(
        &mut self,
        partition: u32,
        offset: i64,
        id: StepId,
        event: EventId,
        image: Option<Box<Image>>,
        late: bool,
    ) -> Progress {
        let bit = 1 << partition;
        if image.is_some() {
            *self.held.entry(event.clone()).or_default() |= bit;
        } else if let Some(partitions) = self.held.get_mut(&event) {
            *partitions &= !bit;
            if *partitions == 0 {
                self.held.remove(&event);
            }
        }
        if late {
            self.loose.insert((partition, event), offset);
        } else {
            self.waiting.entry(id).or_default().push(Change { partition, offset, event, image });
        }
        Progress::Waiting
    }

    fn arrive(&mut self, partition: u32, offset: i64, id: StepId, marker: Option<Box<Marker>>) -> Progress {
        let arrived = self.markers.entry(id).or_insert(Arrived { marker, after: BTreeMap::new() });
        arrived.after.insert(partition, offset + 1);
        if arrived.after.len() < self.partitions.len() {
            return Progress::Waiting;
        }
        let complete = self.markers.remove(&id).expect("it was inserted above");
        for (partition, after) in complete.after {
            self.partitions[partition as usize].applied = after;
        }
        self.markers = self.markers.split_off(&id);
        let later = self.waiting.split_off(&id.next());
        self.staged.extend(std::mem::replace(&mut self.waiting, later).into_values().flatten());
        self.applied = id;
        match complete.marker {
            None => Progress::Fenced,
            Some(marker) => {
                self.apply_staged();
                self.judge(id, &marker);
                self.marker = Some(*marker);
                Progress::Applied(id)
            }
        }
    }

    /// Applies the changes from before the fence of a term that has made no step yet. The result is not the state of
    /// any step: only a leader uses it, to make its first step.
    pub fn apply_staged(&mut self) {
        // A marker proves everything before it: a leader begins no step before its last is complete, and its first step
        // overwrites what its fence left unverified.
        let proven = !self.applied.is_fence();
        for change in std::mem::take(&mut self.staged) {
            let Change { partition, offset, event, image } = change;
            match image {
                Some(image) => self.board.set(&event, &image),
                None => self.board.remove(&event),
            };
            let end = (partition, event);
            if !proven {
                let made = self.loose.entry(end).or_insert(offset);
                *made = offset.max(*made);
            } else if self.loose.get(&end).is_some_and(|made| *made < offset) {
                self.loose.remove(&end);
            }
        }
    }

    fn judge(&mut self, id: StepId, marker: &Marker) {
        let fits = self.board.digest() == marker.digest;
        if fits {
            self.board.remember(id);
        } else {
            self.board.purge();
        }
        match (self.phase, fits) {
            (Phase::Loading, _) => {}
            (_, true) => self.phase = Phase::Live,
            (_, false) => self.phase = Phase::Mismatched,
        }
    }

    /// Ends loading once everything that was there at the start is read. A board that doesn't match its digest then may
    /// have been read in the middle of a step, so the next step decides.
    fn judge_at_end(&mut self) {
        if self.partitions.iter().all(|partition| partition.position >= partition.end) {
            let empty = self.partitions.iter().all(|partition| partition.end == 0);
            self.phase = if self.is_verified() || empty { Phase::Live } else { Phase::Unverified };
        }
    }

    /// Gives up a board that no step has verified.
    pub fn give_up_waiting(&mut self) {
        if self.phase == Phase::Unverified {
            self.phase = Phase::Mismatched;
        }
    }
}

//! What a leader writes: the fence of its term, then steps. A step is the difference between the board that the leader
//! reads from its own topic and the board that it wants.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    BadRecord, BookmakerKey, Credits, DaySpending, EventId, FeedState, Headers, Image, LogPosition, Marker, Pending,
    Phase, Reader, Record, RecordKind, SCHEMA_VERSION, SportFreshness, SportKey, StepId, Term, Timestamp,
};

/// A record to be sent to Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub partition: u32,
    pub id: StepId,
    pub key: String,
    /// `None` for a removal.
    pub value: Option<Arc<str>>,
}

impl Outgoing {
    fn new(partition: u32, record: &Record) -> Self {
        Self { partition, id: record.id, key: record.key().to_owned(), value: record.value().map(Arc::from) }
    }

    /// The record as it is read back.
    pub fn record(&self) -> Result<Record, BadRecord> {
        let headers = self.headers();
        let headers = Headers {
            v: Some(headers.v.as_bytes()),
            term: Some(headers.term.as_bytes()),
            step: Some(headers.step.as_bytes()),
        };
        Record::read(headers, Some(self.key.as_bytes()), self.value.as_deref().map(str::as_bytes))
    }

    pub fn headers(&self) -> Headers<String> {
        Headers { v: SCHEMA_VERSION.to_string(), term: self.id.term.to_string(), step: self.id.step.to_string() }
    }

    pub fn is_image(&self) -> bool {
        self.value.is_some() && !self.key.starts_with('~')
    }
}

/// A marker's fields, except the digest and the position in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub at: Timestamp,
    pub next_by: Timestamp,
    pub state: FeedState,
    pub reason: Option<String>,
    pub source: String,
    pub credits: Credits,
    pub sports: BTreeMap<SportKey, SportFreshness>,
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    pub bookmaker_names: BTreeMap<BookmakerKey, String>,
    pub spent_today: Option<DaySpending>,
}

/// The records of one step. The markers are sent when every record is acknowledged.
#[derive(Clone, Debug, Default)]
pub struct StepRecords {
    pub records: Vec<Outgoing>,
    pub markers: Vec<Outgoing>,
    /// Events that this step removes because their images are too large for a record.
    pub too_large: Vec<EventId>,
}

/// Whether a leader may write its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderState {
    /// Its fence has not been read in every partition yet.
    Fencing,
    /// Its own board shows everything that it wrote: it may write the next step.
    Ready,
    /// Its last step has not been read in every partition yet.
    Publishing,
    /// A greater term has begun.
    Deposed,
}

/// Builds the records of one term.
#[derive(Clone, Debug)]
pub struct Writer {
    last: StepId,
    next_partition: u32,
    republish_all: bool,
}

impl Writer {
    /// Begins a term above all that the reader has seen, and returns its writer and its fence. The reader must have
    /// read every partition to its end. With `republish_all`, the first step publishes everything.
    pub fn begin(reader: &Reader, now: Timestamp, tie: u32, republish_all: bool) -> (Self, Vec<Outgoing>) {
        let last = StepId::new(Term::after(reader.greatest_term(), now, tie), 0);
        let fence = Record { id: last, kind: RecordKind::Fence(now) };
        (Self { last, next_partition: 0, republish_all }, everywhere(reader, &fence))
    }

    pub fn term(&self) -> Term {
        self.last.term
    }

    /// The last step that it wrote; at first, its fence.
    pub fn last(&self) -> StepId {
        self.last
    }

    /// Makes the next step publish everything.
    pub fn republish_all(&mut self) {
        self.republish_all = true;
    }

    pub fn state(&self, reader: &Reader) -> LeaderState {
        if reader.greatest_term() > self.last.term {
            LeaderState::Deposed
        } else if reader.applied() == self.last {
            LeaderState::Ready
        } else if self.last.is_fence() {
            LeaderState::Fencing
        } else {
            LeaderState::Publishing
        }
    }

    /// Builds the next step from pending changes and loose ends. It publishes everything if that was requested, if the
    /// board is unverified, or if another source wrote it. Call it when [`LeaderState::Ready`], and send all of it, or
    /// end the term.
    pub fn next_step(
        &mut self,
        reader: &mut Reader,
        pending: &Pending,
        status: Status,
        max_bytes: usize,
    ) -> StepRecords {
        reader.apply_staged();
        let reader = &*reader;
        let republish_all = std::mem::take(&mut self.republish_all)
            || reader.phase() != Phase::Live
            || reader.marker().is_some_and(|marker| marker.source != status.source);

        let loose: BTreeSet<&EventId> = reader.loose_ends().map(|(_, event)| event).collect();
        let mut wanted: BTreeMap<&EventId, Option<Image>> = BTreeMap::new();
        if republish_all {
            wanted.extend(reader.held().chain(reader.board().event_ids()).map(|event| (event, None)));
        }
        wanted.extend(loose.iter().map(|event| (*event, None)));
        for (event, image) in &mut wanted {
            *image = reader.board().image(event, status.at);
        }
        wanted.extend(pending.changes().map(|(event, image)| (event, image.cloned())));

        let id = self.last.next();
        let mut step_records = StepRecords::default();
        for (event, image) in &mut wanted {
            let value = image.as_ref().map(|image| Arc::<str>::from(image.to_json(event)));
            let value = value.filter(|value| {
                let fits = value.len() <= max_bytes;
                if !fits {
                    step_records.too_large.push((*event).clone());
                }
                fits
            });
            if value.is_none() {
                *image = None;
            }
            let out = |partition| Outgoing { partition, id, key: event.to_string(), value: value.clone() };
            let partitions = u32::try_from(reader.partition_count()).expect("at most 64");
            match (&value, loose.contains(event)) {
                (None, _) => step_records.records.extend((0..partitions).map(out)),
                // To every partition, so that this is the newest record in each, beginning where the rotation is.
                (Some(_), true) => step_records.records.extend((0..partitions).map(|_| out(self.turn(partitions)))),
                (Some(_), false) => step_records.records.push(out(self.turn(partitions))),
            }
        }

        let (position, at) = LogPosition::after(reader.marker(), id, status.at);
        let Status { at: _, next_by, state, reason, source, credits, sports, bookmakers, bookmaker_names, spent_today } =
            status;
        let digest = reader.board().digest_after(wanted.iter().map(|(event, image)| (*event, image.as_ref())));
        let marker = Marker {
            digest,
            at,
            position: Some(position),
            next_by,
            state,
            reason,
            source,
            credits,
            sports,
            bookmakers,
            bookmaker_names,
            spent_today,
        };
        step_records.markers = everywhere(reader, &Record { id, kind: RecordKind::Marker(Box::new(marker)) });
        self.last = id;
        step_records
    }

    fn turn(&mut self, partitions: u32) -> u32 {
        let turn = self.next_partition;
        self.next_partition = (turn + 1) % partitions;
        turn
    }
}

fn everywhere(reader: &Reader, record: &Record) -> Vec<Outgoing> {
    let one = Outgoing::new(0, record);
    (0..reader.partition_count()).map(|at| Outgoing { partition: at as u32, ..one.clone() }).collect()
}

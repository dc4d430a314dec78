//! A simulated history: a log of partitions, leaders that write to it and may stop anywhere and wake up late, readers,
//! and compaction. All records pass through their wire format.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use odds::{
    Credits, Details, EventId, FeedState, Image, LeaderState, LogPosition, Market, Outcome, Outcomes, Outgoing,
    Pending, Phase, Progress, Quotes, Reader, Record, SportKey, Status, StepId, Timestamp, Writer,
};

/// What a leader wants on the board: a price for each event, or none.
pub type Target = BTreeMap<u8, u16>;

/// A board in a form that can be compared.
pub type Shown = BTreeMap<EventId, Image>;

pub fn event_id(event: u8) -> EventId {
    format!("e{event}").parse().unwrap()
}

pub fn sport() -> SportKey {
    "s".parse().unwrap()
}

pub fn image(price: u16) -> Image {
    let outcome =
        Outcome { name: "home".into(), price: odds::Decimal::new(i64::from(price), 2), point: None, description: None };
    let market =
        Market { last_update: Timestamp::from_millis(i64::from(price)), outcomes: Outcomes::new(vec![outcome]) };
    Image {
        polled_at: Timestamp::from_millis(0),
        details: Details {
            sport_key: sport(),
            sport_title: "S".into(),
            commence_time: Timestamp::from_millis(0),
            home_team: None,
            away_team: None,
        },
        quotes: Quotes::from([(("b".parse().unwrap(), "m".parse().unwrap()), market)]),
    }
}

pub fn shown(reader: &Reader) -> Shown {
    let board = reader.board();
    let image = |id: &EventId| board.image(id, Timestamp::from_millis(0)).expect("it is on the board");
    board.event_ids().map(|id| (id.clone(), image(id))).collect()
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub offset: i64,
    pub key: String,
    pub record: Record,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub partitions: Vec<Vec<Arc<Entry>>>,
}

impl Log {
    pub fn new(partitions: usize) -> Self {
        Self { partitions: vec![Vec::new(); partitions] }
    }

    pub fn append(&mut self, out: &Outgoing) -> i64 {
        let record = out.record().unwrap();
        let partition = &mut self.partitions[out.partition as usize];
        let offset = partition.last().map_or(0, |last| last.offset + 1);
        partition.push(Arc::new(Entry { offset, key: out.key.clone(), record }));
        offset
    }

    pub fn ends(&self) -> Vec<i64> {
        self.partitions.iter().map(|entries| entries.last().map_or(0, |last| last.offset + 1)).collect()
    }

    /// What Kafka keeps of each partition when it compacts it up to an offset: the newest record of every key before
    /// that offset, without removals if `drop_removals`.
    pub fn compacted(&self, up_to: &[i64], drop_removals: bool) -> Self {
        let partitions = self.partitions.iter().zip(up_to);
        let keep = |(entries, up_to): (&Vec<Arc<Entry>>, &i64)| {
            let closed = entries.iter().filter(|entry| entry.offset < *up_to);
            let newest: BTreeMap<&str, i64> = closed.map(|entry| (entry.key.as_str(), entry.offset)).collect();
            let is_removal = |entry: &Entry| matches!(entry.record.kind, odds::RecordKind::Removal(_));
            // The last record of a partition is never compacted away.
            let last = entries.last().map_or(0, |entry| entry.offset);
            let kept = entries.iter().filter(|entry| {
                entry.offset >= *up_to
                    || entry.offset == last
                    || (newest[entry.key.as_str()] == entry.offset && !(drop_removals && is_removal(entry)))
            });
            kept.cloned().collect()
        };
        Self { partitions: partitions.map(keep).collect() }
    }
}

/// The board at each step.
pub type Boards = BTreeMap<StepId, Arc<Shown>>;

/// A reader that records the board at every step it reaches.
#[derive(Clone, Debug)]
pub struct Observer {
    pub reader: Reader,
    pub seen: Boards,
    /// The position and the time of the newest step.
    last: Option<(LogPosition, Timestamp)>,
    /// It loads a compacted log, and loads again if the board does not match its digest.
    loads: bool,
}

impl Observer {
    /// Reads a log that is still empty from its beginning: the board is verified at every step.
    pub fn from_the_start(partitions: usize) -> Self {
        Self { reader: Reader::new(&vec![0; partitions]), seen: BTreeMap::new(), last: None, loads: false }
    }

    /// Loads a log up to its current ends.
    pub fn loading(log: &Log) -> Self {
        Self { reader: Reader::new(&log.ends()), seen: BTreeMap::new(), last: None, loads: true }
    }

    /// Reads the next record of a partition, if there is one.
    pub fn read_one(&mut self, log: &Log, partition: usize) -> bool {
        let position = self.reader.position(partition as u32);
        let Some(entry) = log.partitions[partition].iter().find(|entry| entry.offset >= position) else {
            return false;
        };
        match self.reader.read(partition as u32, entry.offset, entry.record.clone()) {
            Progress::Applied(step) => {
                if self.reader.phase() == Phase::Live {
                    self.seen.insert(step, Arc::new(shown(&self.reader)));
                }
                if !self.loads {
                    self.check_position();
                }
            }
            Progress::Mismatched(_) if self.loads => self.reader = Reader::new(&log.ends()),
            Progress::Mismatched(step) => panic!("the board does not match at {step}"),
            Progress::Waiting | Progress::Fenced | Progress::Implausible(_) => {}
        }
        true
    }

    /// Asserts that the newest step follows the one before it in its log.
    fn check_position(&mut self) {
        let marker = self.reader.marker().expect("a step has a marker");
        let position = marker.position.expect("every leader writes one");
        if let Some((last, at)) = self.last {
            assert!(position.follows(last), "{position:?} follows {last:?}");
            assert!(marker.at > at, "times grow");
        }
        self.last = Some((position, marker.at));
    }

    /// Reads everything, one partition after the other, in this order.
    pub fn read_in_order(&mut self, log: &Log, order: impl IntoIterator<Item = usize>) {
        for partition in order {
            while self.read_one(log, partition) {}
        }
    }

    /// Reads everything, one record of each partition in turn.
    pub fn read_in_turn(&mut self, log: &Log) {
        while (0..log.partitions.len()).filter(|partition| self.read_one(log, *partition)).count() > 0 {}
    }
}

/// A leading producer, as far as the log is concerned.
#[derive(Clone, Debug)]
pub struct Leader {
    pub observer: Observer,
    writer: Option<Writer>,
    pending: Pending,
    /// Records handed to the Kafka client but not in the log yet.
    pub queue: VecDeque<Outgoing>,
    /// The offset after its newest marker or fence, by partition.
    own: Vec<i64>,
}

impl Leader {
    pub fn new(partitions: usize) -> Self {
        Self {
            observer: Observer::from_the_start(partitions),
            writer: None,
            pending: Pending::default(),
            queue: VecDeque::new(),
            own: vec![0; partitions],
        }
    }

    pub fn has_begun(&self) -> bool {
        self.writer.is_some()
    }

    /// Wins the election: reads everything and queues its fence.
    pub fn begin(&mut self, log: &Log, now: i64, tie: u32) {
        self.observer.read_in_turn(log);
        let (writer, fence) = Writer::begin(&self.observer.reader, Timestamp::from_millis(now), tie, false);
        self.writer = Some(writer);
        self.queue = fence.into();
    }

    pub fn send_one(&mut self, log: &mut Log) {
        let out = self.queue.pop_front().expect("there is something to send");
        let offset = log.append(&out);
        if !out.is_image() {
            self.own[out.partition as usize] = offset + 1;
        }
    }

    pub fn send_all(&mut self, log: &mut Log) {
        while !self.queue.is_empty() {
            self.send_one(log);
        }
    }

    /// Reads only as far as its own last step.
    pub fn read_own(&mut self, log: &Log) {
        for partition in 0..self.own.len() {
            while self.observer.reader.position(partition as u32) < self.own[partition] {
                assert!(self.observer.read_one(log, partition), "what it wrote is in the log");
            }
        }
    }

    pub fn state(&self) -> LeaderState {
        self.writer.as_ref().expect("it has begun").state(&self.observer.reader)
    }

    /// Queues the next step towards a target. Returns whether the leader may.
    pub fn plan(&mut self, target: &Target) -> bool {
        if !self.queue.is_empty() || self.state() != LeaderState::Ready {
            return false;
        }
        self.observer.reader.apply_staged();
        let answer = || target.iter().map(|(event, price)| (event_id(*event), image(*price)));
        // An answer that empties the sport is accepted only the second time.
        for _ in 0..2 {
            self.pending.poll(self.observer.reader.board(), &sport(), answer());
        }
        let status = Status {
            at: Timestamp::from_millis(0),
            next_by: Timestamp::from_millis(0),
            state: FeedState::Live,
            reason: None,
            source: "model".into(),
            credits: Credits::default(),
            sports: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            spent_today: None,
        };
        let writer = self.writer.as_mut().expect("it has begun");
        let step_records = writer.next_step(&mut self.observer.reader, &self.pending, status, usize::MAX);
        self.pending = Pending::default();
        self.queue = step_records.records.into_iter().chain(step_records.markers).collect();
        true
    }
}

/// The board that a target describes.
pub fn wanted(target: &Target) -> Shown {
    target.iter().map(|(event, price)| (event_id(*event), image(*price))).collect()
}

/// Checks a log that ends with a step of the last leader towards `target`, and the boards that others saw.
pub fn check(log: &Log, target: &Target, others: &[&Observer]) {
    agree(&mut boards(log, target), others);
}

/// Asserts that all observers saw the same board at each step.
pub fn agree(boards: &mut Boards, observers: &[&Observer]) {
    for (step, shown) in observers.iter().flat_map(|observer| &observer.seen) {
        let first = boards.entry(*step).or_insert_with(|| shown.clone());
        assert_eq!(first, shown, "two readers differ at {step}");
    }
}

/// The boards of a log that ends with a step of the last leader towards `target`. Asserts that readers in any order see
/// the same boards and end at the target, and that readers that load the compacted log end there, too.
pub fn boards(log: &Log, target: &Target) -> Boards {
    let partitions = log.partitions.len();
    let mut boards = Boards::new();
    let mut readers = vec![Observer::from_the_start(partitions); 3];
    readers[0].read_in_order(log, 0..partitions);
    readers[1].read_in_order(log, (0..partitions).rev());
    readers[2].read_in_turn(log);
    for reader in &readers {
        agree(&mut boards, &[reader]);
        assert_eq!(shown(&reader.reader), wanted(target), "the last step's board");
        assert_eq!(reader.reader.phase(), Phase::Live);
    }

    let ends = log.ends();
    let nothing = vec![0; partitions];
    let halves: Vec<i64> = ends.iter().map(|end| end / 2).collect();
    let first_only: Vec<i64> = ends.iter().enumerate().map(|(n, end)| if n == 0 { *end } else { 0 }).collect();
    let last_only: Vec<i64> = ends.iter().enumerate().map(|(n, end)| if n == 0 { 0 } else { *end }).collect();
    for up_to in [&nothing, &ends, &halves, &first_only, &last_only] {
        for drop_removals in [false, true] {
            let compacted = log.compacted(up_to, drop_removals);
            let mut loader = Observer::loading(&compacted);
            loader.read_in_order(&compacted, 0..partitions);
            assert_eq!(loader.reader.phase(), Phase::Live, "a compacted log is verified");
            assert_eq!(shown(&loader.reader), wanted(target), "loaded from a compacted log");
        }
    }
    boards
}

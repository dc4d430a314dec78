//! A region without brokers: a leader that writes steps and reads them back at once, with the times that it is given.

use odds::{Board, Outgoing, Pending, Reader, StepRecords, Timestamp, Writer};

use crate::race::{EVENTS_OF_A_SPORT, World};
use kafka::MAX_RECORD_BYTES;

/// A topic, its leader, and what the leader polls.
pub struct LocalRegion {
    pub reader: Reader,
    pub world: World,
    writer: Writer,
    /// The next offset of each partition.
    offsets: Vec<i64>,
}

impl LocalRegion {
    /// Becomes the leader of an empty topic. Returns the records of its fence, too.
    pub fn new(partitions: usize, world: World, at: Timestamp) -> anyhow::Result<(Self, Vec<Outgoing>)> {
        let offsets = vec![0; partitions];
        let reader = Reader::new(&offsets);
        let (writer, fence) = Writer::begin(&reader, at, 0, false);
        let mut this = Self { reader, world, writer, offsets };
        this.read(&fence)?;
        Ok((this, fence))
    }

    /// Publishes the whole board.
    pub fn publish_all(&mut self, at: Timestamp) -> anyhow::Result<Vec<Outgoing>> {
        let pending = self.world.poll_all(self.reader.board());
        self.publish(&pending, at)
    }

    /// Publishes a step in which this many quotes change, each of another event: polls of as many sports as it takes.
    pub fn step(&mut self, mut changes: usize, at: Timestamp) -> anyhow::Result<Vec<Outgoing>> {
        let mut pending = Pending::default();
        while changes > 0 {
            let of_a_sport = changes.min(EVENTS_OF_A_SPORT);
            self.world.change(of_a_sport, self.reader.board(), &mut pending)?;
            changes -= of_a_sport;
        }
        self.publish(&pending, at)
    }

    /// Publishes a poll of one sport, in which this many quotes change.
    pub fn poll(&mut self, changes: usize, at: Timestamp) -> anyhow::Result<Vec<Outgoing>> {
        let mut pending = Pending::default();
        self.world.change(changes, self.reader.board(), &mut pending)?;
        self.publish(&pending, at)
    }

    /// Publishes a step with what was polled.
    pub fn publish(&mut self, pending: &Pending, at: Timestamp) -> anyhow::Result<Vec<Outgoing>> {
        let status = self.world.status(at);
        let StepRecords { mut records, markers, .. } =
            self.writer.next_step(&mut self.reader, pending, status, MAX_RECORD_BYTES);
        records.extend(markers);
        self.read(&records)?;
        Ok(records)
    }

    pub fn board(&self) -> &Board {
        self.reader.board()
    }

    fn read(&mut self, records: &[Outgoing]) -> anyhow::Result<()> {
        for record in records {
            let offset = &mut self.offsets[record.partition as usize];
            self.reader.read(record.partition, *offset, record.record()?);
            *offset += 1;
        }
        Ok(())
    }
}

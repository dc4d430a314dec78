//! Counts the unreadable records of a region's topic.

/// A counter of unreadable records that counts each record once, also if it is read again after a reload or a restart.
#[derive(Debug)]
pub(super) struct UnreadableRecords {
    pub(super) count: u64,
    /// By partition: records before this offset are already counted, or older than this process.
    counted_to: Vec<i64>,
}

impl UnreadableRecords {
    /// Returns a counter that skips existing records: an earlier process counted them when they were written.
    pub(super) fn after(ends: impl IntoIterator<Item = i64>) -> Self {
        Self { count: 0, counted_to: ends.into_iter().collect() }
    }

    /// Counts a record, and returns whether it is new.
    pub(super) fn add(&mut self, partition: u32, offset: i64) -> bool {
        let counted_to = &mut self.counted_to[partition as usize];
        let is_new = offset >= *counted_to;
        if is_new {
            *counted_to = offset + 1;
            self.count += 1;
        }
        is_new
    }

    /// Prepares for a reload of a topic whose partitions end at `ends`. A partition that ends before the position it
    /// was read to is a different log: all its records are new.
    pub(super) fn restart(&mut self, read_to: impl IntoIterator<Item = i64>, ends: impl IntoIterator<Item = i64>) {
        let counted_to = self.counted_to.iter().copied().chain(std::iter::repeat(0));
        let read_to = read_to.into_iter().chain(std::iter::repeat(0));
        self.counted_to = (ends.into_iter().zip(counted_to.zip(read_to)))
            .map(|(end, (counted_to, read_to))| {
                let known = counted_to.max(read_to);
                if end < known { 0 } else { known }
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_read_again_is_counted_once() {
        let mut unreadable = UnreadableRecords::after([3, 0]);
        assert!(!unreadable.add(0, 2), "the record is older than this process");
        assert!(unreadable.add(0, 3) && unreadable.add(1, 3));
        // A reload after two more records were written to each partition.
        unreadable.restart([6, 4], [8, 6]);
        let new: Vec<i64> = (0..8).filter(|offset| unreadable.add(0, *offset)).collect();
        assert_eq!(new, [6, 7]);
        assert_eq!(unreadable.count, 4);
    }

    #[test]
    fn a_topic_that_was_created_again_is_another() {
        let mut unreadable = UnreadableRecords::after([0, 0]);
        unreadable.restart([100, 100], [2, 200, 1]);
        let new = [(0, 1), (1, 99), (1, 100), (2, 0)].map(|(partition, offset)| unreadable.add(partition, offset));
        assert_eq!(new, [true, false, true, true]);
    }
}

//! Whether each shard's rules were evaluated on one step after the other, and between which steps they were not.

use std::collections::HashMap;

use accounts::{DecidedStep, Shard, ShardProgress, Store, StoreError, Unwatched};
use odds::{LogPosition, Region, Timestamp};

/// The newest decided step of each shard and region, and the step that was read last.
#[derive(Debug)]
pub(crate) struct Continuity {
    decided: HashMap<Shard, ShardProgress>,
    /// None after steps that can't be put in order.
    read: [Option<LogPosition>; Region::ALL.len()],
}

/// A time that some shards were not evaluated in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) shards: Vec<Shard>,
    /// The last decided step before it.
    pub(crate) after: LogPosition,
    pub(crate) unwatched: Unwatched,
}

impl Continuity {
    /// The shards were decided up to these steps.
    pub(crate) fn new(decided: HashMap<Shard, ShardProgress>) -> Self {
        Self { decided, read: Default::default() }
    }

    pub(crate) fn drop_shards(&mut self, shards: &[Shard]) {
        self.decided.retain(|shard, _| !shards.contains(shard));
    }

    /// A step without a position is read.
    pub(crate) fn read_unordered(&mut self, region: Region) {
        self.read[region as usize] = None;
    }

    /// A step is read and evaluated. `is_first` says that no step was read before it, or that the topic is read again
    /// from its beginning. Returns the gaps that end with the step.
    pub(crate) fn read(&mut self, region: Region, position: LogPosition, at: Timestamp, is_first: bool) -> Vec<Gap> {
        let before = self.read[region as usize].replace(position).filter(|_| !is_first);
        let mut gaps: Vec<Gap> = Vec::new();
        for (shard, progress) in &mut self.decided {
            let former = progress.get(region);
            if former.is_some_and(|former| position <= former.position) {
                continue;
            }
            progress.set(region, DecidedStep { position, at: Some(at) });
            let Some(DecidedStep { position: after, at: Some(from) }) = former else { continue };
            if from >= at || follows(position, after, before) {
                continue;
            }
            match gaps.iter_mut().find(|gap| gap.after == after) {
                Some(gap) => gap.shards.push(*shard),
                None => {
                    let unwatched = Unwatched { region, from, until: at };
                    gaps.push(Gap { shards: vec![*shard], after, unwatched });
                }
            }
        }
        gaps
    }
}

impl Gap {
    /// Notes it for those of its shards that are held and not decided further. If one is, this alerter was suspended,
    /// and another one has gone on from there. Returns these shards.
    pub(crate) async fn note(&self, store: &dyn Store, held: &[Shard]) -> Result<Vec<Shard>, StoreError> {
        let mut shards = Vec::new();
        for shard in self.shards.iter().filter(|shard| held.contains(shard)) {
            let decided = store.progress(*shard).await?.get(self.unwatched.region);
            if decided.is_none_or(|step| step.position <= self.after) {
                shards.push(*shard);
            }
        }
        store.note_unwatched(&shards, &self.unwatched).await?;
        Ok(shards)
    }
}

/// Whether no step is missing between two. A new log follows only if the end of the former one was read just before:
/// whether a log had more steps can't be seen in its steps.
fn follows(position: LogPosition, after: LogPosition, before: Option<LogPosition>) -> bool {
    let begins = position.log != after.log && position.seq == 1;
    position.follows(after) || (begins && before == Some(after))
}

#[cfg(test)]
mod tests {
    use accounts::StoreUrl;

    use super::*;

    fn step(log: u8, seq: u64) -> LogPosition {
        LogPosition { log: format!("{log}.0/1").parse().unwrap(), seq }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn shard(number: i32) -> Shard {
        Shard::numbered(number).unwrap()
    }

    /// Shards that were decided up to these steps, each with its second.
    fn decided(shards: &[(i32, LogPosition, i64)]) -> Continuity {
        let progress =
            |position, seconds| [(Region::Uk, DecidedStep { position, at: Some(at(seconds)) })].into_iter().collect();
        Continuity::new(
            shards.iter().map(|(number, position, it)| (shard(*number), progress(*position, *it))).collect(),
        )
    }

    fn gap(number: i32, after: LogPosition, from: i64, until: i64) -> Gap {
        let unwatched = Unwatched { region: Region::Uk, from: at(from), until: at(until) };
        Gap { shards: vec![shard(number)], after, unwatched }
    }

    #[test]
    fn an_absence_whose_steps_can_still_be_read_is_no_gap() {
        let mut continuity = decided(&[(1, step(1, 2), 2)]);
        for seq in 1..=5 {
            assert_eq!(continuity.read(Region::Uk, step(1, seq), at(60 * seq as i64), seq == 1), []);
        }
        let mut continuity = decided(&[(1, step(1, 2), 2)]);
        assert_eq!(continuity.read(Region::Uk, step(1, 3), at(60), true), [], "the topic begins with the next step");
        assert_eq!(continuity.read(Region::Uk, step(1, 1), at(1), true), [], "it is read again");
        assert_eq!(continuity.read(Region::Uk, step(1, 4), at(90), false), []);
    }

    #[test]
    fn steps_that_are_missing_are_a_gap_once() {
        let mut continuity = decided(&[(1, step(1, 2), 2)]);
        assert_eq!(continuity.read(Region::Uk, step(1, 4), at(9), true), [gap(1, step(1, 2), 2, 9)]);
        assert_eq!(continuity.read(Region::Uk, step(1, 5), at(10), false), []);
        assert_eq!(continuity.read(Region::Uk, step(1, 4), at(9), true), []);
        assert_eq!(continuity.read(Region::Uk, step(1, 5), at(10), false), []);
        // The topic was compacted while nothing was read.
        assert_eq!(continuity.read(Region::Uk, step(1, 8), at(99), false), [gap(1, step(1, 5), 10, 99)]);
    }

    #[test]
    fn nothing_is_missing_before_the_first_step_of_a_region() {
        let mut continuity = decided(&[(1, step(1, 2), 2)]);
        assert_eq!(continuity.read(Region::Eu, step(1, 7), at(9), true), []);
    }

    #[test]
    fn each_shard_has_its_own_gap() {
        let mut continuity = decided(&[(1, step(1, 2), 2), (2, step(1, 6), 6), (3, step(1, 7), 7)]);
        let mut gaps = continuity.read(Region::Uk, step(1, 8), at(8), true);
        gaps.sort_by_key(|gap| gap.after);
        assert_eq!(gaps, [gap(1, step(1, 2), 2, 8), gap(2, step(1, 6), 6, 8)]);
    }

    #[test]
    fn a_new_log_is_a_gap_unless_the_end_of_the_former_one_was_just_read() {
        let mut continuity = decided(&[(1, step(1, 2), 2)]);
        assert_eq!(continuity.read(Region::Uk, step(2, 1), at(9), true), [gap(1, step(1, 2), 2, 9)]);
        assert_eq!(continuity.read(Region::Uk, step(3, 1), at(12), false), [], "the leader began another log");
        assert_eq!(
            continuity.read(Region::Uk, step(4, 1), at(20), true),
            [gap(1, step(3, 1), 12, 20)],
            "another topic"
        );
        assert_eq!(continuity.read(Region::Uk, step(5, 3), at(30), false), [gap(1, step(4, 1), 20, 30)]);
        continuity.read_unordered(Region::Uk);
        assert_eq!(continuity.read(Region::Uk, step(6, 1), at(40), false), [gap(1, step(5, 3), 30, 40)]);
    }

    #[tokio::test]
    async fn a_gap_is_not_noted_for_shards_that_another_alerter_decided_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreUrl::Sqlite(folder.path().join("accounts.db")).open().await.unwrap();
        let progress = |seq| {
            let step = DecidedStep { position: step(1, seq), at: Some(at(seq as i64)) };
            [(Region::Uk, step)].into_iter().collect::<ShardProgress>()
        };
        let [left, taken, lost] = [1, 2, 3].map(shard);
        store.record(&[left, lost], &[], &progress(2), at(2)).await.unwrap();
        store.record(&[taken], &[], &progress(3), at(3)).await.unwrap();
        let gap = Gap { shards: vec![left, taken, lost], ..gap(1, step(1, 2), 2, 9) };
        assert_eq!(gap.note(&*store, &[left, taken]).await.unwrap(), [left]);
        assert_eq!(store.unwatched(left, at(0)).await.unwrap(), [gap.unwatched]);
        for other in [taken, lost] {
            assert_eq!(store.unwatched(other, at(0)).await.unwrap(), []);
        }
    }
}

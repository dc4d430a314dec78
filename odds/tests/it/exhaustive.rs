//! Everything that can happen in the small: two partitions, two events, two prices, leaders of a
//! step or two that stop after any record and wake up at any time later, or never.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use odds::RecordKind;

use crate::history::{Leader, Log, Target, check};

const PARTITIONS: usize = 2;

#[derive(Default)]
struct Seen {
    states: HashSet<u64>,
    histories: u64,
}

#[derive(Clone)]
struct World {
    log: Log,
    /// All but the last may have stopped, with what they had handed over still to come.
    leaders: Vec<Leader>,
    /// What each leader still wants to do, a target for each step.
    plans: Vec<Vec<Target>>,
    last_target: Target,
    clock: i64,
}

impl World {
    fn new(plans: &[&[Target]]) -> Self {
        Self {
            log: Log::new(PARTITIONS),
            leaders: vec![Leader::new(PARTITIONS); plans.len()],
            plans: plans.iter().map(|plan| plan.iter().rev().cloned().collect()).collect(),
            last_target: Target::new(),
            clock: 0,
        }
    }

    fn begin(&mut self, leader: usize) {
        self.clock += 1;
        self.leaders[leader].begin(&self.log, self.clock, leader as u32);
    }

    /// Two orders of moves that lead to the same logs, the same readers and the same work to do are
    /// one from there on.
    fn fingerprint(&self, active: usize) -> u64 {
        let mut hash = DefaultHasher::new();
        active.hash(&mut hash);
        for partition in &self.log.partitions {
            partition.len().hash(&mut hash);
            for entry in partition {
                (entry.record.id, &entry.key).hash(&mut hash);
                if let RecordKind::Image(_, image) = &entry.record.kind {
                    image.quotes.values().for_each(|quote| quote.last_update.hash(&mut hash));
                }
                matches!(entry.record.kind, RecordKind::Removal(_)).hash(&mut hash);
            }
        }
        for (leader, plans) in self.leaders.iter().zip(&self.plans) {
            (leader.queue.len(), plans.len(), leader.has_begun()).hash(&mut hash);
            for partition in 0..PARTITIONS {
                leader.observer.reader.position(partition as u32).hash(&mut hash);
            }
            for out in &leader.queue {
                (out.partition, out.id, &out.key, &out.value).hash(&mut hash);
            }
        }
        hash.finish()
    }

    /// The next step, having read all there is, or only its own last step.
    fn plan(&mut self, leader: usize, all: bool) -> bool {
        let Some(target) = self.plans[leader].last().cloned() else { return false };
        if all {
            self.leaders[leader].observer.read_in_turn(&self.log);
        } else {
            self.leaders[leader].read_own(&self.log);
        }
        if !self.leaders[leader].plan(&target) {
            return false;
        }
        self.plans[leader].pop();
        if leader + 1 == self.leaders.len() {
            self.last_target = target;
        }
        true
    }

    /// Plays out everything that can happen from here. `active`: the leader that runs; those before
    /// it have stopped, and may wake up.
    fn explore(&self, active: usize, seen: &mut Seen) {
        if !seen.states.insert(self.fingerprint(active)) {
            return;
        }
        let last = self.leaders.len() - 1;
        // A former leader wakes up and goes on with what it had handed over, or even with another step.
        for zombie in 0..active {
            if !self.leaders[zombie].queue.is_empty() {
                let mut world = self.clone();
                world.leaders[zombie].send_one(&mut world.log);
                world.explore(active, seen);
            } else if self.leaders[zombie].has_begun() {
                let mut world = self.clone();
                if world.plan(zombie, false) {
                    world.explore(active, seen);
                }
            }
        }
        // The active one goes on.
        let mut world = self.clone();
        let leader = &world.leaders[active];
        let went_on = if !leader.has_begun() {
            world.begin(active);
            true
        } else if !leader.queue.is_empty() {
            world.leaders[active].send_one(&mut world.log);
            true
        } else {
            world.plan(active, true)
        };
        if went_on {
            world.explore(active, seen);
        }
        // Or it stops here, and the next one begins.
        if active < last && self.leaders[active].has_begun() {
            let mut world = self.clone();
            world.begin(active + 1);
            world.explore(active + 1, seen);
        }
        if active == last && !went_on {
            self.clone().finish();
            seen.histories += 1;
        }
    }

    /// The last leader makes one more step once everything has landed.
    fn finish(mut self) {
        let active = self.leaders.len() - 1;
        // What nobody sent by now is never sent: a crash, not a late riser.
        self.leaders[active].observer.read_in_turn(&self.log);
        let target = self.last_target.clone();
        assert!(self.leaders[active].plan(&target), "the last leader leads");
        self.leaders[active].send_all(&mut self.log);
        self.leaders[active].observer.read_in_turn(&self.log);
        let others: Vec<_> = self.leaders.iter().map(|leader| &leader.observer).collect();
        check(&self.log, &target, &others);
    }
}

fn target(prices: &[(u8, u16)]) -> Target {
    prices.iter().copied().collect()
}

#[test]
fn two_leaders_of_two_steps() {
    let nothing = target(&[]);
    let one = target(&[(0, 150)]);
    let both = target(&[(0, 150), (1, 150)]);
    let moved = target(&[(0, 200), (1, 150)]);
    let other = target(&[(1, 200)]);
    let mut seen = Seen::default();
    for (a, b) in [
        ([&both, &moved], [&both, &both]),
        ([&both, &nothing], [&one, &both]),
        ([&one, &other], [&moved, &one]),
        ([&one, &both], [&one, &nothing]),
        ([&other, &one], [&other, &other]),
    ] {
        let world = World::new(&[&a.map(Clone::clone), &b.map(Clone::clone)]);
        seen.states.clear();
        world.explore(0, &mut seen);
    }
    eprintln!("{} histories, {} states", seen.histories, seen.states.len());
    assert!(seen.histories > 1_000, "only {} histories were played", seen.histories);
}

#[test]
fn three_leaders_of_a_step() {
    let one = target(&[(0, 150)]);
    let other = target(&[(0, 200)]);
    let nothing = target(&[]);
    let mut seen = Seen::default();
    for plans in [[&one, &other, &one], [&one, &nothing, &one], [&one, &one, &nothing]] {
        let world = World::new(&plans.map(std::slice::from_ref));
        seen.states.clear();
        world.explore(0, &mut seen);
    }
    eprintln!("{} histories, {} states", seen.histories, seen.states.len());
    assert!(seen.histories > 1_000, "only {} histories were played", seen.histories);
}

//! Every possible history of a small system: one or two partitions, one or two events, two prices, and leaders of one
//! or two steps that stop after any record and wake up at any later time, or never.
//!
//! | leaders, steps of each | partitions | boards that they want | run by |
//! |---|---|---|---|
//! | two, two steps | two | all of one event, and five pairs of two events | every test run |
//! | three, one step | two | three triples | every test run |
//! | three, two steps | one | three triples | every test run |
//! | two, two steps | two | all of two events | `cargo xtask soak` |
//! | three, two steps | one | all of one event | `cargo xtask soak` |

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use odds::RecordKind;

use crate::history::{Boards, Leader, Log, Target, agree, boards};

#[derive(Default)]
struct Seen {
    states: HashSet<u64>,
    /// The boards of each final log, by its hash: many histories end with the same log.
    logs: HashMap<u64, Boards>,
    histories: u64,
}

#[derive(Clone)]
struct World {
    log: Log,
    /// All but the last may have stopped, with queued records that are still to come.
    leaders: Vec<Leader>,
    /// The targets of each leader's remaining steps, the next one last.
    plans: Vec<Vec<Target>>,
    last_target: Target,
    clock: i64,
}

impl World {
    fn new(partitions: usize, plans: &[&[Target]]) -> Self {
        Self {
            log: Log::new(partitions),
            leaders: vec![Leader::new(partitions); plans.len()],
            plans: plans.iter().map(|plan| plan.iter().rev().cloned().collect()).collect(),
            last_target: Target::new(),
            clock: 0,
        }
    }

    fn begin(&mut self, leader: usize) {
        self.clock += 1;
        self.leaders[leader].begin(&self.log, self.clock, leader as u32);
    }

    /// A hash of everything that the future depends on: the log, the readers' positions and the remaining work. States
    /// with the same fingerprint are explored once.
    fn fingerprint(&self, active: usize) -> u64 {
        let mut hash = DefaultHasher::new();
        active.hash(&mut hash);
        hash_log(&self.log, &mut hash);
        for (leader, plans) in self.leaders.iter().zip(&self.plans) {
            (leader.queue.len(), plans.len(), leader.has_begun()).hash(&mut hash);
            for partition in 0..self.log.partitions.len() {
                leader.observer.reader.position(partition as u32).hash(&mut hash);
            }
            for out in &leader.queue {
                (out.partition, out.id, &out.key, &out.value).hash(&mut hash);
            }
        }
        hash.finish()
    }

    /// Plans the leader's next step after it has read everything (`all`), or only its own last step. Returns whether it
    /// may.
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

    /// Explores everything that can happen from here. `active` is the running leader; those before it have stopped, and
    /// may wake up.
    fn explore(&self, active: usize, seen: &mut Seen) {
        if !seen.states.insert(self.fingerprint(active)) {
            return;
        }
        let last = self.leaders.len() - 1;
        // A former leader wakes up and sends a queued record, or even plans another step.
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
        // The active leader goes on.
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
            self.clone().finish(seen);
            seen.histories += 1;
        }
    }

    /// The last leader makes one more step once everything has arrived; then all boards are compared.
    fn finish(mut self, seen: &mut Seen) {
        let active = self.leaders.len() - 1;
        // Records that are still queued are never sent: their leaders have crashed.
        self.leaders[active].observer.read_in_turn(&self.log);
        let target = self.last_target.clone();
        assert!(self.leaders[active].plan(&target), "the last leader leads");
        self.leaders[active].send_all(&mut self.log);
        self.leaders[active].observer.read_in_turn(&self.log);
        let others: Vec<_> = self.leaders.iter().map(|leader| &leader.observer).collect();
        let mut hash = DefaultHasher::new();
        hash_log(&self.log, &mut hash);
        let boards = seen.logs.entry(hash.finish()).or_insert_with(|| boards(&self.log, &target));
        agree(&mut boards.clone(), &others);
    }
}

fn hash_log(log: &Log, hash: &mut impl Hasher) {
    for partition in &log.partitions {
        partition.len().hash(hash);
        for entry in partition {
            (entry.record.id, &entry.key).hash(hash);
            if let RecordKind::Image(_, image) = &entry.record.kind {
                image.quotes.values().for_each(|quote| quote.last_update.hash(hash));
            }
            matches!(entry.record.kind, RecordKind::Removal(_)).hash(hash);
        }
    }
}

fn target(prices: &[(u8, u16)]) -> Target {
    prices.iter().copied().collect()
}

const PRICES: [u16; 2] = [150, 200];

/// Every board of this many events: each has one of the prices, or is absent.
fn all_targets(events: u8) -> Vec<Target> {
    (0..events).fold(vec![Target::new()], |targets, event| {
        let with = |target: &Target, price: u16| {
            let mut target = target.clone();
            target.insert(event, price);
            target
        };
        let each = |target: Target| PRICES.map(|price| with(&target, price)).into_iter().chain([target]).collect();
        targets.into_iter().flat_map(|target| -> Vec<Target> { each(target) }).collect()
    })
}

/// Every way in which this many leaders may each want two boards. Of plans that differ only by swapped prices, one.
fn all_plans(leaders: usize, events: u8) -> Vec<Vec<Vec<Target>>> {
    let targets = all_targets(events);
    let steps = (0..2 * leaders).fold(vec![Vec::new()], |plans: Vec<Vec<Target>>, _| {
        let and = |plan: &Vec<Target>, target: &Target| plan.iter().chain([target]).cloned().collect();
        plans.iter().flat_map(|plan| targets.iter().map(move |target| and(plan, target))).collect()
    });
    let first_of = |plan: &[Target], event: u8| plan.iter().find_map(|target| target.get(&event).copied());
    let is_representative =
        |plan: &Vec<Target>| (0..events).all(|event| first_of(plan, event).is_none_or(|price| price == PRICES[0]));
    let of_each = |plan: Vec<Target>| plan.chunks(2).map(<[Target]>::to_vec).collect();
    steps.into_iter().filter(is_representative).map(of_each).collect()
}

/// Explores all histories of each of these plans, in parallel.
fn play(partitions: usize, plans: &[Vec<Vec<Target>>]) {
    let next = AtomicUsize::new(0);
    let player = || {
        let (mut histories, mut states) = (0, 0);
        while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
            let plan: Vec<&[Target]> = plan.iter().map(Vec::as_slice).collect();
            let mut seen = Seen::default();
            World::new(partitions, &plan).explore(0, &mut seen);
            assert!(seen.histories > 0, "no history of {plan:?}");
            histories += seen.histories;
            states += seen.states.len();
        }
        (histories, states)
    };
    let (histories, states) = thread::scope(|scope| {
        let players: Vec<_> =
            (0..thread::available_parallelism().map_or(1, NonZero::get)).map(|_| scope.spawn(player)).collect();
        let ended = players.into_iter().map(|player| player.join().expect("every history ends well"));
        ended.fold((0, 0), |(histories, states), (more, and)| (histories + more, states + and))
    });
    eprintln!("{histories} histories, {states} states, of {} plans", plans.len());
}

#[test]
fn two_leaders_of_two_steps() {
    let nothing = target(&[]);
    let one = target(&[(0, 150)]);
    let both = target(&[(0, 150), (1, 150)]);
    let moved = target(&[(0, 200), (1, 150)]);
    let other = target(&[(1, 200)]);
    let pairs = [
        ([&both, &moved], [&both, &both]),
        ([&both, &nothing], [&one, &both]),
        ([&one, &other], [&moved, &one]),
        ([&one, &both], [&one, &nothing]),
        ([&other, &one], [&other, &other]),
    ];
    play(2, &pairs.map(|(a, b)| vec![a.map(Clone::clone).to_vec(), b.map(Clone::clone).to_vec()]));
}

#[test]
fn two_leaders_of_two_steps_and_all_boards_of_an_event() {
    play(2, &all_plans(2, 1));
}

#[test]
#[ignore = "`cargo xtask soak` runs it"]
fn two_leaders_of_two_steps_and_all_boards_of_two_events() {
    play(2, &all_plans(2, 2));
}

#[test]
fn three_leaders_of_a_step() {
    let one = target(&[(0, 150)]);
    let other = target(&[(0, 200)]);
    let nothing = target(&[]);
    let triples = [[&one, &other, &one], [&one, &nothing, &one], [&one, &one, &nothing]];
    play(2, &triples.map(|triple| triple.map(|target| vec![target.clone()]).to_vec()));
}

#[test]
fn three_leaders_of_two_steps() {
    let one = target(&[(0, 150)]);
    let other = target(&[(0, 200)]);
    let nothing = target(&[]);
    let triples = [
        [[&one, &other], [&other, &one], [&one, &one]],
        [[&one, &nothing], [&one, &other], [&nothing, &other]],
        [[&other, &other], [&nothing, &one], [&one, &nothing]],
    ];
    play(1, &triples.map(|triple| triple.map(|plan| plan.map(Clone::clone).to_vec()).to_vec()));
}

#[test]
#[ignore = "`cargo xtask soak` runs it"]
fn three_leaders_of_two_steps_and_all_boards_of_an_event() {
    play(1, &all_plans(3, 1));
}

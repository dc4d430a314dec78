//! Random histories of a larger system: more partitions, events, leaders and steps, readers that read parts twice, and
//! compaction at any point.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use odds::{Phase, Progress};

use crate::history::{Leader, Log, Observer, Target, check, shown, wanted};

const HISTORIES: u64 = 1_500;

#[test]
fn random_histories() {
    for seed in 0..HISTORIES {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let partitions = random.random_range(1..=3);
    let events = random.random_range(1..=8);
    let mut log = Log::new(partitions);
    let mut leaders = vec![Leader::new(partitions); random.random_range(2..=4)];
    let mut active = 0;
    let mut clock = 0;
    let mut tie = 0;
    let mut loaders: Vec<Observer> = Vec::new();
    let mut bystander = Observer::from_the_start(partitions);
    leaders[0].begin(&log, clock, 0);
    for _ in 0..random.random_range(20..200) {
        // A stand-by reader follows at its own pace.
        for _ in 0..random.random_range(0..4) {
            bystander.read_one(&log, random.random_range(0..partitions));
        }
        let target = draw_target(&mut random, events);
        match random.random_range(0..100) {
            // A stopped leader wakes up and sends a queued record, or even plans a step.
            0..25 => {
                let zombie = random.random_range(0..leaders.len());
                let zombie = &mut leaders[zombie];
                if !zombie.queue.is_empty() {
                    zombie.send_one(&mut log);
                } else if zombie.has_begun() {
                    zombie.read_own(&log);
                    zombie.plan(&target);
                }
            }
            // A leader is elected.
            25..29 => {
                active = random.random_range(0..leaders.len());
                clock += random.random_range(0..2);
                // Real ties are random 32-bit numbers: never the same twice in one millisecond.
                tie += 1;
                leaders[active].begin(&log, clock, tie ^ random.random_range(0..2) << 16);
            }
            // A process crashes, its queued records are lost, and it starts again.
            29..31 => {
                let crashed = random.random_range(0..leaders.len());
                leaders[crashed] = Leader::new(partitions);
                if crashed == active {
                    tie += 1;
                    leaders[active].begin(&log, clock, tie);
                }
            }
            // A reader loads the partly compacted log, and follows from there.
            31..34 => {
                let up_to: Vec<i64> = log.ends().iter().map(|end| random.random_range(0..=*end)).collect();
                let compacted = log.compacted(&up_to, random.random_bool(0.5));
                let mut loader = Observer::loading(&compacted);
                loader.read_in_turn(&compacted);
                loaders.push(loader);
            }
            // A partition moves between consumers: its records are read again.
            34..36 => {
                let partition = random.random_range(0..partitions);
                let again = random.random_range(0..=bystander.reader.position(partition as u32)) as usize;
                for entry in log.partitions[partition].iter().take(again) {
                    let progress = bystander.reader.read(partition as u32, entry.offset, entry.record.clone());
                    assert_eq!(progress, Progress::Waiting, "seed {seed}: records read before change nothing");
                }
            }
            _ => {
                let leader = &mut leaders[active];
                if !leader.queue.is_empty() {
                    leader.send_one(&mut log);
                } else {
                    leader.observer.read_in_turn(&log);
                    if leader.has_begun() {
                        leader.plan(&target);
                    }
                }
            }
        }
    }
    // In the end, one leader is undisturbed and overwrites all loose ends.
    clock += 1_000;
    leaders[active].begin(&log, clock, 0);
    let target = draw_target(&mut random, events);
    for _ in 0..3 {
        leaders[active].send_all(&mut log);
        leaders[active].observer.read_in_turn(&log);
        assert!(leaders[active].plan(&target), "seed {seed}: it leads");
    }
    leaders[active].send_all(&mut log);
    leaders[active].observer.read_in_turn(&log);
    bystander.read_in_turn(&log);
    for loader in &mut loaders {
        loader.read_in_turn(&log);
        assert_eq!(loader.reader.phase(), Phase::Live, "seed {seed}: every loaded board is verified");
        assert_eq!(shown(&loader.reader), wanted(&target), "seed {seed}");
    }
    let mut others: Vec<&Observer> = leaders.iter().map(|leader| &leader.observer).collect();
    others.push(&bystander);
    others.extend(&loaders);
    check(&log, &target, &others);
}

fn draw_target(random: &mut StdRng, events: u8) -> Target {
    let mut target = Target::new();
    for event in 0..events {
        if random.random_bool(0.7) {
            target.insert(event, random.random_range(101..105));
        }
    }
    target
}

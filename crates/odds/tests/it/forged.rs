//! Forged records: of every kind, also with the greatest possible terms and steps.

use odds::{LeaderState, Outgoing, StepId, Term};

use crate::history::{Leader, Log, Observer, Target, check, image};

const PARTITIONS: usize = 2;
const MARKER: &str = r#"{"digest":"99aa06d3014798d86001c324468d497f","at":"2026-01-01T00:00:00Z","next_by":"2026-01-01T00:00:00Z","state":"live","source":"forged"}"#;
const FENCE: &str = r#"{"fence":true,"at":"2026-01-01T00:00:00Z"}"#;

fn target(price: u16) -> Target {
    (0..4).map(|event| (event, price)).collect()
}

/// A log, and a leader that has begun and written one step.
fn led() -> (Log, Leader) {
    let mut log = Log::new(PARTITIONS);
    let mut leader = Leader::new(PARTITIONS);
    leader.begin(&log, 1_790_000_000_000, 5);
    leader.send_all(&mut log);
    step(&mut leader, &mut log, 101);
    (log, leader)
}

fn forge(log: &mut Log, partition: u32, id: StepId, (key, value): (String, Option<String>)) {
    log.append(&Outgoing { partition, id, key, value: value.as_deref().map(Into::into) });
}

fn step(leader: &mut Leader, log: &mut Log, price: u16) {
    leader.observer.read_in_turn(log);
    assert!(leader.plan(&target(price)), "it leads");
    leader.send_all(log);
}

/// Records of known events, of an unknown one, and of the step itself.
fn values(id: StepId) -> Vec<(String, Option<String>)> {
    let image = |event: &str| Some(image(999).to_json(&event.parse().unwrap()));
    let step = if id.is_fence() { FENCE } else { MARKER };
    vec![
        ("e1".into(), image("e1")),
        ("e77".into(), image("e77")),
        ("e2".into(), None),
        ("~step".into(), Some(step.into())),
    ]
}

#[test]
fn impossible_terms_and_steps_stop_nobody() {
    for (above, step_number) in [(u64::MAX, 0), (u64::MAX, 1), (u64::MAX, u64::MAX), (0, u64::MAX), (0, 1 << 50)] {
        for partitions in [vec![0], vec![1], vec![0, 1]] {
            let (mut log, mut leader) = led();
            let led = leader.observer.reader.greatest_term();
            let term = if above == 0 { led } else { Term::new(above, u32::MAX) };
            let id = StepId::new(term, step_number);
            for record in values(id) {
                for partition in &partitions {
                    forge(&mut log, *partition, id, record.clone());
                }
            }
            let mut bystander = Observer::from_the_start(PARTITIONS);
            bystander.read_in_turn(&log);
            leader.observer.read_in_turn(&log);
            assert_eq!(leader.state(), LeaderState::Ready, "{id} in {partitions:?}: the leader goes on");
            step(&mut leader, &mut log, 102);
            step(&mut leader, &mut log, 103);
            leader.observer.read_in_turn(&log);
            bystander.read_in_turn(&log);
            check(&log, &target(103), &[&leader.observer, &bystander]);

            // So does the next leader.
            let mut next = Leader::new(PARTITIONS);
            next.begin(&log, 1_790_000_000_001, 6);
            next.send_all(&mut log);
            for price in [104, 105] {
                step(&mut next, &mut log, price);
            }
            next.observer.read_in_turn(&log);
            check(&log, &target(105), &[&next.observer]);
        }
    }
}

/// A step ends with its marker: the board does not change, in whichever order partitions are read, and the forged
/// records are overwritten.
#[test]
fn another_record_behind_a_steps_marker_changes_nothing() {
    for partition in [0, 1] {
        let (mut log, mut leader) = led();
        leader.observer.read_in_turn(&log);
        let id = leader.observer.reader.applied();
        for record in values(id).into_iter().filter(|(key, _)| key != "~step") {
            forge(&mut log, partition, id, record);
        }
        let mut bystander = Observer::from_the_start(PARTITIONS);
        bystander.read_in_turn(&log);
        leader.observer.read_in_turn(&log);
        // The forged records are of other events than the one that changes now.
        let next: Target = target(101).into_iter().chain([(0, 102)]).collect();
        assert!(leader.plan(&next), "it leads");
        leader.send_all(&mut log);
        leader.observer.read_in_turn(&log);
        bystander.read_in_turn(&log);
        check(&log, &next, &[&leader.observer, &bystander]);
    }
}

/// In whichever partition it is, and only once.
#[test]
fn what_was_forged_is_written_over_in_the_next_step() {
    for partition in [0, 1] {
        let (mut log, mut leader) = led();
        let id = StepId::new(Term::new(u64::MAX, 0), 1);
        for record in values(id) {
            forge(&mut log, partition, id, record);
        }
        step(&mut leader, &mut log, 101);
        leader.observer.read_in_turn(&log);
        assert_eq!(leader.observer.reader.loose_ends().count(), 0, "in partition {partition}");
        let written = log.ends();
        step(&mut leader, &mut log, 101);
        assert_eq!(log.ends(), written.iter().map(|end| end + 1).collect::<Vec<_>>(), "only a marker is written now");
    }
}

/// A forged term that a leader could have is accepted until the true leader fences it off.
#[test]
fn a_forged_term_that_is_possible_is_fenced_off() {
    let (mut log, mut leader) = led();
    leader.observer.read_in_turn(&log);
    let mut highest = Term::new(1_790_000_000_000, 0);
    for n in 0..50 {
        highest = Term::after(highest, odds::Timestamp::from_millis(0), u32::MAX);
        let id = StepId::new(highest, 7);
        for (n, record) in values(id).into_iter().enumerate() {
            forge(&mut log, (n % PARTITIONS) as u32, id, record);
        }
        leader.observer.read_in_turn(&log);
        assert_eq!(leader.state(), LeaderState::Deposed, "{n}");
        leader.begin(&log, 1_790_000_000_000, 5);
        highest = leader.observer.reader.greatest_term();
        leader.send_all(&mut log);
    }
    for price in [102, 103] {
        step(&mut leader, &mut log, price);
    }
    leader.observer.read_in_turn(&log);
    check(&log, &target(103), &[&leader.observer]);
}

//! What every store does.

use std::sync::Arc;

use history::{Append, HistoryError, Moment, RecordedStep, Recorder, Store};
use odds::{Cursor, Filter, LogPosition, Marker, StepId, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::region::{Events, Region};

const REGION: odds::Region = odds::Region::Uk;
const EVENTS: u32 = 6;

/// A step that there was, and whether it is recorded.
struct Step {
    position: Option<LogPosition>,
    id: StepId,
    marker: Marker,
    events: Events,
    recorded: bool,
}

fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn newest_step(region: &Region) -> Step {
    let marker = region.reader.marker().unwrap().clone();
    Step { position: marker.position, id: region.reader.applied(), marker, events: region.events(), recorded: false }
}

async fn append(store: &dyn Store, steps: &[RecordedStep]) -> Append {
    store.append(REGION, Arc::from(steps)).await.unwrap()
}

/// Random histories: every recorded board comes back exactly, and everything else is a gap.
pub async fn every_recorded_board_comes_back_exactly(store: &dyn Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut region = Region::new(noon().plus_millis(random.random_range(0..86_400_000)));
    let mut recorder = Recorder::default();
    let mut steps: Vec<Step> = Vec::new();
    let mut waiting: Vec<RecordedStep> = Vec::new();
    let mut written: Vec<Vec<RecordedStep>> = Vec::new();
    for n in 0..random.random_range(20..120) {
        region.wait(match random.random_range(0..20) {
            0 => random.random_range(0..30_000_000),
            1 => -500,
            _ => random.random_range(0..3_000),
        });
        match random.random_range(0..40) {
            0 => region.new_term(n),
            1 => {
                region.recreate_topic(n);
                recorder.restart();
            }
            2 => region.is_old = !region.is_old,
            _ => {}
        }
        region.step(&mut random, EVENTS);
        let mut step = newest_step(&region);
        match random.random_range(0..30) {
            // A historian that did not see the step.
            0 => recorder.restart(),
            _ => {
                let recorded = recorder.record(&region.reader);
                step.recorded = recorded.is_some();
                waiting.extend(recorded);
            }
        }
        steps.push(step);
        if random.random_bool(0.3) {
            assert_eq!(append(store, &waiting).await, Append::Stored);
            written.push(std::mem::take(&mut waiting));
        }
        // A former leader writes late, or after a lost answer.
        if random.random_bool(0.1)
            && let Some(again) = written.get(random.random_range(0..written.len().max(1)))
        {
            assert_eq!(append(store, again).await, Append::Stored);
        }
    }
    assert_eq!(append(store, &waiting).await, Append::Stored);

    let last = steps.iter().filter(|step| step.recorded).filter_map(|step| step.position).max();
    assert_eq!(store.last_step(REGION).await.unwrap(), last, "seed {seed}");
    assert_eq!(store.last_step(odds::Region::Us).await.unwrap(), None);
    for _ in 0..60 {
        let span = region.now().millis_since(noon());
        let at = noon().plus_millis(random.random_range(-10_000..span + 10_000));
        check_instant(store, &steps, at, seed).await;
    }
    for (n, step) in steps.iter().enumerate() {
        for at in [-1, 0, 1] {
            check_instant(store, &steps, step.marker.at.plus_millis(at), seed).await;
        }
        let cursor = Cursor::new(step.id, step.marker.digest, &Filter::default());
        match store.board_at(REGION, Moment::Step(cursor)).await {
            Ok(board) => {
                assert!(step.recorded);
                assert_eq!((board.id, &board.marker, Some(board.position)), (step.id, &step.marker, step.position));
                assert_eq!(events(&board.board), step.events, "seed {seed}, step {n}");
                assert_eq!(board.cursor(), cursor);
            }
            Err(error) => {
                assert_eq!(error, HistoryError::NotRecorded { from: None, until: None });
                assert!(!step.recorded, "seed {seed}, step {n} is missing");
            }
        }
    }
}

async fn check_instant(store: &dyn Store, steps: &[Step], at: Timestamp, seed: u64) {
    // The newest log that had begun counts, and in it the newest step.
    let valid = |recorded: bool| {
        let known = steps.iter().filter(move |step| step.recorded || !recorded).filter(|step| step.marker.at <= at);
        known.filter(|step| step.position.is_some()).max_by_key(|step| step.position)
    };
    let known = valid(true);
    let found = store.board_at(REGION, Moment::At(at)).await;
    let next = |of: &Step| {
        steps.iter().find(|step| step.recorded && step.position.is_some_and(|it| it.follows(of.position.unwrap())))
    };
    match (&found, known) {
        (Ok(board), Some(known)) => {
            assert_eq!((board.id, &board.marker), (known.id, &known.marker), "seed {seed} at {at}");
            assert_eq!(events(&board.board), known.events, "seed {seed} at {at}");
            assert_eq!(board.until, next(known).map(|next| next.marker.at), "seed {seed} at {at}");
            if board.until.is_some() {
                assert_eq!(valid(false).map(|step| step.id), Some(known.id), "it was the board at {at}, seed {seed}");
            }
        }
        (Err(HistoryError::NotRecorded { from, until }), _) => {
            assert_eq!(*from, known.map(|known| known.marker.at), "seed {seed} at {at}");
            assert!(until.is_none_or(|until| until > at), "seed {seed} at {at}");
            if let Some(known) = known {
                assert!(next(known).is_none() && known.marker.at < at, "seed {seed}: it is recorded at {at}");
            }
        }
        (found, _) => panic!("seed {seed} at {at}: {found:?}"),
    }
}

fn events(board: &odds::Board) -> Events {
    let mut events = Events::new();
    board.content().into_iter().for_each(|change| change.apply_to(&mut events));
    events
}

/// A step is stored only after the one before it, and never in the place of another.
pub async fn what_does_not_follow_is_not_stored(store: &dyn Store) {
    let mut random = StdRng::seed_from_u64(1);
    let (mut region, mut recorder) = (Region::new(noon()), Recorder::default());
    let mut steps = Vec::new();
    for _ in 0..6 {
        region.wait(1_000);
        region.step(&mut random, EVENTS);
        steps.push(recorder.record(&region.reader).unwrap());
    }
    assert_eq!(append(store, &steps[..2]).await, Append::Stored);
    assert_eq!(append(store, &steps[3..5]).await, Append::Unconnected, "the third is missing");
    assert_eq!(store.last_step(REGION).await.unwrap(), Some(steps[1].position));
    let mut other = steps[1].clone();
    other.id = steps[5].id;
    assert_eq!(append(store, &[other, steps[2].clone()]).await, Append::Unconnected, "another step is stored there");
    assert_eq!(append(store, &steps).await, Append::Stored, "all of them follow");
    assert_eq!(store.last_step(REGION).await.unwrap(), Some(steps[5].position));
}

/// Counts how often the prices of an event changed.
pub async fn price_changes_are_counted(store: &dyn Store) {
    let mut random = StdRng::seed_from_u64(2);
    let (mut region, mut recorder) = (Region::new(noon()), Recorder::default());
    let mut counts = std::collections::BTreeMap::<odds::EventId, u64>::new();
    let mut known = std::collections::BTreeMap::new();
    for n in 0..200 {
        region.wait(1_000);
        region.step(&mut random, EVENTS);
        if n % 50 == 49 {
            recorder.restart();
        }
        append(store, &[recorder.record(&region.reader).unwrap()]).await;
        for (id, event) in region.events() {
            counts.entry(id.clone()).or_default();
            for (quote, market) in &event.quotes {
                for outcome in market.outcomes.to_vec() {
                    let place = (
                        id.clone(),
                        quote.clone(),
                        outcome.name,
                        outcome.point.map(|it| it.to_string()),
                        outcome.description,
                    );
                    if known.insert(place, outcome.price).is_some_and(|before| before != outcome.price) {
                        *counts.get_mut(&id).unwrap() += 1;
                    }
                }
            }
        }
    }
    assert!(counts.values().sum::<u64>() > 50);
    for (id, count) in counts {
        let summaries = store.event_summary(&id).await.unwrap();
        let total: u64 = summaries.iter().map(|summary| summary.price_changes).sum();
        assert_eq!(total, count, "{id}");
        assert!(summaries.iter().all(|it| it.region == REGION && it.first_seen <= it.last_change));
    }
    assert_eq!(store.event_summary(&"unknown".parse().unwrap()).await.unwrap(), []);
}

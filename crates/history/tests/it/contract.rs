//! What every store does.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use history::{
    Append, EventQuery, HistoryError, Moment, OutcomeKey, Playback, Played, PriceQuery, PriceSummary, RecordedStep,
    Recorder, Store,
};
use odds::{
    BookmakerKey, Cursor, EventId, Filter, LogId, LogPosition, Marker, OddsPayload, Outcome, StepId, Timestamp,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

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
    is_keyframe: bool,
}

fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn newest_step(region: &Region) -> Step {
    let marker = region.reader.marker().unwrap().clone();
    let (position, id, events) = (marker.position, region.reader.applied(), region.events());
    Step { position, id, marker, events, recorded: false, is_keyframe: false }
}

/// Consecutive steps, one each second. The first has the whole board.
pub fn steps(count: usize) -> Vec<RecordedStep> {
    let (mut region, mut recorder) = (Region::new(noon()), Recorder::default());
    let mut random = StdRng::seed_from_u64(7);
    let step = |_| {
        region.wait(1_000);
        region.step(&mut random, EVENTS);
        recorder.record(&region.reader).unwrap()
    };
    (0..count).map(step).collect()
}

async fn append(store: &dyn Store, steps: &[RecordedStep]) -> Append {
    store.append(REGION, Arc::from(steps)).await.unwrap()
}

/// Records a random history. Returns every step that there was, and the time after it.
async fn record_random_history(store: &dyn Store, random: &mut StdRng) -> (Vec<Step>, Timestamp) {
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
        region.step(random, EVENTS);
        let mut step = newest_step(&region);
        match random.random_range(0..30) {
            // A historian that did not see the step.
            0 => recorder.restart(),
            kind => {
                if kind == 1 {
                    // One that did not see the step before.
                    recorder.restart();
                }
                let recorded = recorder.record(&region.reader);
                step.recorded = recorded.is_some();
                step.is_keyframe = recorded.as_ref().is_some_and(|it| it.keyframe.is_some());
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
    (steps, region.now())
}

/// Random histories: every recorded board comes back exactly, and everything else is a gap.
pub async fn every_recorded_board_comes_back_exactly(store: &dyn Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (steps, end) = record_random_history(store, &mut random).await;
    let last = steps.iter().filter(|step| step.recorded).filter_map(|step| step.position).max();
    assert_eq!(store.last_step(REGION).await.unwrap(), last, "seed {seed}");
    assert_eq!(store.last_step(odds::Region::Us).await.unwrap(), None);
    check_history(store, &steps, end, seed, &mut random).await;
}

/// Random histories: what is forgotten is not recorded any more, and everything else comes back exactly.
pub async fn what_is_older_is_forgotten(store: &dyn Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut steps, end) = record_random_history(store, &mut random).await;
    let Some(newest) = steps.iter().filter(|step| step.recorded).map(|step| step.marker.at).max() else { return };
    let keep = random.random_range(0..=end.millis_since(noon()).max(1));
    let limit = newest.min(end).plus_millis(-keep);
    let keep = Duration::from_millis(keep as u64);
    store.forget(odds::Region::Us, end, Duration::ZERO).await.unwrap();
    store.forget(REGION, end, keep).await.unwrap();

    let log = |step: &Step| step.position.unwrap().log;
    if let Some(kept) = visible(&steps).into_iter().rfind(|step| step.marker.at <= limit).map(log) {
        let recorded = || steps.iter().filter(|step| step.recorded);
        let is_first = |step: &&Step| log(step) == kept && step.is_keyframe && step.marker.at <= limit;
        let first = recorded().filter(is_first).map(|step| step.position).max().unwrap();
        let goes_on = |of: LogId| recorded().any(|step| log(step) == of && step.marker.at > limit);
        let is_kept = |step: &Step| if log(step) == kept { step.position >= first } else { goes_on(log(step)) };
        let recorded: Vec<bool> = steps.iter().map(|step| step.recorded && is_kept(step)).collect();
        steps.iter_mut().zip(recorded).for_each(|(step, recorded)| step.recorded = recorded);
    }
    check_history(store, &steps, end, seed, &mut random).await;
    check_series(store, &steps, end, seed, &mut random).await;
    store.forget(REGION, end, keep).await.unwrap();
    check_history(store, &steps, end, seed, &mut random).await;
    // A clock that is ahead forgets nothing more.
    store.forget(REGION, end.plus_millis(10_000_000_000), keep).await.unwrap();
    check_history(store, &steps, end, seed, &mut random).await;
}

/// The recorded steps that count at their times, in order: a log that began later replaces what an earlier one says
/// about the same time.
fn visible(steps: &[Step]) -> Vec<&Step> {
    let recorded: Vec<&Step> = steps.iter().filter(|step| step.recorded).collect();
    let log = |step: &Step| step.position.unwrap().log;
    let is_replaced =
        |step: &Step| recorded.iter().any(|other| log(other) > log(step) && other.marker.at <= step.marker.at);
    let mut visible: Vec<&Step> = recorded.iter().copied().filter(|step| !is_replaced(step)).collect();
    visible.sort_by_key(|step| step.marker.at);
    visible
}

/// A leader whose clock was years behind for a moment: what is hidden by its log is not lost.
pub async fn a_wrong_clock_forgets_nothing(store: &dyn Store) {
    const YEARS: i64 = 6 * 365 * 86_400_000;
    let mut random = StdRng::seed_from_u64(4);
    let (mut region, mut recorder) = (Region::new(noon()), Recorder::default());
    let mut ids = Vec::new();
    for n in 0..30 {
        region.wait(match n {
            10 => -YEARS,
            15 => YEARS,
            _ => 1_000,
        });
        if n % 5 == 0 {
            region.new_term(n);
        }
        region.step(&mut random, EVENTS);
        let step = recorder.record(&region.reader).unwrap();
        ids.push(step.id);
        assert_eq!(append(store, &[step]).await, Append::Stored);
    }
    let keep = Duration::from_secs(90 * 86_400);
    store.forget(REGION, region.now(), keep).await.unwrap();
    store.forget(REGION, region.now().plus_millis(YEARS), keep).await.unwrap();
    for id in ids {
        assert_eq!(store.board_at(REGION, Moment::Step(id)).await.unwrap().id, id);
    }
}

/// Random histories, played from random moments: every board and every gap comes, in order, and the frames lead from
/// each board to the next.
pub async fn a_playback_goes_through_every_step(store: Arc<dyn Store>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (steps, end) = record_random_history(&*store, &mut random).await;
    let visible = visible(&steps);
    for _ in 0..30 {
        let from = noon().plus_millis(random.random_range(-10_000..end.millis_since(noon())));
        let until = random.random_bool(0.5).then(|| from.plus_millis(random.random_range(0..10_000_000)));
        let is_over = |at: Timestamp| until.is_some_and(|until| at > until);
        let before = visible.iter().rposition(|step| step.marker.at <= from);
        let (mut playback, mut played) = match Playback::start(store.clone(), REGION, Moment::At(from), until).await {
            Ok(started) => started,
            Err(error) => {
                let next = visible.get(before.map_or(0, |at| at + 1));
                assert!(matches!(error, HistoryError::NotRecorded { .. }), "seed {seed}: {error}");
                assert!(next.is_none_or(|next| is_over(next.marker.at)), "seed {seed} from {from}");
                continue;
            }
        };
        let mut at = before.unwrap_or(0);
        if matches!(played, Played::AfterGap(_)) {
            at = before.map_or(0, |at| at + 1);
        }
        let mut shown = visible[at].events.clone();
        let mut cursor = playback.cursor(&Filter::default());
        loop {
            let step = visible[at];
            assert_eq!(playback.marker(), &step.marker, "seed {seed} from {from}");
            assert_eq!(events(playback.board()), step.events, "seed {seed} from {from}");
            let next = playback.cursor(&Filter::default());
            assert_eq!(next, Cursor::new(step.id, step.marker.digest, &Filter::default()));
            match playback.odds(&cursor, &Filter::default()) {
                _ if matches!(played, Played::AfterGap(_)) => shown.clone_from(&step.events),
                Some(frame) => {
                    let odds: OddsPayload = serde_json::from_str(&frame.json).unwrap();
                    assert_eq!((odds.prev, odds.cursor), (cursor, next));
                    odds.events.into_iter().for_each(|change| change.apply_to(&mut shown));
                }
                None => {}
            }
            assert_eq!(shown, step.events, "seed {seed} from {from}: what the frames lead to");
            cursor = next;
            at += 1;
            played = playback.next().await.unwrap();
            let follows = |next: &&&Step| next.position.unwrap().follows(step.position.unwrap());
            let Some(next) = visible.get(at).filter(|next| !is_over(next.marker.at)) else {
                let gap = visible.get(at).filter(|next| !follows(next)).map(|next| next.marker.at);
                let gap = gap.filter(|_| until.is_some_and(|until| until > step.marker.at));
                assert_eq!(played, Played::End(gap), "seed {seed} from {from}");
                break;
            };
            let follows = follows(&next);
            let expected = if follows { Played::Step } else { Played::AfterGap(Some(step.marker.at)) };
            assert_eq!(played, expected, "seed {seed} from {from}");
        }
    }
}

/// Random histories: at each instant, the series of an outcome says what the board of that instant says.
pub async fn series_say_what_boards_say(store: &dyn Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (steps, end) = record_random_history(store, &mut random).await;
    check_series(store, &steps, end, seed, &mut random).await;
}

async fn check_series(store: &dyn Store, steps: &[Step], end: Timestamp, seed: u64, random: &mut StdRng) {
    let quoted = steps.iter().flat_map(|step| &step.events);
    let quoted = quoted.flat_map(|(id, event)| event.quotes.iter().map(move |(key, market)| (id, key, market)));
    let wanted: BTreeSet<_> = quoted
        .flat_map(|(id, (_, market), quote)| {
            quote.outcomes.to_vec().into_iter().map(move |it| {
                (id.clone(), market.clone(), it.name, it.point.map(|point| point.to_string()), it.description)
            })
        })
        .collect();
    let wanted: Vec<_> = wanted.into_iter().collect();
    // Every outcome is looked at before and after every step, and boards don't change.
    let mut boards: BTreeMap<Timestamp, Option<Events>> = BTreeMap::new();
    for _ in 0..40 {
        let Some((event, market, name, point, description)) = wanted.choose(random).cloned() else { return };
        let outcome = OutcomeKey { name, point: point.map(|point| point.parse().unwrap()), description };
        let from = noon().plus_millis(random.random_range(-1_000..end.millis_since(noon())));
        let to = from.plus_millis(random.random_range(0..=end.millis_since(from).max(1)));
        let one = PriceQuery {
            event,
            market: Some(market.clone()),
            outcome: Some(outcome.clone()),
            regions: vec![REGION],
            bookmakers: Vec::new(),
            from,
            to,
        };
        // All outcomes are the same as each by itself.
        let query = match random.random_bool(0.5) {
            true => one.clone(),
            false => PriceQuery { market: None, outcome: None, ..one.clone() },
        };
        let history = store.price_history(query.clone()).await.unwrap();
        let newest = steps.iter().filter(|step| step.recorded).max_by_key(|step| step.position);
        let newest = newest.map(|it| (it.marker.at, Cursor::new(it.id, it.marker.digest, &Filter::default())));
        assert_eq!(history.regions[0].newest, newest, "seed {seed}");
        let series = history.series(from, usize::MAX);
        let mut instants: Vec<Timestamp> =
            steps.iter().flat_map(|step| [-1, 0, 1].map(|ms| step.marker.at.plus_millis(ms))).collect();
        instants.extend((0..20).map(|_| from.plus_millis(random.random_range(0..=to.millis_since(from)))));
        for at in instants.into_iter().filter(|at| (from..=to).contains(at)) {
            let board = match boards.entry(at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let board = store.board_at(REGION, Moment::At(at)).await;
                    unknown.insert(board.ok().map(|board| events(&board.board)))
                }
            };
            for bookmaker in ["b0", "b1", "b2"].map(|it| it.parse::<BookmakerKey>().unwrap()) {
                let of_bookmaker = series
                    .iter()
                    .find(|it| (&it.bookmaker, &it.market, &it.outcome) == (&bookmaker, &market, &outcome));
                let prices = of_bookmaker.map_or(&[][..], |it| &it.prices);
                let said = prices.iter().rfind(|(time, _)| *time <= at).and_then(|(_, price)| *price);
                let key = (bookmaker, market.clone());
                let quote = board.as_ref().and_then(|events| events.get(&query.event)?.quotes.get(&key));
                let is_wanted = |it: &Outcome| {
                    (&it.name, it.point, &it.description) == (&outcome.name, outcome.point, &outcome.description)
                };
                let there = quote.and_then(|quote| quote.outcomes.to_vec().into_iter().find(is_wanted));
                assert_eq!(said, there.map(|it| it.price), "seed {seed} at {at}: {query:?} {prices:?}");
            }
        }
    }
}

/// Asks for boards at random times, and for the board of each step.
async fn check_history(store: &dyn Store, steps: &[Step], end: Timestamp, seed: u64, random: &mut StdRng) {
    for _ in 0..60 {
        let span = end.millis_since(noon());
        let at = noon().plus_millis(random.random_range(-10_000..span + 10_000));
        check_instant(store, steps, at, seed).await;
    }
    for (n, step) in steps.iter().enumerate() {
        for at in [-1, 0, 1] {
            check_instant(store, steps, step.marker.at.plus_millis(at), seed).await;
        }
        let cursor = Cursor::new(step.id, step.marker.digest, &Filter::default());
        match store.board_at(REGION, Moment::Step(step.id)).await {
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
    let log = |step: &Step| step.position.map(|it| it.log);
    // The step after this one, unless another log has begun by then.
    let next = |of: &Step| {
        let is_replaced = |next: &&Step| {
            steps.iter().any(|other| other.recorded && log(other) > log(next) && other.marker.at <= next.marker.at)
        };
        let follows = |step: &&Step| step.position.is_some_and(|it| it.follows(of.position.unwrap()));
        steps.iter().filter(|step| step.recorded).find(follows).filter(|next| !is_replaced(next))
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
    let mut steps = Vec::new();
    let mut counts = BTreeMap::<odds::EventId, u64>::new();
    let mut known = BTreeMap::new();
    for n in 0..200 {
        region.wait(1_000);
        region.step(&mut random, EVENTS);
        if n % 50 == 49 {
            recorder.restart();
        }
        steps.push(recorder.record(&region.reader).unwrap());
        if steps.len() == 10 {
            append(store, &std::mem::take(&mut steps)).await;
        }
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
    let end = region.now();
    for (id, count) in counts {
        let query = PriceQuery {
            event: id.clone(),
            market: None,
            outcome: None,
            regions: vec![REGION],
            bookmakers: Vec::new(),
            from: noon(),
            to: end,
        };
        let history = store.price_history(query).await.unwrap();
        let summaries: Vec<PriceSummary> = history.quotes.iter().filter_map(|series| series.summary(None)).collect();
        assert_eq!(summaries.iter().map(|it| it.changes).sum::<u64>(), count, "{id}");
        for it in summaries {
            assert!(it.opening.0 <= it.last_change && it.lowest.1 <= it.opening.1 && it.opening.1 <= it.highest.1);
            assert_eq!(it.closing.map(|(at, _)| at), Some(it.last_change));
        }
    }
}

/// Random histories: the events of any time, and what was known of each, are those of the boards.
pub async fn events_are_those_of_the_boards(store: &dyn Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (steps, end) = record_random_history(store, &mut random).await;
    let visible = visible(&steps);
    let known_at = |id: &EventId, at: Timestamp| {
        let step = visible.iter().rfind(|step| step.marker.at <= at)?;
        Some(step.events.get(id)?.details.clone())
    };
    for _ in 0..20 {
        let from = noon().plus_millis(random.random_range(-1_000..end.millis_since(noon())));
        let to = from.plus_millis(random.random_range(0..=end.millis_since(from).max(1)));
        let query = EventQuery { region: REGION, event: None, from, to };
        let found = store.events(query.clone()).await.unwrap();
        let inside = |at: &Timestamp| (from..=to).contains(at);
        let times: Vec<Timestamp> =
            visible.iter().map(|step| step.marker.at).filter(inside).chain([from, to]).collect();
        let shown: BTreeSet<&EventId> = visible
            .iter()
            .enumerate()
            .filter(|(n, step)| step.marker.at <= to && visible.get(n + 1).is_none_or(|next| next.marker.at > from))
            .flat_map(|(_, step)| step.events.keys())
            .collect();
        assert_eq!(found.iter().map(|it| &it.id).collect::<BTreeSet<_>>(), shown, "seed {seed}: {from} to {to}");
        for event in &found {
            for at in &times {
                let said =
                    event.details.iter().rfind(|(since, _)| since <= at).and_then(|(_, details)| details.clone());
                assert_eq!(said, known_at(&event.id, *at), "seed {seed} at {at}: {event:?}");
            }
        }
        if let Some(event) = found.choose(&mut random) {
            let one = store.events(EventQuery { event: Some(event.id.clone()), ..query }).await.unwrap();
            assert_eq!(one, std::slice::from_ref(event), "seed {seed}");
        }
    }
    let unknown = EventQuery { region: REGION, event: Some("unknown".parse().unwrap()), from: noon(), to: end };
    assert_eq!(store.events(unknown).await.unwrap(), []);
}

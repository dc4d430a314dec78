//! Tests of when sports are polled, and of the published state.

use std::{sync::Arc, time::Duration};

use odds::{DaySpending, Details, Digest, Image, Marker, Quotes};

use super::{
    credits::LONGEST_CHECK,
    request::{Listed, ListedSport},
    trouble::{LONGEST_REFUSED_RETRY_IN_PLAY, LONGEST_RETRY_AFTER},
    *,
};
use crate::source::{ApiKey, OddsApiIo, OddsApiIoSettings, RetryAfter, Sport, TheOddsApi, Unreadable};

const MINUTE: i64 = 60_000;

pub(super) fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A marker of a live feed.
pub(super) fn marker(source: &str, at: Timestamp, spent_today: Option<DaySpending>) -> Marker {
    Marker {
        digest: Digest::default(),
        at,
        position: None,
        next_by: at,
        state: FeedState::Live,
        reason: None,
        source: source.into(),
        credits: Credits::default(),
        sports: BTreeMap::new(),
        bookmakers: BTreeMap::new(),
        bookmaker_names: BTreeMap::new(),
        spent_today,
    }
}

fn key() -> SportKey {
    "soccer_epl".parse().unwrap()
}

fn source() -> Arc<dyn Source> {
    service::install_tls_provider();
    let nowhere = "http://127.0.0.1:1".parse().unwrap();
    Arc::new(TheOddsApi::new("test", nowhere, ApiKey::new("key".into())).unwrap())
}

/// A source that charges for lists. It is never asked in these tests.
fn charging_source() -> Arc<dyn Source> {
    service::install_tls_provider();
    let settings = OddsApiIoSettings {
        name: "test".into(),
        base: "http://127.0.0.1:1".parse().unwrap(),
        key: ApiKey::new("key".into()),
        bookmakers: vec!["Bet365".into()],
        sports: vec![key()],
        markets: vec!["h2h".parse().unwrap()],
        speed: 1.0,
        clock: noon,
    };
    Arc::new(OddsApiIo::new(settings).unwrap())
}

/// Returns a plan with one sport, whose game started ten minutes ago, polled a minute ago.
fn in_play() -> Polling {
    let markets = ["h2h", "spreads", "totals"].map(|key| key.parse().unwrap()).to_vec();
    let settings =
        PollSettings { sports: Vec::new(), markets, credit_share: 1.0, max_credits_per_day: None, poll_speed: 1.0 };
    let mut polling = Polling::new(Region::Uk, settings, source(), noon());
    let sport = Sport { key: key(), outrights: false };
    let starts = Some(vec![noon().plus_millis(-10 * MINUTE)]);
    let listed = list_of(vec![ListedSport { sport, starts, cost: 3.0 }]);
    polling.poll_finished(&listed, true, noon().plus_millis(-MINUTE)).unwrap();
    polling.poll_finished(&odds(Ok(full(900_000.0))), true, noon().plus_millis(-MINUTE)).unwrap();
    polling
}

fn list_of(sports: Vec<ListedSport>) -> PollOutcome {
    PollOutcome::Sports(Ok(Listed {
        sports,
        credits: Credits::default(),
        cost: 0.0,
        unreadable: Unreadable::default(),
    }))
}

fn odds(answer: Result<Answer, SourceError>) -> PollOutcome {
    PollOutcome::Odds { sport: key(), asked_at: noon().plus_millis(-MINUTE), answer }
}

fn empty() -> Answer {
    Answer { credits: Credits { remaining: Some(900_000.0), used: None }, ..Answer::default() }
}

fn full(remaining: f64) -> Answer {
    let details = Details {
        sport_key: key(),
        sport_title: "EPL".into(),
        commence_time: noon().plus_millis(-10 * MINUTE),
        home_team: None,
        away_team: None,
    };
    let image = Image { polled_at: noon(), details, quotes: Quotes::new() };
    let credits = Credits { remaining: Some(remaining), used: None };
    Answer { events: vec![("e".parse().unwrap(), image)], credits, cost: 3.0, ..Answer::default() }
}

/// Returns how long it takes until the sport is polled again, in milliseconds.
fn wait(polling: &Polling, now: Timestamp) -> i64 {
    let mut at = now;
    for _ in 0..200 {
        match polling.next(at).unwrap() {
            (PollRequest::Odds(_), due) => return due.millis_since(now),
            (_, due) => at = due.plus_millis(1_000),
        }
    }
    i64::MAX
}

#[test]
fn an_empty_answer_neither_slows_a_sport_in_play_nor_freshens_it() {
    let mut polling = in_play();
    let before = polling.freshness[&key()];
    let asked_now = PollOutcome::Odds { sport: key(), asked_at: noon(), answer: Ok(empty()) };
    polling.poll_finished(&asked_now, false, noon()).unwrap();
    assert!(wait(&polling, noon()) <= MINUTE);
    assert_eq!(polling.freshness[&key()], before);
    // The same if the empty answer counts: bookmakers take down prices for a while.
    polling.poll_finished(&odds(Ok(empty())), true, noon().plus_millis(MINUTE)).unwrap();
    assert!(wait(&polling, noon().plus_millis(MINUTE)) <= MINUTE);
}

#[test]
fn a_list_of_starts_that_is_empty_does_not_slow_a_sport_in_play() {
    let mut polling = in_play();
    let sport = || Sport { key: key(), outrights: false };
    for starts in [Some(Vec::new()), None] {
        polling.poll_finished(&list_of(vec![ListedSport { sport: sport(), starts, cost: 3.0 }]), true, noon()).unwrap();
        assert!(wait(&polling, noon()) <= MINUTE);
    }
}

#[test]
fn what_a_list_lacks_is_gone_when_the_next_lacks_it_too() {
    let mut polling = in_play();
    polling.poll_finished(&list_of(Vec::new()), true, noon()).unwrap();
    assert!(polling.known_sports().unwrap().contains(&key()));
    assert!(wait(&polling, noon()) <= MINUTE);
    let (poll_request, due) = polling.next(noon().plus_millis(MINUTE)).unwrap();
    assert!(
        matches!(poll_request, PollRequest::Sports | PollRequest::Odds(_)) && due.millis_since(noon()) <= 2 * MINUTE
    );
    polling.poll_finished(&list_of(Vec::new()), true, noon().plus_millis(MINUTE)).unwrap();
    assert!(polling.season.sports().is_empty());
}

#[test]
fn what_the_first_list_of_a_new_leader_lacks_is_gone_when_the_next_lacks_it_too() {
    let former = in_play();
    let mut polling = Polling::new(Region::Uk, former.settings.clone(), source(), noon());
    polling.freshness.clone_from(&former.freshness);
    let other = || ListedSport {
        sport: Sport { key: "other".parse().unwrap(), outrights: false },
        starts: Some(Vec::new()),
        cost: 3.0,
    };
    polling.poll_finished(&list_of(vec![other()]), true, noon()).unwrap();
    assert!(polling.known_sports().unwrap().contains(&key()) && polling.freshness.contains_key(&key()));
    polling.poll_finished(&list_of(vec![other()]), true, noon().plus_millis(MINUTE)).unwrap();
    assert!(!polling.known_sports().unwrap().contains(&key()) && !polling.freshness.contains_key(&key()));
}

#[test]
fn a_new_leader_lists_the_sports_however_few_credits_the_former_one_had() {
    let settings = in_play().settings;
    // What a source charges for a list may be renewed by now.
    let mut polling = Polling::new(Region::Uk, settings.clone(), charging_source(), noon());
    let credits = Credits { remaining: Some(0.5), used: None };
    polling.take_over(&Marker { credits, ..marker("test", noon(), None) }, noon());
    assert!(matches!(polling.next(noon()), Some((PollRequest::Sports, due)) if due <= noon()));
    // A limit per day that doesn't pay for a list is published as the reason.
    let settings = PollSettings { max_credits_per_day: Some(0.5), ..settings };
    let polling = Polling::new(Region::Uk, settings, charging_source(), noon());
    let (request, due) = polling.next(noon()).unwrap();
    assert!(matches!(request, PollRequest::Sports) && due >= midnight_after(noon()), "{request:?} at {due}");
    let (state, reason) = polling.state(noon());
    assert!(state == FeedState::Down && reason.is_some_and(|reason| reason.contains("limit per day")));
}

#[test]
fn prices_are_as_old_as_the_question() {
    let mut polling = in_play();
    let asked_at = noon().plus_millis(-9_000);
    polling
        .poll_finished(&PollOutcome::Odds { sport: key(), asked_at, answer: Ok(full(900_000.0)) }, true, noon())
        .unwrap();
    let SportFreshness { polled_at, stale_after } = polling.freshness[&key()];
    assert_eq!(polled_at, asked_at, "prices in a slow answer may be as old as its request");
    assert!(stale_after.millis_since(asked_at) <= 3 * MINUTE);
}

#[test]
fn a_sport_that_is_refused_is_polled_again_soon_and_the_reason_is_published() {
    let mut polling = in_play();
    let refused = || SourceError::Refused { code: "UNKNOWN_SPORT".into(), message: "no such sport".into(), cost: 0.0 };
    for _ in 0..20 {
        polling.poll_finished(&odds(Err(refused())), true, noon()).unwrap();
        assert!(polling.troubles.sports[&key()].retry_at.millis_since(noon()) <= LONGEST_REFUSED_RETRY_IN_PLAY);
        let (_, reason) = polling.state(noon());
        assert!(reason.is_some_and(|reason| reason.contains("soccer_epl") && reason.contains("UNKNOWN_SPORT")));
    }
    assert_eq!(polling.state(noon().plus_millis(5 * MINUTE)).0, FeedState::Stale);
    polling.poll_finished(&odds(Ok(full(900_000.0))), true, noon()).unwrap();
    assert_eq!(polling.state(noon()), (FeedState::Live, None));
}

#[test]
fn one_sport_in_trouble_makes_no_others_prices_old() {
    let mut polling = in_play();
    let later = noon().plus_millis(5 * MINUTE);
    let fresh = SportFreshness { polled_at: later, stale_after: later.plus_millis(MINUTE) };
    polling.freshness.insert("other".parse().unwrap(), fresh);
    let format =
        || SourceError::WrongFormat { reason: "no decimal odds".into(), credits: Credits::default(), cost: 0.0 };
    polling.poll_finished(&odds(Err(format())), true, later).unwrap();
    let (state, reason) = polling.state(later);
    assert!(state == FeedState::Live && reason.is_some_and(|reason| reason.contains("no decimal odds")));
    assert_eq!(polling.state(later.plus_millis(2 * MINUTE)).0, FeedState::Stale, "once all are old");
}

#[test]
fn a_long_retry_after_is_capped() {
    let at = RetryAfter::At(noon().plus_millis(365 * 24 * 60 * MINUTE));
    for retry_after in [RetryAfter::In(Duration::from_secs(u64::MAX)), at] {
        let retry_after = Some(retry_after);
        let outage = SourceError::Outage { reason: "status 503".into(), retry_after, cost: 0.0 };
        for error in [SourceError::TooFast { retry_after, cost: 0.0 }, outage] {
            let mut polling = in_play();
            polling.poll_finished(&odds(Err(error.clone())), true, noon()).unwrap();
            assert_eq!(polling.troubles.source.as_ref().unwrap().retry_at.millis_since(noon()), LONGEST_RETRY_AFTER);
            assert_eq!(
                polling.state(noon()),
                (FeedState::Live, Some(polling.troubles.source.as_ref().unwrap().reason.clone()))
            );
        }
    }
}

#[test]
fn one_report_that_credits_are_gone_is_not_believed_and_two_are() {
    let mut polling = in_play();
    polling.poll_finished(&odds(Ok(full(-3.0))), true, noon()).unwrap();
    assert!(wait(&polling, noon()) <= MINUTE);
    polling.poll_finished(&odds(Ok(full(899_990.0))), true, noon()).unwrap();
    polling.poll_finished(&odds(Ok(full(-3.0))), true, noon()).unwrap();
    polling.poll_finished(&odds(Ok(full(-6.0))), true, noon()).unwrap();
    let (poll_request, due) = polling.next(noon()).unwrap();
    assert!(matches!(poll_request, PollRequest::Credits), "the remaining credits are requested again");
    assert!(due.millis_since(noon()) <= LONGEST_CHECK);
    assert!(polling.state(noon()).1.is_some_and(|reason| reason.contains("credits")));
}

#[test]
fn a_sport_that_always_fails_keeps_no_other_from_being_polled() {
    let mut polling = in_play();
    let known = |key: &str| ListedSport {
        cost: 3.0,
        sport: Sport { key: key.parse().unwrap(), outrights: false },
        starts: Some(vec![noon().plus_millis(-10 * MINUTE)]),
    };
    polling.poll_finished(&list_of(vec![known("soccer_epl"), known("other")]), true, noon()).unwrap();
    let outage = SourceError::Outage { reason: "status 500".into(), retry_after: None, cost: 0.0 };
    for _ in 0..8 {
        polling.poll_finished(&odds(Err(outage.clone())), true, noon()).unwrap();
    }
    let after = polling.troubles.source.as_ref().unwrap().retry_at.plus_millis(-1);
    polling.troubles.sports.get_mut(&key()).unwrap().retry_at = after.plus_millis(MINUTE);
    let Some((PollRequest::Odds(query), _)) = polling.next(after) else { panic!("nothing is polled") };
    assert_eq!(query.sport.as_str(), "other");
}

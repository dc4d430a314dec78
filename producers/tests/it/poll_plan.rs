use odds::Timestamp;
use producers::{Budget, SportState, first_of_next_month, intervals, midnight_after, next_poll, stale_after};

use crate::months::{Fixtures, month_begins, play, sport};

fn twelve() -> Vec<Fixtures> {
    (0..12).map(sport).collect()
}

fn state(starts: &[i64], now: Timestamp) -> SportState {
    SportState {
        key: "s".parse().unwrap(),
        outrights: false,
        starts: starts.iter().map(|minutes| now.plus_millis(minutes * 60_000)).collect(),
        last_polled: None,
        cost: 3.0,
    }
}

#[test]
fn no_plan_runs_dry_before_renewal() {
    for credits in [500.0, 20_000.0, 100_000.0, 5_000_000.0] {
        let month = play(&twelve(), credits, 4, 3.0, month_begins(), 30);
        assert!(month.spent <= credits, "{credits}: {month:?}");
        // Each producer's last poll may be up to two intervals before the renewal.
        let two_intervals = (2.0 * 30.0 * 86_400_000.0 / (credits / 4.0 / 3.0)) as i64;
        let last_two = month_begins().plus_millis(30 * 86_400_000 - two_intervals);
        assert!(month.dry.is_none_or(|dry| dry > last_two), "{credits}: {month:?}");
    }
}

#[test]
fn it_is_never_polled_faster_than_upstream_moves() {
    let month = play(&twelve(), 15_000_000.0, 1, 3.0, month_begins(), 3);
    assert!(month.shortest_interval >= 40_000, "{month:?}");
}

#[test]
fn every_sport_is_seen_whatever_there_is_to_spend() {
    let month = play(&twelve(), 20_000.0, 4, 3.0, month_begins(), 30);
    let longest = month.longest_unseen.iter().max().unwrap();
    assert!(*longest < 3 * 86_400_000, "{} hours", longest / 3_600_000);
    assert!(month.longest_unseen.iter().all(|unseen| *unseen > 0), "every sport is polled again and again");
}

#[test]
fn a_month_of_the_free_plan_is_spent_and_not_hoarded() {
    let month = play(&twelve()[..2], 500.0, 1, 3.0, month_begins(), 30);
    assert!((300.0..=500.0).contains(&month.spent), "{month:?}");
}

#[test]
fn what_runs_comes_before_what_will() {
    let now = month_begins();
    let budget = Budget { left: Some(1_000.0), renewal: first_of_next_month(now), today: None };
    let every = intervals(&[state(&[-10], now), state(&[30], now), state(&[5_000], now)], &budget, now);
    assert!(every[0] < every[1] && every[1] < every[2], "{every:?}");
}

#[test]
fn a_day_has_its_cap() {
    let now = month_begins();
    let capped =
        |left| Budget { left: Some(1e9), renewal: first_of_next_month(now), today: Some((left, midnight_after(now))) };
    let sports = [state(&[-10], now)];
    assert_eq!(intervals(&sports, &capped(1e9), now), [Some(40_000)]);
    assert!(intervals(&sports, &capped(30.0), now)[0].unwrap() > 600_000);
    assert_eq!(next_poll(&sports, &capped(2.0), now), None, "not even one poll can be paid");
}

#[test]
fn without_a_report_of_credits_the_ideal_intervals_apply() {
    let now = month_begins();
    let unknown = Budget { left: None, renewal: first_of_next_month(now), today: None };
    assert_eq!(intervals(&[state(&[-10], now)], &unknown, now), [Some(40_000)]);
}

#[test]
fn a_game_in_play_is_not_fresh_for_long() {
    let now = month_begins();
    let fresh_for = |starts: &[i64], interval| stale_after(&state(starts, now), interval, now).millis_since(now);
    assert!(fresh_for(&[-10], 3_600_000) <= 180_000);
    assert!(fresh_for(&[-10], 40_000) > 80_000, "one late poll is no reason to call it stale");
    assert!(fresh_for(&[3_000], 3_600_000) > 7_200_000);
}

#[test]
fn the_calendar() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert_eq!(first_of_next_month(at("2026-11-21T12:00:00Z")), at("2026-12-01T00:00:00Z"));
    assert_eq!(first_of_next_month(at("2026-12-31T23:59:59Z")), at("2027-01-01T00:00:00Z"));
    assert_eq!(midnight_after(at("2026-11-21T12:00:00Z")), at("2026-11-22T00:00:00Z"));
}

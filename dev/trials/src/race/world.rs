//! The events and prices that authors publish. They are the same in every run.
//!
//! A quote's `last_update` encodes the number of the change, as milliseconds after a fixed time. So a client of any
//! server can tell a quote's change.

use std::collections::BTreeMap;

use anyhow::Context;
use odds::{
    Board, Credits, Details, EventId, FeedState, Image, Market, Outcome, Outcomes, Pending, Quotes, SportFreshness,
    SportKey, Status, Timestamp,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::index};

const SPORTS: usize = 12;
pub const EVENTS_OF_A_SPORT: usize = 20;
/// How long the prices of a poll are good.
const FRESH_MS: i64 = 60_000;
/// In the race.
const BOOKMAKERS: usize = 5;
/// The `last_update` of step 0, in milliseconds.
const FIRST: i64 = 1_800_000_000_000;

/// Returns the newest step of the quotes in a text, if there are any.
pub fn newest_step(text: &str) -> Option<u64> {
    let times = text.split(r#""last_update":""#).skip(1).filter_map(|rest| rest.get(..24)?.split('"').next());
    let newest: Timestamp = times.filter_map(|time| time.parse().ok()).max()?;
    u64::try_from(newest.as_millis() - FIRST).ok()
}

struct Sport {
    key: SportKey,
    events: BTreeMap<EventId, Image>,
    /// Whether it was polled after the last status.
    is_polled: bool,
    freshness: Option<SportFreshness>,
}

impl Sport {
    fn poll(&mut self, board: &Board, pending: &mut Pending) {
        self.is_polled = true;
        pending.poll(board, &self.key, self.events.clone());
    }
}

/// What a leader of a region knows. In the race, it is a quarter of a megabyte of JSON.
pub struct World {
    sports: Vec<Sport>,
    random: StdRng,
    bookmakers: usize,
    pub(crate) step: u64,
}

impl Default for World {
    fn default() -> Self {
        Self::new(BOOKMAKERS)
    }
}

impl World {
    /// 240 events of 12 sports, each with this many bookmakers.
    pub fn new(bookmakers: usize) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let sport = |sport| {
            let events = events(&mut random, sport, bookmakers);
            Sport { key: key(&format!("league_{sport}")), events, is_polled: false, freshness: None }
        };
        let sports = (0..SPORTS).map(sport).collect();
        Self { sports, random, bookmakers, step: 0 }
    }

    /// The event that [`Self::change_first`] changes, and one of its outcomes.
    pub fn first(&self) -> Option<(&EventId, &str)> {
        let (id, image) = self.sports.first()?.events.first_key_value()?;
        Some((id, image.details.home_team.as_deref()?))
    }

    pub fn event_ids(&self) -> impl Iterator<Item = &EventId> {
        self.sports.iter().flat_map(|sport| sport.events.keys())
    }

    /// Changes the prices of one bookmaker after the other at the first event, and polls its sport.
    pub fn change_first(&mut self, board: &Board, pending: &mut Pending) -> anyhow::Result<()> {
        self.step += 1;
        let at = Timestamp::from_millis(FIRST + self.step as i64);
        let sport = self.sports.first_mut().context("there are sports")?;
        let image = sport.events.values_mut().next().context("there are events")?;
        let market = image.quotes.values_mut().nth(self.step as usize % self.bookmakers).context("fewer quotes")?;
        *market = quote(&mut self.random, &image.details, at);
        sport.poll(board, pending);
        Ok(())
    }

    /// Changes the prices of this many quotes of the next sport, and polls it. Each is of another event, if there are
    /// enough events.
    pub fn change(&mut self, changes: usize, board: &Board, pending: &mut Pending) -> anyhow::Result<()> {
        self.step += 1;
        let at = Timestamp::from_millis(FIRST + self.step as i64);
        let sport = &mut self.sports[self.step as usize % SPORTS];
        let changed = index::sample(&mut self.random, EVENTS_OF_A_SPORT, changes.min(EVENTS_OF_A_SPORT));
        for (n, event) in changed.into_iter().enumerate() {
            let image = sport.events.values_mut().nth(event).context("fewer events than there were")?;
            let of_event = changes / EVENTS_OF_A_SPORT + usize::from(n < changes % EVENTS_OF_A_SPORT);
            for bookmaker in index::sample(&mut self.random, self.bookmakers, of_event) {
                let market = image.quotes.values_mut().nth(bookmaker).context("fewer quotes than there were")?;
                *market = quote(&mut self.random, &image.details, at);
            }
        }
        sport.poll(board, pending);
        Ok(())
    }

    /// Polls all sports.
    pub(crate) fn poll_all(&mut self, board: &Board) -> Pending {
        let mut pending = Pending::default();
        for sport in &mut self.sports {
            sport.poll(board, &mut pending);
        }
        pending
    }

    /// The status of a region. The sports that were polled after the last status were polled now.
    pub(crate) fn status(&mut self, now: Timestamp) -> Status {
        let soon = now.plus_millis(FRESH_MS);
        for sport in &mut self.sports {
            if std::mem::take(&mut sport.is_polled) {
                sport.freshness = Some(SportFreshness { polled_at: now, stale_after: soon });
            }
        }
        let freshness = |sport: &Sport| Some((sport.key.clone(), sport.freshness?));
        Status {
            at: now,
            next_by: soon,
            state: FeedState::Live,
            reason: None,
            source: "race".into(),
            credits: Credits::default(),
            sports: self.sports.iter().filter_map(freshness).collect(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            spent_today: None,
        }
    }
}

fn key<K: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> K {
    text.parse().expect("generated keys are valid")
}

fn events(random: &mut StdRng, sport: usize, bookmakers: usize) -> BTreeMap<EventId, Image> {
    let event = |n: usize| {
        let details = Details {
            sport_key: key(&format!("league_{sport}")),
            sport_title: format!("League {sport}"),
            commence_time: Timestamp::from_millis(FIRST + 3_600_000 * n as i64),
            home_team: Some(format!("Hometown {} Albion", sport * EVENTS_OF_A_SPORT + n)),
            away_team: Some(format!("Visiting {} Rovers", sport * EVENTS_OF_A_SPORT + n)),
        };
        let market = key::<odds::MarketKey>("h2h");
        let quotes: Quotes = (0..bookmakers)
            .map(|bookmaker| {
                let quote = quote(random, &details, Timestamp::from_millis(FIRST));
                ((key(&format!("bookmaker_{bookmaker}")), market.clone()), quote)
            })
            .collect();
        let id = key(&format!("{:032x}", (sport * EVENTS_OF_A_SPORT + n + 1) as u128 * 0x9e37_79b9_7f4a_7c15));
        (id, Image { polled_at: Timestamp::from_millis(FIRST), details, quotes })
    };
    (0..EVENTS_OF_A_SPORT).map(event).collect()
}

fn quote(random: &mut StdRng, details: &Details, at: Timestamp) -> Market {
    let teams = [details.home_team.as_deref(), Some("Draw"), details.away_team.as_deref()];
    let mut outcome = |name: &str| {
        let price: u32 = random.random_range(101..2_000);
        let price = key(&format!("{}.{:02}", price / 100, price % 100));
        Outcome { name: name.into(), price, point: None, description: None }
    };
    let outcomes = teams.into_iter().flatten().map(&mut outcome).collect();
    Market { last_update: at, outcomes: Outcomes::new(outcomes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_changes_so_many_quotes_and_renews_one_sport() {
        for changes in [1, EVENTS_OF_A_SPORT, 50] {
            let (mut world, board) = (World::new(5), Board::default());
            world.poll_all(&board);
            let [before, now] = [1, 2].map(Timestamp::from_millis);
            world.status(before);
            let quotes = |world: &World| -> Vec<Market> {
                let images = world.sports.iter().flat_map(|sport| sport.events.values());
                images.flat_map(|image| image.quotes.values().cloned()).collect()
            };
            let old = quotes(&world);
            world.change(changes, &board, &mut Pending::default()).unwrap();
            assert_eq!(quotes(&world).iter().zip(&old).filter(|(new, old)| new != old).count(), changes);
            let polled: Vec<Timestamp> = world.status(now).sports.values().map(|fresh| fresh.polled_at).collect();
            assert_eq!(polled.iter().filter(|at| **at == now).count(), 1);
            assert_eq!(polled.len(), SPORTS);
        }
    }

    #[test]
    fn a_text_tells_its_newest_step() {
        let times = [3, 1_000, 20].map(|step| Timestamp::from_millis(FIRST + step).to_string());
        let text = times.map(|time| format!(r#"{{"bookmaker":"b","last_update":"{time}"}}"#)).join(",");
        assert_eq!(newest_step(&text), Some(1_000));
        assert_eq!(newest_step(r#"{"id":"a","removed":true}"#), None);
    }
}

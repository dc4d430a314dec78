//! An author that writes a region's topic at a steady rate, and records when each step was handed to Kafka.
//!
//! A quote's `last_update` encodes the number of the step that changed it, as milliseconds after a fixed time. So a
//! client of any server can tell a quote's step.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use kafka::{ConsumerMode, Embedded, FollowerEvent, MAX_RECORD_BYTES, Publisher, RegionFollower, Steps};
use odds::{
    Credits, Details, Digest, EventId, FeedState, Image, LeaderState, Market, Outcome, Outcomes, Pending, Quotes,
    Region, SportFreshness, SportKey, Status, Timestamp, Writer,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::index};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::micros;

const SPORTS: usize = 12;
const EVENTS_OF_A_SPORT: usize = 20;
const BOOKMAKERS: usize = 5;
/// The `last_update` of step 0, in milliseconds.
const FIRST: i64 = 1_800_000_000_000;
const STEPS_A_SECOND: u32 = 20;

/// When each step was handed to Kafka, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Times(Arc<Mutex<HashMap<u64, u64>>>);

impl Times {
    pub fn note(&self, step: u64) {
        self.0.lock().expect("no panic while the lock is held").insert(step, micros());
    }

    pub fn of(&self, step: u64) -> Option<u64> {
        self.0.lock().expect("no panic while the lock is held").get(&step).copied()
    }
}

/// Returns the newest step of the quotes in a text, if there are any.
pub fn newest_step(text: &str) -> Option<u64> {
    let times = text.split(r#""last_update":""#).skip(1).filter_map(|rest| rest.get(..24)?.split('"').next());
    let newest: Timestamp = times.filter_map(|time| time.parse().ok()).max()?;
    u64::try_from(newest.as_millis() - FIRST).ok()
}

/// Writes a region's topic, like a producer that leads the region.
pub struct Author {
    follower: RegionFollower,
    publisher: Publisher,
    writer: Writer,
    region: Region,
    sports: Vec<(SportKey, BTreeMap<EventId, Image>)>,
    random: StdRng,
    step: u64,
    pub times: Times,
}

impl Author {
    /// Becomes the region's leader and publishes a board of a quarter of a megabyte.
    pub async fn start(cluster: &Embedded, region: Region) -> anyhow::Result<Self> {
        let mut kafka = cluster.settings();
        // The race's Kafka client for Node.js supports only gzip without extra packages.
        kafka.properties.push("producer.compression.type=none".parse()?);
        let mut follower = RegionFollower::new(kafka.clone(), region, ConsumerMode::Alone, Steps::Newest);
        while !follower.is_loaded() {
            follower.next().await?;
        }
        let publisher = Publisher::new(&kafka, region)?;
        let (writer, fence) = Writer::begin(follower.reader(), service::now(), 0, false);
        publisher.send(&fence).await?;
        let mut random = StdRng::seed_from_u64(1);
        let sports = (0..SPORTS).map(|sport| (key(&format!("league_{sport}")), events(&mut random, sport))).collect();
        let mut this = Self { follower, publisher, writer, region, sports, random, step: 0, times: Times::default() };
        this.read_back().await?;
        this.publish_all().await?;
        Ok(this)
    }

    pub fn region(&self) -> Region {
        self.region
    }

    pub fn digest(&self) -> Digest {
        self.follower.board().digest()
    }

    /// Publishes the whole board again. The embedded cluster keeps little, and a new reader needs all events.
    pub async fn publish_all(&mut self) -> anyhow::Result<()> {
        self.writer.republish_all();
        let mut pending = Pending::default();
        for (sport, events) in &self.sports {
            pending.poll(self.follower.board(), sport, events.clone());
        }
        self.publish(&pending).await
    }

    /// Publishes a step in which this many events of one sport have a new price, like a poll of that sport.
    pub async fn step(&mut self, changes: usize) -> anyhow::Result<()> {
        self.step += 1;
        let at = Timestamp::from_millis(FIRST + self.step as i64);
        let (sport, events) = &mut self.sports[self.step as usize % SPORTS];
        for n in index::sample(&mut self.random, EVENTS_OF_A_SPORT, changes) {
            let image = events.values_mut().nth(n).context("fewer events than there were")?;
            let bookmaker = self.random.random_range(0..BOOKMAKERS);
            let market = image.quotes.values_mut().nth(bookmaker).context("fewer quotes than there were")?;
            *market = quote(&mut self.random, &image.details, at);
        }
        let mut pending = Pending::default();
        pending.poll(self.follower.board(), sport, events.clone());
        self.times.note(self.step);
        self.publish(&pending).await
    }

    async fn publish(&mut self, pending: &Pending) -> anyhow::Result<()> {
        let now = service::now();
        let soon = now.plus_millis(60_000);
        let fresh = SportFreshness { polled_at: now, stale_after: soon };
        let status = Status {
            at: now,
            next_by: soon,
            state: FeedState::Live,
            reason: None,
            source: "race".into(),
            credits: Credits::default(),
            sports: self.sports.iter().map(|(sport, _)| (sport.clone(), fresh)).collect(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            spent_today: None,
        };
        let step_records = self.writer.next_step(self.follower.reader_mut(), pending, status, MAX_RECORD_BYTES);
        self.publisher.send(&step_records.records).await?;
        self.publisher.send(&step_records.markers).await?;
        self.read_back().await
    }

    async fn read_back(&mut self) -> anyhow::Result<()> {
        while self.writer.state(self.follower.reader()) != LeaderState::Ready {
            if let FollowerEvent::Lost(cause) = self.follower.next().await? {
                bail!("{cause}");
            }
        }
        Ok(())
    }
}

/// An author that publishes steps in the background until it is stopped.
pub struct Writing {
    task: JoinHandle<anyhow::Result<Author>>,
    stop: CancellationToken,
}

impl Writing {
    /// Starts publishing twenty steps a second, each with this many changes.
    pub fn start(author: Author, changes: usize) -> Self {
        Self::start_at(author, changes, STEPS_A_SECOND)
    }

    pub fn start_at(mut author: Author, changes: usize, steps_a_second: u32) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / steps_a_second);
            while !stopped.is_cancelled() {
                pace.tick().await;
                author.step(changes).await?;
            }
            Ok(author)
        });
        Self { task, stop }
    }

    pub async fn stop(self) -> anyhow::Result<Author> {
        self.stop.cancel();
        self.task.await?
    }
}

fn key<K: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> K {
    text.parse().expect("generated keys are valid")
}

fn events(random: &mut StdRng, sport: usize) -> BTreeMap<EventId, Image> {
    let event = |n: usize| {
        let details = Details {
            sport_key: key(&format!("league_{sport}")),
            sport_title: format!("League {sport}"),
            commence_time: Timestamp::from_millis(FIRST + 3_600_000 * n as i64),
            home_team: Some(format!("Hometown {} Albion", sport * EVENTS_OF_A_SPORT + n)),
            away_team: Some(format!("Visiting {} Rovers", sport * EVENTS_OF_A_SPORT + n)),
        };
        let market = key::<odds::MarketKey>("h2h");
        let quotes: Quotes = (0..BOOKMAKERS)
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
    fn a_text_tells_its_newest_step() {
        let times = [3, 1_000, 20].map(|step| Timestamp::from_millis(FIRST + step).to_string());
        let text = times.map(|time| format!(r#"{{"bookmaker":"b","last_update":"{time}"}}"#)).join(",");
        assert_eq!(newest_step(&text), Some(1_000));
        assert_eq!(newest_step(r#"{"id":"a","removed":true}"#), None);
    }
}

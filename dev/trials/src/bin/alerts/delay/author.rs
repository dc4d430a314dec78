//! Leads a region whose prices rise steadily, so that it is known when rules fire.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kafka::{KafkaSettings, SoleLeader};
use odds::{
    Credits, Decimal, Details, EventId, FeedState, Image, Market, MarketKey, Outcome, Outcomes, Pending, Quotes,
    Region, SportFreshness, SportKey, Status, Timestamp,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const SPORTS: usize = 4;
const EVENTS_OF_A_SPORT: usize = 10;
pub const EVENTS: usize = SPORTS * EVENTS_OF_A_SPORT;
const BOOKMAKERS: usize = 10;
/// Other bookmakers of an event whose prices change in a step.
const OTHERS: usize = 3;
const STEPS_A_SECOND: u32 = 10;
/// The highest price of Away in the burst; before, it is far lower.
pub const BURST_PRICE: f64 = 9.5;

/// The best price of Home at first, and how much it rises each time that its sport is polled, in hundredths.
const FIRST: i64 = 200;
const RISE: i64 = 2;

/// A price that is the best one at some time while it is measured: at its beginning for 0, and at its end for 1.
pub fn price_during(window: Duration, share: f64) -> f64 {
    let polls = |time: Duration| time.as_secs_f64() * f64::from(STEPS_A_SECOND) / SPORTS as f64;
    let polled = polls(super::WARM_UP) + polls(window) * share;
    (FIRST as f64 + RISE as f64 * polled).round() / 100.0
}

pub fn event_id(number: usize) -> EventId {
    format!("event-{number}").parse().expect("a valid id")
}

pub fn sport_key(number: usize) -> SportKey {
    format!("sport_{number}").parse().expect("a valid key")
}

pub struct Author {
    leader: SoleLeader,
    sports: Vec<BTreeMap<EventId, Image>>,
    freshness: BTreeMap<SportKey, SportFreshness>,
    random: StdRng,
    steps: usize,
}

impl Author {
    pub async fn lead(kafka: &KafkaSettings) -> anyhow::Result<Self> {
        let leader = SoleLeader::start(kafka, Region::Uk, service::now(), 0).await?;
        let mut random = StdRng::seed_from_u64(2);
        let sports = (0..SPORTS).map(|sport| events(sport, &mut random)).collect();
        let mut this = Self { leader, sports, freshness: BTreeMap::new(), random, steps: 0 };
        for sport in 0..SPORTS {
            this.publish(sport).await?;
        }
        Ok(this)
    }

    /// Publishes a poll of the next sport: of each event, the best price rises, and some others change.
    async fn step(&mut self) -> anyhow::Result<()> {
        self.steps += 1;
        let (sport, polls) = (self.steps % SPORTS, (self.steps / SPORTS) as i64);
        let now = service::now();
        for image in self.sports[sport].values_mut() {
            let away = price_of(image, 0, "Away");
            set(image, 0, &[("Home", FIRST + RISE * polls), ("Draw", 340), ("Away", away)], now);
            for _ in 0..OTHERS {
                let bookmaker = self.random.random_range(1..BOOKMAKERS);
                set(image, bookmaker, &other_prices(&mut self.random), now);
                set_total(image, bookmaker, self.random.random_range(2..4), now);
            }
        }
        self.publish(sport).await
    }

    /// The price of Away reaches the value of the burst at the first event.
    async fn burst(&mut self) -> anyhow::Result<()> {
        if let Some(image) = self.sports[0].get_mut(&event_id(0)) {
            let home = price_of(image, 0, "Home");
            let away = (BURST_PRICE * 100.0) as i64;
            set(image, 0, &[("Home", home), ("Draw", 340), ("Away", away)], service::now());
        }
        self.publish(0).await
    }

    async fn publish(&mut self, sport: usize) -> anyhow::Result<()> {
        let now = service::now();
        let mut pending = Pending::default();
        pending.poll(self.leader.reader().board(), &sport_key(sport), self.sports[sport].clone());
        let stale_after = now.plus_millis(60_000);
        self.freshness.insert(sport_key(sport), SportFreshness { polled_at: now, stale_after });
        let status = Status {
            at: now,
            next_by: stale_after,
            state: FeedState::Live,
            reason: None,
            source: "trial".into(),
            credits: Credits::default(),
            sports: self.freshness.clone(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            spent_today: None,
        };
        Ok(self.leader.publish(&pending, status).await?)
    }
}

fn key(bookmaker: usize, market: &str) -> (odds::BookmakerKey, MarketKey) {
    (format!("b{bookmaker}").parse().expect("a valid key"), market.parse().expect("a valid key"))
}

fn outcome(name: &str, hundredths: i64, point: Option<Decimal>) -> Outcome {
    Outcome { name: name.to_owned(), price: Decimal::new(hundredths, 2), point, description: None }
}

fn set(image: &mut Image, bookmaker: usize, prices: &[(&str, i64)], last_update: Timestamp) {
    let outcomes = prices.iter().map(|(name, hundredths)| outcome(name, *hundredths, None)).collect();
    image.quotes.insert(key(bookmaker, "h2h"), Market { last_update, outcomes: Outcomes::new(outcomes) });
}

fn set_total(image: &mut Image, bookmaker: usize, goals: i64, last_update: Timestamp) {
    let point = Some(Decimal::new(goals * 10 + 5, 1));
    let outcomes = Outcomes::new(vec![outcome("Over", 190, point), outcome("Under", 190, point)]);
    image.quotes.insert(key(bookmaker, "totals"), Market { last_update, outcomes });
}

fn price_of(image: &Image, bookmaker: usize, name: &str) -> i64 {
    let quote = image.quotes.get(&key(bookmaker, "h2h"));
    let price = quote.and_then(|quote| quote.outcomes.to_vec().into_iter().find(|it| it.name == name));
    price.map_or(300, |outcome| (outcome.price.to_f64() * 100.0).round() as i64)
}

/// Lower than the best prices of Home.
fn other_prices(random: &mut StdRng) -> [(&'static str, i64); 3] {
    [
        ("Home", random.random_range(150..195)),
        ("Draw", random.random_range(300..340)),
        ("Away", random.random_range(250..300)),
    ]
}

fn events(sport: usize, random: &mut StdRng) -> BTreeMap<EventId, Image> {
    let now = service::now();
    let event = |n: usize, random: &mut StdRng| {
        let details = Details {
            sport_key: sport_key(sport),
            sport_title: format!("Sport {sport}"),
            commence_time: now.plus_millis(24 * 3_600_000),
            home_team: Some("Home".into()),
            away_team: Some("Away".into()),
        };
        let mut image = Image { polled_at: now, details, quotes: Quotes::new() };
        for bookmaker in 0..BOOKMAKERS {
            set(&mut image, bookmaker, &other_prices(random), now);
            set_total(&mut image, bookmaker, 2, now);
        }
        (event_id(sport * EVENTS_OF_A_SPORT + n), image)
    };
    (0..EVENTS_OF_A_SPORT).map(|n| event(n, random)).collect()
}

/// An author that publishes steps in the background.
pub struct Writing {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    burst: Arc<AtomicBool>,
}

impl Writing {
    pub fn start(mut author: Author) -> Self {
        let (stop, burst) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let (stopped, bursts) = (stop.clone(), burst.clone());
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / STEPS_A_SECOND);
            while !stopped.is_cancelled() {
                pace.tick().await;
                author.step().await?;
                if bursts.swap(false, Ordering::Relaxed) {
                    author.burst().await?;
                }
            }
            Ok(())
        });
        Self { task, stop, burst }
    }

    /// The next step but one is the burst. Returns the time before it.
    pub fn burst(&self) -> Timestamp {
        self.burst.store(true, Ordering::Relaxed);
        service::now()
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

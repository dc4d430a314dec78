//! An author that writes a region's topic step by step, like a producer, and remembers every state of the board.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use kafka::{ConsumerMode, FollowerEvent, KafkaSettings, MAX_RECORD_BYTES, Publisher, RegionFollower, Steps};
use odds::{
    Board, Credits, Details, Event, EventId, FeedState, Filter, Image, LeaderState, Market, Outcome, Outcomes, Pending,
    Phase, Quotes, Region, SportFreshness, SportKey, Status, StepId, Timestamp, Writer,
};
use rand::{RngExt, rngs::StdRng};

type State = BTreeMap<EventId, Arc<Image>>;

/// Every state of a region's board, by the step that created it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<BTreeMap<StepId, (Timestamp, State)>>>);

impl History {
    /// Returns the events that a client with this filter shows at a step, or `None` for an unknown step.
    pub fn shown(&self, step: StepId, filter: &Filter) -> Option<BTreeMap<EventId, Event>> {
        Some(shown(&self.0.lock().unwrap().get(&step)?.1, filter))
    }

    /// Returns the poll time of all prices at a step. Panics if the step is unknown.
    pub fn polled_at(&self, step: StepId) -> Timestamp {
        self.0.lock().unwrap()[&step].0
    }

    /// Returns the step of the newest state.
    pub fn last_step(&self) -> Option<StepId> {
        self.0.lock().unwrap().last_key_value().map(|(step, _)| *step)
    }

    pub fn newest(&self, filter: &Filter) -> BTreeMap<EventId, Event> {
        self.0.lock().unwrap().last_key_value().map(|(_, (_, state))| shown(state, filter)).unwrap_or_default()
    }
}

fn shown(state: &State, filter: &Filter) -> BTreeMap<EventId, Event> {
    let admitted = state.iter().filter(|(_, image)| filter.admits_sport(&image.details.sport_key));
    let event = |image: &Image| {
        let quotes = image.quotes.iter().filter(|((bookmaker, market), _)| filter.admits_quote(bookmaker, market));
        let quotes = quotes.map(|(key, quote)| (key.clone(), quote.clone())).collect();
        Event { details: image.details.clone(), quotes }
    };
    admitted.map(|(id, image)| (id.clone(), event(image))).collect()
}

/// Writes a region's topic, like a producer that leads the region.
pub struct Author {
    follower: RegionFollower,
    publisher: Publisher,
    writer: Writer,
    state: State,
    pub history: History,
    pub feed: FeedState,
    /// Milliseconds until prices become stale.
    pub good_for: i64,
}

impl Author {
    pub async fn start(kafka: &KafkaSettings, region: Region) -> Self {
        let mut follower = RegionFollower::new(kafka.clone(), region, ConsumerMode::Alone, Steps::Newest);
        while !follower.is_loaded() {
            follower.next().await.unwrap();
        }
        let publisher = Publisher::new(kafka, region).unwrap();
        let (writer, _) = Writer::begin(follower.reader(), service::now(), 0, false);
        let mut this = Self {
            follower,
            publisher,
            writer,
            state: State::new(),
            history: History::default(),
            feed: FeedState::Live,
            good_for: 60_000,
        };
        this.new_term().await;
        this
    }

    /// Returns the board as read back from the topic.
    pub fn board(&self) -> &Board {
        self.follower.board()
    }

    /// Returns the newest step that the author wrote.
    pub fn last_step(&self) -> StepId {
        self.writer.last()
    }

    /// Begins a new term, as a new leader would.
    pub async fn new_term(&mut self) {
        let republish = self.follower.reader().phase() != Phase::Live;
        let (writer, fence) = Writer::begin(self.follower.reader(), service::now(), rand::rng().random(), republish);
        self.writer = writer;
        self.publisher.send(&fence).await.unwrap();
        self.read_back().await;
    }

    /// Publishes a step with these changes; `None` removes the event.
    pub async fn step(&mut self, changes: Vec<(EventId, Option<Image>)>) -> StepId {
        let mut wanted: BTreeMap<EventId, Image> =
            self.state.iter().map(|(id, image)| (id.clone(), (**image).clone())).collect();
        for (id, image) in changes {
            match image {
                Some(image) => drop(wanted.insert(id, image)),
                None => drop(wanted.remove(&id)),
            }
        }
        let mut sports: BTreeSet<SportKey> = wanted.values().map(|image| image.details.sport_key.clone()).collect();
        sports.extend(self.state.values().map(|image| image.details.sport_key.clone()));
        let now = service::now();
        let fresh = SportFreshness { polled_at: now, stale_after: now.plus_millis(self.good_for) };
        let freshness = sports.iter().map(|sport| (sport.clone(), fresh)).collect();
        let mut pending = Pending::default();
        for sport in sports {
            let of_sport = |(id, image): (&EventId, &Image)| {
                (image.details.sport_key == sport).then(|| (id.clone(), image.clone()))
            };
            let answer: Vec<_> = wanted.iter().filter_map(of_sport).collect();
            // `Pending` accepts an empty response for a sport only when it comes twice in a row.
            pending.poll(self.follower.board(), &sport, answer.clone());
            pending.poll(self.follower.board(), &sport, answer);
        }
        let status = Status {
            at: now,
            next_by: now.plus_millis(60_000),
            state: self.feed,
            reason: None,
            source: "test".into(),
            credits: Credits::default(),
            sports: freshness,
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            spent_today: None,
        };
        let step_records = self.writer.next_step(self.follower.reader_mut(), &pending, status, MAX_RECORD_BYTES);
        for record in &step_records.records {
            match &record.value {
                Some(value) => {
                    let (id, image) = Image::from_json(value.as_bytes()).unwrap();
                    self.state.insert(id, Arc::new(image));
                }
                None => drop(self.state.remove(&record.key.parse::<EventId>().unwrap())),
            }
        }
        self.history.0.lock().unwrap().insert(self.writer.last(), (now, self.state.clone()));
        self.publisher.send(&step_records.records).await.unwrap();
        self.publisher.send(&step_records.markers).await.unwrap();
        self.read_back().await;
        self.writer.last()
    }

    /// Returns a random event with one new price, or `None` if there is nothing to change.
    pub fn draw_move(&self, random: &mut StdRng) -> Option<(EventId, Option<Image>)> {
        let (id, image) = self.state.iter().nth(random.random_range(0..self.state.len().max(1)))?;
        let mut image = (**image).clone();
        let at = random.random_range(0..image.quotes.len().max(1));
        let quote = image.quotes.values_mut().nth(at)?;
        *quote = draw_quote(random);
        Some((id.clone(), Some(image)))
    }

    async fn read_back(&mut self) {
        while self.writer.state(self.follower.reader()) != LeaderState::Ready {
            if let FollowerEvent::Lost(cause) = self.follower.next().await.unwrap() {
                panic!("{cause}");
            }
        }
    }
}

/// Returns random changes: events with new prices, new events and removals.
pub fn draw_changes(random: &mut StdRng, events: u32) -> Vec<(EventId, Option<Image>)> {
    let count = random.random_range(1..=4);
    (0..count)
        .map(|_| {
            let event = random.random_range(0..events);
            (event_id(event), random.random_bool(0.85).then(|| draw_image(random, event)))
        })
        .collect()
}

/// Returns the changes that create a random board with this many events.
pub fn draw_board(random: &mut StdRng, events: u32) -> Vec<(EventId, Option<Image>)> {
    (0..events).map(|event| (event_id(event), Some(draw_image(random, event)))).collect()
}

fn event_id(event: u32) -> EventId {
    format!("event-{event}").parse().unwrap()
}

fn draw_image(random: &mut StdRng, event: u32) -> Image {
    let mut quotes = Quotes::new();
    for bookmaker in 0..4 {
        for market in 0..3 {
            if random.random_bool(0.8) {
                let key = (format!("b{bookmaker}").parse().unwrap(), format!("m{market}").parse().unwrap());
                quotes.insert(key, draw_quote(random));
            }
        }
    }
    let sport = event % 3;
    let details = Details {
        sport_key: format!("s{sport}").parse().unwrap(),
        sport_title: format!("Sport {sport}"),
        commence_time: Timestamp::from_millis(1_800_000_000_000 + i64::from(random.random_range(0..2u32)) * 1000),
        home_team: Some(format!("Home {event}")),
        away_team: None,
    };
    Image { polled_at: service::now(), details, quotes }
}

fn draw_quote(random: &mut StdRng) -> Market {
    let mut outcome = |name: &str| {
        let price: u32 = random.random_range(101..1_000);
        Outcome {
            name: name.into(),
            price: format!("{}.{:02}", price / 100, price % 100).parse().unwrap(),
            point: None,
            description: None,
        }
    };
    Market { last_update: service::now(), outcomes: Outcomes::new(vec![outcome("Home"), outcome("Away")]) }
}

//! An author that writes a region's topic step by step, like a producer, and remembers every state of the board.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use kafka::{KafkaSettings, SoleLeader};
use odds::{
    Board, Credits, Decimal, Details, Event, EventId, FeedState, Filter, Image, Market, Outcome, Outcomes, Pending,
    Quotes, Region, SportFreshness, SportKey, Status, StepId, Timestamp,
};
use rand::{RngExt, rngs::StdRng};

/// An event that starts in an hour, with one quote: of A at this price, in hundredths, and of B.
pub fn image_with_price(hundredths: i64) -> Image {
    let outcome = |name: &str, hundredths| Outcome {
        name: name.to_owned(),
        price: Decimal::new(hundredths, 2),
        point: None,
        description: None,
    };
    let outcomes = Outcomes::new(vec![outcome("A", hundredths), outcome("B", 180)]);
    let quote = Market { last_update: service::now(), outcomes };
    let quotes: Quotes = [(("b0".parse().unwrap(), "h2h".parse().unwrap()), quote)].into();
    let details = Details {
        sport_key: "soccer".parse().unwrap(),
        sport_title: "Soccer".into(),
        commence_time: service::now().plus_millis(3_600_000),
        home_team: Some("A".into()),
        away_team: Some("B".into()),
    };
    Image { polled_at: service::now(), details, quotes }
}

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

    /// Returns the time of the first step.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.0.lock().unwrap().first_key_value().map(|(_, (at, _))| *at)
    }

    pub fn newest(&self, filter: &Filter) -> BTreeMap<EventId, Event> {
        self.0.lock().unwrap().last_key_value().map(|(_, (_, state))| shown(state, filter)).unwrap_or_default()
    }
}

fn shown(state: &State, filter: &Filter) -> BTreeMap<EventId, Event> {
    let admitted = state.iter().filter(|(id, image)| filter.admits_event(id, &image.details.sport_key));
    let event = |image: &Image| {
        let quotes = image.quotes.iter().filter(|((bookmaker, market), _)| filter.admits_quote(bookmaker, market));
        let quotes = quotes.map(|(key, quote)| (key.clone(), quote.clone())).collect();
        Event { details: image.details.clone(), quotes }
    };
    admitted.map(|(id, image)| (id.clone(), event(image))).collect()
}

/// Writes a region's topic, like a producer that leads the region.
pub struct Author {
    leader: SoleLeader,
    state: State,
    pub history: History,
    pub feed: FeedState,
    /// Milliseconds until prices become stale.
    pub good_for: i64,
}

impl Author {
    pub async fn start(kafka: &KafkaSettings, region: Region) -> Self {
        let leader = SoleLeader::start(kafka, region, service::now(), rand::random()).await.unwrap();
        Self { leader, state: State::new(), history: History::default(), feed: FeedState::Live, good_for: 60_000 }
    }

    /// Returns the board as read back from the topic.
    pub fn board(&self) -> &Board {
        self.leader.reader().board()
    }

    /// Returns the newest step that the author wrote.
    pub fn last_step(&self) -> StepId {
        self.leader.last_step()
    }

    /// Begins a new term, as a new leader would.
    pub async fn new_term(&mut self) {
        self.leader.begin_term(service::now(), rand::random()).await.unwrap();
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
            pending.poll(self.leader.reader().board(), &sport, answer.clone());
            pending.poll(self.leader.reader().board(), &sport, answer);
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
        let step_records = self.leader.next_step(&pending, status);
        for record in &step_records.records {
            match &record.value {
                Some(value) => {
                    let (id, image) = Image::from_json(value.as_bytes()).unwrap();
                    self.state.insert(id, Arc::new(image));
                }
                None => drop(self.state.remove(&record.key.parse::<EventId>().unwrap())),
            }
        }
        self.history.0.lock().unwrap().insert(self.leader.last_step(), (now, self.state.clone()));
        self.leader.send(&step_records).await.unwrap();
        self.leader.last_step()
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

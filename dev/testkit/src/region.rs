//! A region without Kafka: a leader that writes steps and reads them back, and every board that there was.

use std::collections::{BTreeMap, BTreeSet};

use odds::{
    Credits, Decimal, Details, Event, EventId, FeedState, Image, Market, Outcome, Outcomes, Outgoing, Pending, Quotes,
    Reader, SportFreshness, SportKey, Status, Timestamp, Writer,
};
use rand::{RngExt, rngs::StdRng};

pub type Events = BTreeMap<EventId, Event>;

/// A region's topic, its leader and what the leader wants.
pub struct Region {
    pub reader: Reader,
    writer: Writer,
    offset: i64,
    now: Timestamp,
    wanted: BTreeMap<EventId, Image>,
    /// The leader is of a version whose markers have no position.
    pub is_old: bool,
}

const SPORTS: u32 = 2;

fn sport(event: u32) -> SportKey {
    format!("sport-{}", event % SPORTS).parse().unwrap()
}

impl Region {
    pub fn new(now: Timestamp) -> Self {
        let reader = Reader::new(&[0]);
        let (writer, fence) = Writer::begin(&reader, now, 1, false);
        let mut region = Self { reader, writer, offset: 0, now, wanted: BTreeMap::new(), is_old: false };
        region.write(fence);
        region
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn wait(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
    }

    /// The topic is deleted and created again: the boards begin anew.
    pub fn recreate_topic(&mut self, tie: u32) {
        self.reader = Reader::new(&[0]);
        self.offset = 0;
        self.new_term(tie);
    }

    pub fn new_term(&mut self, tie: u32) {
        let (writer, fence) = Writer::begin(&self.reader, self.now, tie, true);
        self.writer = writer;
        self.write(fence);
    }

    /// Writes a step with random changes.
    pub fn step(&mut self, random: &mut StdRng, events: u32) {
        for _ in 0..random.random_range(0..3) {
            let event = random.random_range(0..events);
            let id: EventId = format!("event-{event}").parse().unwrap();
            match random.random_range(0..10) {
                0 => drop(self.wanted.remove(&id)),
                1..6 if self.wanted.contains_key(&id) => {
                    let image = self.wanted.get_mut(&id).unwrap();
                    change(random, image, self.now);
                }
                _ => drop(self.wanted.insert(id, draw_image(random, event, self.now))),
            }
        }
        self.publish(random);
    }

    /// Changes what the leader wants. Without an image, the event is removed.
    pub fn want(&mut self, id: EventId, image: Option<Image>) {
        match image {
            Some(image) => drop(self.wanted.insert(id, image)),
            None => drop(self.wanted.remove(&id)),
        }
    }

    /// Writes a step with what the leader wants.
    pub fn publish(&mut self, random: &mut StdRng) {
        let mut pending = Pending::default();
        let mut sports = BTreeMap::new();
        let board = self.reader.board();
        let published = board.event_ids().filter_map(|id| board.details(id));
        let all = published.chain(self.wanted.values().map(|image| &image.details));
        let polled: BTreeSet<SportKey> = (0..SPORTS).map(sport).chain(all.map(|it| it.sport_key.clone())).collect();
        for sport in polled {
            let of_sport = |(id, image): (&EventId, &Image)| {
                (image.details.sport_key == sport).then(|| (id.clone(), image.clone()))
            };
            let answer: Vec<_> = self.wanted.iter().filter_map(of_sport).collect();
            // An answer that empties a sport is accepted only the second time.
            pending.poll(board, &sport, answer.clone());
            pending.poll(board, &sport, answer);
            if random.random_bool(0.8) {
                let stale_after = self.now.plus_millis(60_000);
                sports.insert(sport, SportFreshness { polled_at: self.now, stale_after });
            }
        }
        let status = Status {
            at: self.now,
            next_by: self.now.plus_millis(25_000),
            state: if random.random_bool(0.9) { FeedState::Live } else { FeedState::Stale },
            reason: random.random_bool(0.1).then(|| "late".to_owned()),
            source: "test".into(),
            credits: Credits { remaining: random.random_bool(0.5).then_some(0.5), used: None },
            sports,
            bookmakers: [("b0".parse().unwrap(), self.now)].into(),
            bookmaker_names: BTreeMap::new(),
            spent_today: None,
        };
        let step = self.writer.next_step(&mut self.reader, &pending, status, usize::MAX);
        self.write(step.records);
        self.write(step.markers);
    }

    fn write(&mut self, records: Vec<Outgoing>) {
        for mut record in records {
            if self.is_old {
                record.value = record.value.map(|value| without_position(&value).into());
            }
            self.reader.read(0, self.offset, record.record().unwrap());
            self.offset += 1;
        }
    }

    pub fn events(&self) -> Events {
        let mut events = Events::new();
        self.reader.board().content().into_iter().for_each(|change| change.apply_to(&mut events));
        events
    }
}

fn without_position(json: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("log");
    fields.remove("seq");
    match fields.contains_key("event") {
        // Images must keep the exact text of their numbers.
        true => json.to_owned(),
        false => value.to_string(),
    }
}

fn change(random: &mut StdRng, image: &mut Image, now: Timestamp) {
    let keys: Vec<_> = image.quotes.keys().cloned().collect();
    if random.random_bool(0.1) {
        image.details.commence_time = image.details.commence_time.plus_millis(60_000);
    }
    let Some(key) = keys.get(random.random_range(0..keys.len().max(1))) else { return };
    match random.random_bool(0.2) {
        true => drop(image.quotes.remove(key)),
        false => drop(image.quotes.insert(key.clone(), draw_quote(random, now))),
    }
}

fn draw_image(random: &mut StdRng, event: u32, now: Timestamp) -> Image {
    let mut quotes = Quotes::new();
    for bookmaker in 0..3 {
        for market in 0..2 {
            if random.random_bool(0.7) {
                let key = (format!("b{bookmaker}").parse().unwrap(), format!("m{market}").parse().unwrap());
                quotes.insert(key, draw_quote(random, now));
            }
        }
    }
    let details = Details {
        sport_key: sport(event),
        sport_title: "Sport".into(),
        commence_time: Timestamp::from_millis(1_800_000_000_000),
        home_team: Some(format!("Home {event}")),
        away_team: random.random_bool(0.9).then(|| "Ä \"away\"".to_owned()),
    };
    Image { polled_at: now, details, quotes }
}

fn draw_quote(random: &mut StdRng, now: Timestamp) -> Market {
    let names = ["Home", "Away", "Draw"];
    let count = random.random_range(1..=3);
    let point = random.random_bool(0.3).then(|| Decimal::new(random.random_range(-99..99), 1));
    let outcome = |name: &&str| Outcome {
        name: (*name).to_owned(),
        price: Decimal::new(random.random_range(101..200_000), random.random_range(0..4)),
        point,
        description: [None, Some(String::new()), Some("a \"player\"".to_owned())][random.random_range(0..3)].clone(),
    };
    let outcomes = names.iter().take(count).map(outcome).collect();
    Market { last_update: now.plus_millis(-random.random_range(-5..90_000)), outcomes: Outcomes::new(outcomes) }
}

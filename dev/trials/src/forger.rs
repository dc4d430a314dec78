//! Forged records: one of each kind that no leader writes but readers must tolerate.

use std::time::Duration;

use anyhow::Context;
use kafka::{KafkaSettings, Role, topic_of};
use odds::{Digest, FeedState, Marker, Region, StepId, Timestamp};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

const SENT_WITHIN: Duration = Duration::from_secs(10);
/// The id of an event that doesn't exist.
const EVENT: &str = "forged";

/// Writes arbitrary records to a region's topic.
pub struct Forger {
    topic: &'static str,
    producer: FutureProducer,
}

/// A forged record, which is written to every partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgery {
    pub what: &'static str,
    key: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    value: Option<String>,
}

impl Forger {
    pub fn new(kafka: &KafkaSettings, region: Region) -> anyhow::Result<Self> {
        Ok(Self { topic: topic_of(region), producer: kafka.client(Role::Producer, &[]).create()? })
    }

    pub async fn write(&self, forgery: &Forgery, partitions: i32) -> anyhow::Result<()> {
        for partition in 0..partitions {
            let headers = forgery
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let mut record = FutureRecord::to(self.topic).partition(partition).headers(headers);
            record.key = forgery.key;
            record.payload = forgery.value.as_ref();
            let sent = self.producer.send(record, SENT_WITHIN).await;
            sent.map_err(|(error, _)| error).with_context(|| forgery.what)?;
        }
        Ok(())
    }
}

/// Returns all forgeries for a topic whose newest step is this one.
pub fn forgeries(newest: StepId) -> Vec<Forgery> {
    let term = newest.term.to_string();
    let (at, tie) = term.split_once('.').expect("a term is two numbers with a dot");
    let next = format!("{}.{tie}", at.parse::<u64>().expect("a term starts with a number") + 1);
    let greatest = format!("{}.{}", u64::MAX, u32::MAX);
    let most = u64::MAX.to_string();
    let headers = |term: &str, step: &str| vec![("v", "1".to_owned()), ("term", term.into()), ("step", step.into())];
    let image = Some(image());
    let fence = Some(r#"{"fence":true,"at":"2026-01-01T00:00:00Z"}"#.to_owned());
    let marker = Some(marker());
    let soon = (newest.step + 5).to_string();
    let at_once = (newest.step + 1).to_string();
    let event = Some(EVENT);
    let step = Some("~step");
    let all = [
        ("nothing but a key", event, vec![], None),
        ("an image without headers", event, vec![], image.clone()),
        ("headers that are no numbers", event, headers("a.b", "-1"), image.clone()),
        ("a later version", event, vec![("v", "4294967295".into())], image.clone()),
        ("a value that is no JSON", event, headers(&term, &soon), Some("{\u{0}".into())),
        ("a marker that is no JSON", step, headers(&term, &at_once), Some("[]".into())),
        ("another event's image", Some("another"), headers(&term, &soon), image.clone()),
        ("a key of no known kind", Some("~forged"), headers(&term, &soon), image.clone()),
        ("an image of the greatest term", event, headers(&greatest, "1"), image.clone()),
        ("a removal of the greatest term", event, headers(&greatest, "1"), None),
        ("a fence of the greatest term", step, headers(&greatest, "0"), fence.clone()),
        ("a marker of the greatest term", step, headers(&greatest, &most), marker.clone()),
        ("an image of the greatest step", event, headers(&term, &most), image.clone()),
        ("a marker of the greatest step", step, headers(&term, &most), marker.clone()),
        ("an image of one of the next steps", event, headers(&term, &soon), image.clone()),
        ("a marker of the next step that fits no board", step, headers(&term, &at_once), marker.clone()),
        ("an image of the next term", event, headers(&next, "1"), image),
        ("a fence of the next term", step, headers(&next, "0"), fence),
        ("a marker of the next term that fits no board", step, headers(&next, "1"), marker),
    ];
    all.into_iter().map(|(what, key, headers, value)| Forgery { what, key, headers, value }).collect()
}

fn image() -> String {
    format!(
        r#"{{"polled_at":"2026-01-01T00:00:00Z","event":{{"id":"{EVENT}","sport_key":"soccer_epl","sport_title":"EPL","commence_time":"2026-01-01T00:00:00Z","home_team":null,"away_team":null,"bookmakers":[]}}}}"#
    )
}

/// Returns the marker of an empty board.
fn marker() -> String {
    let marker = Marker {
        digest: Digest::default(),
        at: Timestamp::from_millis(0),
        position: None,
        next_by: Timestamp::from_millis(0),
        state: FeedState::Live,
        reason: None,
        source: "forger".into(),
        credits: odds::Credits::default(),
        sports: [].into(),
        bookmakers: [].into(),
        bookmaker_names: [].into(),
        spent_today: None,
    };
    serde_json::to_string(&marker).expect("plain values")
}

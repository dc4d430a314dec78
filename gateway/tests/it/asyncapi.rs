//! The description of events and records, compared with what is sent and written.

use std::collections::BTreeMap;

use alerter::Alerter;
use client::{Client, ClientError, ServerMessage};
use fleet::{LoggedTrouble, Report};
use kafka::{ALERTS, CONTROL, ControlMessage, Role, TRANSACTIONS, topic_of};
use odds::{Credits, DaySpending, Digest, FeedState, LogPosition, Marker, Region, STEP_KEY, SportFreshness};
use rand::{SeedableRng, rngs::StdRng};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
};
use serde_json::{Map, Value, json};
use service::MetricRegistry;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, draw_board, draw_changes, image_with_price},
    guest::{BEARER, TOKEN},
    http,
    stage::{DEADLINE, Stage},
};

/// The description's schemas. They refuse fields that they don't describe.
struct Description {
    schemas: Value,
    /// How often each schema was used.
    used: BTreeMap<String, usize>,
}

impl Description {
    fn read(mut document: Value) -> Self {
        let mut schemas = document["components"]["schemas"].take();
        close(&mut schemas);
        Self { schemas, used: BTreeMap::new() }
    }

    fn fits(&mut self, name: &str, value: &Value) {
        *self.used.entry(name.to_owned()).or_default() += 1;
        let schema = json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": { "schemas": self.schemas },
        });
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {value}");
    }
}

/// Makes schemas of objects refuse other fields.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object) && fields.get("type") == Some(&json!("object")) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// The payload's schema of each event that a client gets, by the description.
fn payloads(document: &Value) -> BTreeMap<String, String> {
    let messages = document["components"]["messages"].as_object().unwrap();
    let schema_of = |message: &Value| Some(message["payload"]["$ref"].as_str()?.rsplit('/').next()?.to_owned());
    messages.iter().filter_map(|(name, message)| Some((name.clone(), schema_of(message)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_sent_and_written_fits_its_description() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &[&stage.outbox_setting()]).await;
    let document: Value = http::get(&gateway.address, "/api/asyncapi.json", &[]).await.json();
    let payloads = payloads(&document);
    let mut description = Description::read(document);

    let metrics = alerter::Metrics::new(&mut MetricRegistry::default());
    let stop = CancellationToken::new();
    let alerter = Alerter::new(stage.kafka(), stage.store.clone(), service::now, metrics);
    let alerter = tokio::spawn(alerter.run(stop.clone()));
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    let mut random = StdRng::seed_from_u64(3);
    let mut board = draw_board(&mut random, 150);
    board.push(("e1".parse().unwrap(), Some(image_with_price(200))));
    author.step(board).await;
    let rule = json!({ "kind": "price", "event": "e1", "market": "h2h", "outcome": "A", "at_least": 2.1 });
    let made = http::ask(&gateway.address, "POST", "/api/rules", &[BEARER], Some(&rule)).await;
    assert_eq!(made.status, 201);
    let mut produced = json!({ "request_id": "r-1", "topic_name": TRANSACTIONS, "message_body": "2 tickets", "transaction_id": "t-1" });
    for (field, value) in
        [("email", "anna@example.com"), ("phone", "+447700900123"), ("customer_id", "c-1"), ("key", "k")]
    {
        produced[field] = json!(value);
    }
    let done = http::ask(&gateway.address, "POST", "/api/v1/produce", &[BEARER], Some(&produced)).await;
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));

    let auth = json!({ "v": 1, "token": TOKEN, "digest": true, "max_rate": 100, "filter": {}, "resume": {} });
    description.fits("Auth", &auth);
    let mut client = Client::connect(&gateway.address, &auth).await.unwrap();
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    let (subscribe, resync, filter) =
        (json!({ "regions": ["uk"] }), json!({ "region": "uk" }), json!({ "markets": ["h2h"] }));
    let nonsense = json!({ "sport": 7 });
    for (event, schema, data) in [
        ("subscribe", "SubscribeRequest", &subscribe),
        ("resync", "ResyncRequest", &resync),
        ("filter", "Filter", &filter),
        ("filter", "", &nonsense),
    ] {
        if !schema.is_empty() {
            description.fits(schema, data);
        }
        client.ask(event, data).await.unwrap();
    }
    let end = Instant::now() + DEADLINE;
    let mut hundredths = 200;
    loop {
        let has = |event: &str| got.contains_key(event);
        if ["subscriptions", "snapshot", "odds", "feed", "alert"].iter().all(|event| has(event))
            && got.get("answers") == Some(&4)
        {
            break;
        }
        assert!(Instant::now() < end, "{got:?}");
        let Ok(message) = timeout(Duration::from_millis(200), client.next()).await else {
            hundredths += 1;
            let mut changes = draw_changes(&mut random, 20);
            changes.push(("e1".parse().unwrap(), Some(image_with_price(hundredths))));
            author.step(changes).await;
            continue;
        };
        match message.unwrap() {
            ServerMessage::Event { name, payload } => {
                description.fits(&payloads[&name], &serde_json::from_str(&payload).unwrap());
                *got.entry(name).or_default() += 1;
            }
            ServerMessage::Answer { answer, .. } => {
                description.fits("Acknowledgement", &answer);
                *got.entry("answers".into()).or_default() += 1;
            }
        }
    }
    author.step(vec![("e1".parse().unwrap(), None)]).await;
    description.fits("ConnectError", &json!({ "message": refusal(&gateway.address).await }));
    gateway.stop();
    loop {
        if let ServerMessage::Event { name, payload } = timeout(DEADLINE, client.next()).await.unwrap().unwrap() {
            description.fits(&payloads[&name], &serde_json::from_str(&payload).unwrap());
            if name == "bye" {
                break;
            }
        }
    }
    stop.cancel();
    alerter.await.unwrap().unwrap();

    let stage_kafka = stage.kafka();
    let records = tokio::task::spawn_blocking(move || {
        let settings = [("group.id", "asyncapi"), ("enable.partition.eof", "true")];
        let consumer: BaseConsumer = stage_kafka.client(Role::Consumer, &settings).create().unwrap();
        [topic_of(Region::Uk), ALERTS, TRANSACTIONS, CONTROL].map(|topic| all_records(&consumer, topic))
    });
    let [odds, alerts, transactions, control] = records.await.unwrap();
    description.fits("Marker", &full_marker());
    let region = Region::Uk;
    for message in [ControlMessage::Republish { region }, ControlMessage::User { user: "u".into(), revision: 1 }] {
        description.fits("ControlMessage", &json!(message));
    }
    description.fits("Report", &json!(full_report()));
    for (key, value, headers) in odds {
        description.fits("RegionHeaders", &headers);
        let Some(value) = value else { continue };
        let schema = match key.as_deref() {
            Some(STEP_KEY) if headers["step"] == "0" => "Fence",
            Some(STEP_KEY) => "Marker",
            _ => "EventRecord",
        };
        description.fits(schema, &value);
    }
    for (schema, headers_schema, records) in [
        ("AlertRecord", None, alerts),
        ("TransactionRecord", Some("TransactionHeaders"), transactions),
        ("ControlMessage", None, control),
    ] {
        for (_, value, headers) in records {
            description.fits(schema, &value.unwrap());
            headers_schema.inspect(|schema| description.fits(schema, &headers));
        }
    }
    for schema in [
        "AlertRecord",
        "ByePayload",
        "ControlMessage",
        "EventRecord",
        "Feed",
        "Fence",
        "ListedAlert",
        "Marker",
        "OddsPayload",
        "Report",
        "SnapshotPayload",
        "SubscriptionsPayload",
        "TransactionHeaders",
        "TransactionRecord",
    ] {
        assert!(description.used.contains_key(schema), "nothing was compared with {schema}: {:?}", description.used);
    }
}

/// A marker that has everything that a marker can have.
fn full_marker() -> Value {
    let at = service::now();
    let sports = [("soccer".parse().unwrap(), SportFreshness { polled_at: at, stale_after: at })].into();
    json!(Marker {
        digest: Digest::default(),
        at,
        position: Some(LogPosition { log: "1790000000000.7/3".parse().unwrap(), seq: 12 }),
        next_by: at,
        state: FeedState::Stale,
        reason: Some("the odds API fails".into()),
        source: "simulator".into(),
        credits: Credits { remaining: Some(4.5), used: Some(1.0) },
        sports,
        bookmakers: [("coral".parse().unwrap(), at)].into(),
        bookmaker_names: [("coral".parse().unwrap(), "Coral".to_owned())].into(),
        spent_today: Some(DaySpending { day_ends: at, credits: [("simulator".to_owned(), 4.5)].into() }),
    })
}

/// A program's report that has everything that a report can have.
fn full_report() -> Report {
    let at = service::now();
    let troubles = vec![LoggedTrouble { at, level: "error".into(), text: "no network".into(), count: 2 }];
    let report = json!({ "v": 1, "role": "gateway", "instance": "a", "version": "1", "since": at, "at": at,
        "values": { "gateway_lag": { "uk": 1.5 }, "gateway_connections": 3 }, "sports": { "uk": { "golf": [60.0, null] } }, "memory": 1024,
        "clients": { "users": 2, "most": { "a": 3 }, "slow": [{ "id": "s", "user": "a", "since": at }] },
        "ends": true, "failed": true });
    Report { troubles: Some(troubles), ..serde_json::from_value(report).unwrap() }
}

/// Returns why a client with a wrong `auth` is refused.
async fn refusal(address: &str) -> String {
    match Client::connect(address, &json!({ "token": TOKEN, "v": 2 })).await {
        Err(ClientError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

type Read = (Option<String>, Option<Value>, Value);

/// The key, the value and the headers of each record of a topic.
fn all_records(consumer: &BaseConsumer, topic: &str) -> Vec<Read> {
    const WITHIN: Duration = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), WITHIN).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let (mut records, mut read, end) = (Vec::new(), 0, Instant::now() + DEADLINE);
    while read < partitions {
        assert!(Instant::now() < end, "{topic} has no end");
        let record = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => record,
            Some(Err(KafkaError::PartitionEOF(_))) => {
                read += 1;
                continue;
            }
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => continue,
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut headers = Map::new();
        for header in record.headers().into_iter().flat_map(Headers::iter) {
            headers.insert(header.key.to_owned(), json!(text(header.value.unwrap_or_default())));
        }
        let value = record.payload().map(|value| serde_json::from_slice(value).unwrap());
        records.push((record.key().map(text), value, Value::Object(headers)));
    }
    records
}

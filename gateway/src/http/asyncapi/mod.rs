//! The description of the socket's events and of Kafka's records, as AsyncAPI 3: served at /api/asyncapi.json, and kept in
//! docs/asyncapi.json. Its schemas are JSON Schemas.

mod payloads;
mod records;

use odds::Region;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use self::{
    payloads::{
        Acknowledgement, Auth, ByePayload, ConnectError, Filter, OddsPayload, ResyncRequest, SnapshotPayload,
        SubscribeRequest, SubscriptionsPayload,
    },
    records::{
        AlertRecord, ControlMessage, DeadLetterHeaders, EventRecord, Fence, Marker, RegionHeaders, Report,
        TransactionHeaders, TransactionRecord,
    },
};
use super::{alerts::ListedAlert, schemas::Feed};

#[derive(OpenApi)]
#[openapi(components(schemas(
    Acknowledgement,
    AlertRecord,
    Auth,
    ByePayload,
    ConnectError,
    ControlMessage,
    DeadLetterHeaders,
    EventRecord,
    Feed,
    Fence,
    Filter,
    ListedAlert,
    Marker,
    OddsPayload,
    RegionHeaders,
    Report,
    ResyncRequest,
    SnapshotPayload,
    SubscribeRequest,
    SubscriptionsPayload,
    TransactionHeaders,
    TransactionRecord,
)))]
struct Schemas;

/// What a client gets over Socket.IO: the event, the schema of its payload, and what it is.
const SENT: [(&str, &str, &str); 6] = [
    ("subscriptions", "SubscriptionsPayload", "The regions that the client gets. Sent first, and at every change."),
    ("snapshot", "SnapshotPayload", "A whole board, or a part of one."),
    ("odds", "OddsPayload", "What changed since the client's cursor."),
    ("feed", "Feed", "How fresh a region is."),
    ("alert", "ListedAlert", "A rule of the user has fired."),
    ("bye", "ByePayload", "Sent before the gateway ends the connection."),
];

/// What a client may ask. Each request is acknowledged.
const ASKED: [(&str, &str, &str); 3] = [
    ("subscribe", "SubscribeRequest", "Sets the regions of the user, or of a connection that has its own."),
    ("filter", "Filter", "Narrows what is sent."),
    ("resync", "ResyncRequest", "Asks for what changed since a cursor, or for a snapshot."),
];

/// What a record's key is.
enum Key {
    None,
    /// Always this.
    Always(&'static str),
    Of(&'static str),
    Maybe(&'static str),
}

impl Key {
    fn schema(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Always(key) => Some(json!({ "type": "string", "const": key })),
            Self::Of(what) => Some(json!({ "type": "string", "description": what })),
            Self::Maybe(what) => Some(json!({ "type": ["string", "null"], "description": what })),
        }
    }
}

/// A message on one of Kafka's topics.
struct Record {
    name: &'static str,
    /// The schema of its value. A message without a value is a tombstone.
    value: Option<&'static str>,
    headers: Option<&'static str>,
    key: Key,
    summary: &'static str,
}

const RECORDS: [Record; 8] = [
    Record {
        name: "event",
        value: Some("EventRecord"),
        headers: Some("RegionHeaders"),
        key: Key::Of("the event's id"),
        summary: "All of an event. It replaces the one before.",
    },
    Record {
        name: "removal",
        value: None,
        headers: Some("RegionHeaders"),
        key: Key::Of("the event's id"),
        summary: "Removes an event. It has no value.",
    },
    Record {
        name: "marker",
        value: Some("Marker"),
        headers: Some("RegionHeaders"),
        key: Key::Always(odds::STEP_KEY),
        summary: "Ends a step in its partition.",
    },
    Record {
        name: "fence",
        value: Some("Fence"),
        headers: Some("RegionHeaders"),
        key: Key::Always(odds::STEP_KEY),
        summary: "Begins a term in its partition: step 0.",
    },
    Record {
        name: "alertRecord",
        value: Some("AlertRecord"),
        headers: None,
        key: Key::Of("the user's id"),
        summary: "An alert.",
    },
    Record {
        name: "transaction",
        value: Some("TransactionRecord"),
        headers: Some("TransactionHeaders"),
        key: Key::Maybe("the key that was given when it was produced"),
        summary: "What a customer is to be told.",
    },
    Record {
        name: "control",
        value: Some("ControlMessage"),
        headers: None,
        key: Key::None,
        summary: "A message among Toteboard's programs. It changes without notice.",
    },
    Record {
        name: "report",
        value: Some("Report"),
        headers: None,
        key: Key::Of("the program's name and instance"),
        summary: "What a program says of itself, every five seconds. The newest counts.",
    },
];

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn component(message: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{message}") })
}

/// The messages of a channel, as references.
fn messages<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Object(names.into_iter().map(|name| (name.to_owned(), component(name))).collect())
}

/// The description, as JSON.
pub fn asyncapi() -> Value {
    let mut schemas = json!(Schemas::openapi().components.expect("it has schemas").schemas);
    // All of an event also fits the form that has only quotes.
    let change = schemas["Change"].as_object_mut().expect("a change is described");
    if let Some(forms) = change.remove("oneOf") {
        change.insert("anyOf".to_owned(), forms);
    }
    let mut components: Map<String, Value> = Map::new();
    for (event, payload, summary) in SENT.into_iter().chain(ASKED) {
        components.insert(event.to_owned(), json!({ "name": event, "summary": summary, "payload": schema(payload) }));
    }
    let acknowledged = "The acknowledgement of a request.";
    components
        .insert("acknowledgement".to_owned(), json!({ "summary": acknowledged, "payload": schema("Acknowledgement") }));
    let auth = "The payload of Socket.IO's CONNECT packet.";
    components.insert("auth".to_owned(), json!({ "summary": auth, "payload": schema("Auth") }));
    let refused = "The payload of Socket.IO's CONNECT_ERROR packet.";
    components.insert("refusal".to_owned(), json!({ "summary": refused, "payload": schema("ConnectError") }));
    let dead = "A record that could not be handled, as it was, with further headers.";
    let dead = json!({ "summary": dead, "headers": schema("DeadLetterHeaders"), "payload": {} });
    components.insert("deadLetter".to_owned(), dead);
    for Record { name, value, headers, key, summary } in RECORDS {
        let mut message = json!({ "name": name, "summary": summary });
        if let Some(key) = key.schema() {
            message["bindings"] = json!({ "kafka": { "key": key } });
        }
        message["payload"] = value.map_or_else(|| json!({ "type": "null" }), schema);
        if let Some(headers) = headers {
            message["headers"] = schema(headers);
        }
        components.insert(name.to_owned(), message);
    }

    let of_socket = SENT.iter().chain(&ASKED).map(|(event, ..)| *event).chain(["acknowledgement", "auth", "refusal"]);
    let topic = |address: &str, description: &str, names: &[&str]| {
        json!({
            "address": address,
            "description": description,
            "servers": [{ "$ref": "#/servers/kafka" }],
            "messages": messages(names.iter().copied()),
        })
    };
    let dead_letters =
        |of: &str| topic(&kafka::dead_letters_of(of), &format!("What could not be handled of {of}."), &["deadLetter"]);
    let regions = Region::ALL.map(Region::key);
    let mut odds =
        topic("odds.{region}", "A region's board: see docs/kafka.md.", &["event", "removal", "marker", "fence"]);
    odds["parameters"] = json!({ "region": { "description": "The region's key.", "enum": regions } });
    let mut operations: Map<String, Value> = Map::new();
    let in_channel = |name: &str| json!({ "$ref": format!("#/channels/socket/messages/{name}") });
    let socket = json!({ "$ref": "#/channels/socket" });
    for (event, _, summary) in SENT {
        let operation =
            json!({ "action": "send", "channel": socket, "summary": summary, "messages": [in_channel(event)] });
        operations.insert(format!("send.{event}"), operation);
    }
    for (event, _, summary) in ASKED {
        let reply = json!({ "channel": socket, "messages": [in_channel("acknowledgement")] });
        let operation = json!({ "action": "receive", "channel": socket, "summary": summary, "messages": [in_channel(event)], "reply": reply });
        operations.insert(format!("receive.{event}"), operation);
    }
    let mut connect =
        json!({ "action": "receive", "channel": socket, "summary": auth, "messages": [in_channel("auth")] });
    connect["reply"] = json!({ "channel": socket, "messages": [in_channel("refusal")] });
    operations.insert("receive.auth".to_owned(), connect);

    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Toteboard",
            "version": odds::PROTOCOL_VERSION.to_string(),
            "description": "The events of the Socket.IO connection, which PROTOCOL.md explains, and the records on Kafka's topics, which docs/kafka.md explains. Ignore unknown fields of what you get: later versions may add some.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {
                "host": "localhost:8080",
                "pathname": "/socket.io/",
                "protocol": "socket.io",
                "description": "Socket.IO 5 (Engine.IO 4), over websocket or long polling.",
            },
            "kafka": { "host": "localhost:9092", "protocol": "kafka" },
        },
        "channels": {
            "socket": {
                "address": "/",
                "description": "The namespace /.",
                "servers": [{ "$ref": "#/servers/gateway" }],
                "messages": messages(of_socket),
            },
            "odds": odds,
            "alerts": topic(kafka::ALERTS, "What fired.", &["alertRecord"]),
            "transactions": topic(kafka::TRANSACTIONS, "What customers are to be told.", &["transaction"]),
            "deadAlerts": dead_letters(kafka::ALERTS),
            "deadTransactions": dead_letters(kafka::TRANSACTIONS),
            "control": topic(kafka::CONTROL, "Among Toteboard's programs.", &["control"]),
            "fleet": topic(kafka::FLEET, "All programs, about themselves.", &["report"]),
        },
        "operations": operations,
        "components": { "messages": components, "schemas": schemas },
    })
}

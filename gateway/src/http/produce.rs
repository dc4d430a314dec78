//! Produces records for programs: each request once, however often it is repeated.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::messages::{Begun, EmailAddress, MessageId, PhoneNumber, ProduceRequest, Produced, Transaction};
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
};
use http::StatusCode;
use kafka::{NewRecord, partition_of_key};
use odds::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::Program,
    error::{ApiError, MessageRefusals, Refusals},
};
use crate::{messages::Messages, session::AppState};

/// The largest request, in bytes. A record has to fit into Kafka's limit with its headers.
const MAX_REQUEST: usize = 256 * 1_024;
/// For how long a request counts as running: longer than a record may wait for Kafka.
const RUNS_FOR: Duration = Duration::from_secs(30);
const ID_LENGTH: std::ops::RangeInclusive<usize> = 1..=200;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(produce)).layer(DefaultBodyLimit::max(MAX_REQUEST))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProduceBody {
    /// Your own name for this request: 1 to 200 characters. The same request repeated within a day is carried out once.
    #[schema(min_length = 1, max_length = 200)]
    request_id: String,
    /// The topic.
    topic_name: String,
    /// What the message says.
    message_body: String,
    /// The id of the transaction: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    transaction_id: String,
    /// Where the e-mail goes. An e-mail address, a phone number or both are needed.
    email: Option<String>,
    /// Where the SMS goes, with the country's code, as +447700900123.
    phone: Option<String>,
    /// Your own id of the customer.
    customer_id: Option<String>,
    /// The record's key. Records of the same key are in the same partition.
    key: Option<String>,
    /// The partition. Without it, the key decides, or else partitions are taken in turn.
    #[schema(minimum = 0)]
    partition: Option<i32>,
}

/// Where the record is.
#[derive(Serialize, ToSchema)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// How long Kafka took to acknowledge it.
    latency_ms: u64,
}

impl Place {
    fn new(topic: String, produced: Produced) -> Self {
        let Produced { partition, offset, timestamp, latency_ms } = produced;
        Self { topic, partition, offset, timestamp, latency_ms }
    }
}

/// Produces a record, from which people get an e-mail, an SMS or both.
///
/// The response comes when all in-sync replicas have the record. After `503`, the result is unknown: repeat the request
/// with the same `request_id`. No second message is sent.
#[utoipa::path(
    post, path = "/api/v1/produce", operation_id = "produce", tag = "messages", request_body = ProduceBody,
    security(("token" = [])),
    responses((status = OK, body = Place, description = "The record is written."), Refusals, MessageRefusals),
)]
async fn produce(
    State(app): State<Arc<AppState>>,
    Program { user }: Program,
    Body(body): Body<ProduceBody>,
) -> Result<(StatusCode, Json<Place>), ApiError> {
    let messages = app.messages.as_ref().ok_or(ApiError::MessagesDisabled)?;
    if !messages.topics.contains(&body.topic_name) {
        return Err(ApiError::UnknownTopic);
    }
    let request = decide(messages, user.id.as_str(), body, (app.clock)()).await?;
    let now = (app.clock)();
    let until = now.plus_millis(RUNS_FOR.as_millis() as i64);
    let request = match messages.outbox.begin_request(&request, now, until).await? {
        Begun::New(request) => request,
        Begun::Running => return Err(ApiError::RequestRunning),
        Begun::Reused => return Err(ApiError::RequestIdReused),
        Begun::Done(produced) => return Ok((StatusCode::OK, Json(Place::new(request.topic, produced)))),
    };
    // Goes on if the client has gone, so that a repeated request finds its result.
    let topic = request.topic.clone();
    let app = app.clone();
    let produced = tokio::spawn(async move { write(&app, &request).await });
    let produced = produced.await.unwrap_or_else(|error| Err(ApiError::ResultUnknown(error.to_string())))?;
    Ok((StatusCode::OK, Json(Place::new(topic, produced))))
}

/// Checks a request, and decides what its record will be.
async fn decide(
    messages: &Messages,
    user: &str,
    body: ProduceBody,
    now: Timestamp,
) -> Result<ProduceRequest, ApiError> {
    let invalid = |field: &str, reason: String| ApiError::Invalid { field: field.into(), reason };
    for (field, id) in [("request_id", &body.request_id), ("transaction_id", &body.transaction_id)] {
        if !ID_LENGTH.contains(&id.chars().count()) || id.chars().any(char::is_control) {
            return Err(invalid(field, "has to have 1 to 200 printable characters".into()));
        }
    }
    if let Some(email) = &body.email {
        email.parse::<EmailAddress>().map_err(|error| invalid("email", error.to_string()))?;
    }
    if let Some(phone) = &body.phone {
        phone.parse::<PhoneNumber>().map_err(|error| invalid("phone", error.to_string()))?;
    }
    if body.email.is_none() && body.phone.is_none() {
        return Err(invalid("email", "give an email, a phone or both".into()));
    }
    let hash = hash_of(&body);
    let count = messages.producer.partitions(&body.topic_name).await;
    let count = count.map_err(|error| ApiError::NotReady(format!("Kafka can't be reached: {error}")))?;
    if count == 0 {
        return Err(ApiError::UnknownTopic);
    }
    let partition = match (body.partition, &body.key) {
        (Some(partition), _) if (0..count as i32).contains(&partition) => partition,
        (Some(_), _) => return Err(ApiError::PartitionOutOfRange { count }),
        (None, Some(key)) => partition_of_key(key.as_bytes(), count),
        (None, None) => messages.next_partition(count),
    };
    let transaction = Transaction {
        transaction_id: body.transaction_id,
        message_body: body.message_body,
        email: body.email,
        phone: body.phone,
        customer_id: body.customer_id,
    };
    Ok(ProduceRequest {
        user: user.to_owned(),
        message_id: message_id(user, &body.request_id, now),
        request_id: body.request_id,
        topic: body.topic_name,
        hash,
        partition,
        key: body.key,
        value: serde_json::to_string(&transaction).expect("plain values"),
        began_at: now,
    })
}

/// The same for equal requests, whatever the order of their fields.
fn hash_of(body: &ProduceBody) -> String {
    let fields = (
        (&body.topic_name, &body.message_body, &body.transaction_id),
        (&body.email, &body.phone, &body.customer_id, &body.key, &body.partition),
    );
    hex(&Sha256::digest(serde_json::to_vec(&fields).expect("plain values")))
}

/// An id that no other request has: the same request may be made again after a day.
fn message_id(user: &str, request_id: &str, now: Timestamp) -> MessageId {
    let name = format!("{user} {request_id} {}", now.as_millis());
    let id = format!("p-{}", &hex(&Sha256::digest(name))[..32]);
    id.parse().expect("letters and digits")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn write(app: &AppState, request: &ProduceRequest) -> Result<Produced, ApiError> {
    let messages = app.messages.as_ref().ok_or(ApiError::MessagesDisabled)?;
    let _place = messages.in_flight.acquire().await.map_err(|error| ApiError::ResultUnknown(error.to_string()))?;
    let (at, began) = ((app.clock)(), Instant::now());
    let record = NewRecord {
        topic: &request.topic,
        partition: request.partition,
        key: request.key.as_deref().map(str::as_bytes),
        value: request.value.as_bytes(),
        headers: &request.headers(),
        at,
    };
    let sent = messages.producer.send(&record).await;
    let placed = sent.map_err(|error| ApiError::ResultUnknown(error.to_string()))?;
    let produced = Produced {
        partition: placed.partition,
        offset: placed.offset,
        timestamp: at,
        latency_ms: began.elapsed().as_millis() as u64,
    };
    if let Err(error) = messages.outbox.finish_request(&request.user, &request.request_id, &produced).await {
        // A repeated request writes another record, with the same message id.
        warn!(%error, "the result of a request can't be stored");
    }
    Ok(produced)
}

//! Dead letters, and how they are produced again.

use std::sync::Arc;

use accounts::Action;
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use kafka::{ALERTS, DeadLetter, DeadLetterError, Replayed, TRANSACTIONS, dead_letters_of, newest_dead_letters};
use messages::MESSAGE_ID;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Acting, Operator};
use crate::{
    http::{
        body::Body,
        error::{ApiError, Refusals},
        query,
    },
    session::AppState,
};

/// How many are listed.
const LISTED: usize = 200;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The dead-letter topic, as transactions.dead.
    topic: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// The newest, the newest first.
    letters: Vec<Letter>,
}

/// A record that could not be handled.
#[derive(Serialize, ToSchema)]
struct Letter {
    partition: i32,
    offset: i64,
    /// Why it could not be handled.
    reason: String,
    /// Where it was, as topic/partition/offset.
    origin: String,
    died_at: String,
    /// The beginning of its value.
    value: String,
}

impl From<DeadLetter> for Letter {
    fn from(DeadLetter { partition, offset, reason, origin, died_at, value }: DeadLetter) -> Self {
        Self { partition, offset, reason, origin, died_at, value }
    }
}

impl From<DeadLetterError> for ApiError {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::NoTopic(topic) => Self::NotFound(format!("there is no topic {topic}")),
            other => Self::Kafka(other.to_string()),
        }
    }
}

/// A topic of dead letters.
fn known(topic: &str) -> Result<&str, ApiError> {
    let is_known = [ALERTS, TRANSACTIONS].iter().any(|of| dead_letters_of(of) == topic);
    is_known.then_some(topic).ok_or_else(|| ApiError::NotFound(format!("{topic} is no topic of dead letters")))
}

/// Lists the newest dead letters of a topic.
#[utoipa::path(
    get, path = "/api/operator/dead-letters", operation_id = "list_dead_letters", tag = "operator", params(Wanted),
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Listed, description = "At most 200."), Refusals),
)]
pub(super) async fn list(
    State(app): State<Arc<AppState>>,
    _: Operator,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Listed>, ApiError> {
    let Wanted { topic } = query::read(wanted)?;
    let letters = newest_dead_letters(&app.kafka, known(&topic)?, LISTED).await?;
    Ok(Json(Listed { letters: letters.into_iter().map(Letter::from).collect() }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    /// The dead-letter topic, as transactions.dead.
    topic: String,
    /// Only the record at this partition and offset, not all.
    only: Option<Place>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Place {
    partition: i32,
    offset: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    produced: usize,
    /// Records that have no value, or don't say where they came from.
    refused: usize,
}

/// Produces dead letters again, on the topics that they came from. Each keeps its id, so no message is sent twice.
#[utoipa::path(
    post, path = "/api/operator/dead-letters/replay", operation_id = "replay_dead_letters", tag = "operator",
    request_body = Again, security(("session" = []), ("token" = [])),
    responses((status = OK, body = Done, description = "How many were produced again."), Refusals),
)]
pub(super) async fn replay(
    State(app): State<Arc<AppState>>,
    Acting { actor, .. }: Acting,
    Body(Again { topic, only }): Body<Again>,
) -> Result<Json<Done>, ApiError> {
    let only = only.map(|place| (place.partition, place.offset));
    let about = only.map_or_else(|| topic.clone(), |(partition, offset)| format!("{topic}/{partition}/{offset}"));
    known(&topic)?;
    let subject = about.clone();
    // It goes on if the request ends before.
    let replaying = tokio::spawn(async move {
        let now = (app.clock)();
        let replayed = async { Ok(kafka::replay_dead_letters(&app.kafka, &topic, only, MESSAGE_ID, now).await?) };
        app.accounts.audited::<_, ApiError>(&actor, Action::ReplayDeadLetters, &subject, replayed).await
    });
    let replayed = replaying.await.map_err(|error| ApiError::Kafka(error.to_string()))?;
    let Replayed { produced, refused } = replayed?;
    if only.is_some() && produced + refused == 0 {
        return Err(ApiError::NotFound(format!("there is no record {about}")));
    }
    Ok(Json(Done { produced, refused }))
}

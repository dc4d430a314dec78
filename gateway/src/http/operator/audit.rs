//! The audit log.

use std::sync::Arc;

use accounts::AuditEntry;
use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use http::header;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Operator;
use crate::{
    http::{
        error::{ApiError, Refusals},
        query,
    },
    operator::audit_file::{HEAD, lines},
    session::AppState,
};

const DEFAULT: usize = 50;
const MOST: usize = 500;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The id of an entry: only those before it.
    before: Option<String>,
    /// At most this many, up to 500. Default: 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Audit {
    /// The newest first.
    #[schema(value_type = Vec<Entry>)]
    entries: Vec<AuditEntry>,
}

/// What an operator was about to do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes an entry")]
struct Entry {
    id: String,
    #[schema(format = DateTime)]
    at: String,
    /// The operator's name, or `console`: somebody with access to the store itself.
    by: String,
    /// The operator's network address, or the console's host.
    address: String,
    agent: String,
    action: String,
    /// The account or thing that it was done to.
    about: String,
    /// Why it failed. A failure is an entry of its own, after that of the attempt.
    failure: String,
}

/// Returns what operators did.
#[utoipa::path(
    get, path = "/api/operator/audit", tag = "operator", params(Wanted), security(("session" = []), ("token" = [])),
    responses((status = OK, body = Audit, description = "The newest entries."), Refusals),
)]
pub(super) async fn audit(
    State(app): State<Arc<AppState>>,
    _: Operator,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Audit>, ApiError> {
    let Wanted { before, limit } = query::read(wanted)?;
    let limit = query::limit(limit, DEFAULT, MOST)?;
    Ok(Json(Audit { entries: app.accounts.actions(before.as_deref(), limit).await? }))
}

/// Returns all that operators did as a CSV file, the newest first.
#[utoipa::path(
    get, path = "/api/operator/audit.csv", tag = "operator", security(("session" = []), ("token" = [])),
    responses((status = OK, body = String, content_type = "text/csv", description = "All entries."), Refusals),
)]
pub(super) async fn audit_csv(State(app): State<Arc<AppState>>, _: Operator) -> Result<Response, ApiError> {
    // The first page decides whether there is an answer at all.
    let first = app.accounts.actions(None, MOST).await?;
    let pages = stream::unfold(Some((first, true)), move |page| {
        let app = app.clone();
        async move {
            let (entries, is_first) = page?;
            let head = if is_first { HEAD } else { "" };
            let text = lines(&entries).map(|lines| Bytes::from([head.as_bytes(), &lines].concat()));
            let Some(last) = entries.last().filter(|_| entries.len() == MOST) else { return Some((text, None)) };
            match app.accounts.actions(Some(&last.id), MOST).await {
                Ok(next) => Some((text, Some((next, false)))),
                // The file ends in the middle, which the client notices.
                Err(error) => Some((text.and(Err(std::io::Error::other(error))), None)),
            }
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/csv"), (header::CONTENT_DISPOSITION, "attachment; filename=audit.csv")];
    Ok((headers, Body::from_stream(pages)).into_response())
}

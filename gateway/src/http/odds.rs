//! Serves whole boards in the format of a `snapshot`. A board is serialized and compressed once until it changes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use odds::{Feed, Filter, Region};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    error::{ApiError, Refusals},
    schemas,
    subscriptions::RegionKey,
};
use crate::{
    gzip::{COMPRESS_FROM, compress, takes_gzip},
    region::{CachedSnapshot, RegionHandle},
    session::AppState,
};

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(regions)).routes(routes!(board))
}

/// Returns the `feed` of each region: how fresh its prices are.
#[utoipa::path(
    get, path = "/api/regions", tag = "odds", security(("session" = []), ("token" = [])),
    responses((status = OK, body = Vec<schemas::Feed>, description = "One for each region."), Refusals),
)]
async fn regions(State(app): State<Arc<AppState>>, _: Caller) -> Json<Vec<Feed>> {
    Json(app.regions.iter().map(RegionHandle::feed).collect())
}

/// Returns a region's board in the format of a `snapshot`. A Socket.IO client can resume from its cursor, which is also
/// the ETag.
#[utoipa::path(
    get, path = "/api/odds/{region}", tag = "odds", security(("session" = []), ("token" = [])),
    params(
        ("region" = RegionKey, Path),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("event" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
    ),
    responses(
        (status = OK, body = schemas::Snapshot, description = "The whole board."),
        (status = NOT_MODIFIED, description = "The board has not changed since the ETag."),
        Refusals,
    ),
)]
async fn board(
    State(app): State<Arc<AppState>>,
    _: Caller,
    Path(region): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let region: Region = region.parse()?;
    let filter = filter(&query, "sport, event, bookmaker or market")?;
    let not_ready = || ApiError::NotReady(format!("the board of {region} is being read"));
    let cached = app.regions[region as usize].board(filter).await.ok_or_else(not_ready)?;

    let tag = format!("W/\"{}\"", cached.cursor);
    let mut answer = if headers.get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if cached.json.len() >= COMPRESS_FROM && takes_gzip(&headers) {
        let body = gzip(cached).await;
        ([(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], cached.json.clone()).into_response()
    };
    let head = answer.headers_mut();
    head.insert(header::ETAG, tag.try_into().expect("a cursor is ASCII"));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Ok(answer)
}

/// Reads a filter. `known` names the parameters of the request, for whoever gives another.
pub(super) fn filter(query: &[(String, String)], known: &str) -> Result<Filter, ApiError> {
    let mut lists = json!({});
    for (name, value) in query {
        let (field, list) = match name.as_str() {
            "sport" => ("sport", "sports"),
            "event" => ("event", "events"),
            "bookmaker" => ("bookmaker", "bookmakers"),
            "market" => ("market", "markets"),
            _ => {
                let reason = format!("unknown parameter {name:?}; use {known}");
                return Err(ApiError::Invalid { field: "query".into(), reason });
            }
        };
        let single = Filter::from_value(&json!({ list: [value] }));
        single.map_err(|error| ApiError::Invalid { field: field.into(), reason: error.to_string() })?;
        match &mut lists[list] {
            Value::Array(names) => names.push(json!(value)),
            none => *none = json!([value]),
        }
    }
    Filter::from_value(&lists).map_err(|error| ApiError::Invalid { field: "query".into(), reason: error.to_string() })
}

fn names(header: &HeaderValue, tag: &str) -> bool {
    let opaque = tag.trim_start_matches("W/");
    header.to_str().is_ok_and(|tags| {
        tags.split(',').any(|known| matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == opaque)
    })
}

/// Compresses a board, once, on a blocking thread: the runtime's threads deliver the stream.
async fn gzip(cached: Arc<CachedSnapshot>) -> Bytes {
    if let Some(done) = cached.gzip.get() {
        return done.clone();
    }
    let compressed = move || cached.gzip.get_or_init(|| compress(&cached.json).into()).clone();
    tokio::task::spawn_blocking(compressed).await.expect("compression does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_recognised() {
        let header = HeaderValue::from_static("W/\"a\", \"b\"");
        assert!(names(&header, "W/\"a\"") && names(&header, "W/\"b\"") && !names(&header, "W/\"c\""));
    }

    #[test]
    fn parameters_repeat_and_wrong_ones_are_named() {
        let pairs = |text: &[(&str, &str)]| -> Vec<(String, String)> {
            text.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let wanted = json!({ "sports": ["a", "b"], "markets": ["h2h"] });
        let read = filter(&pairs(&[("sport", "a"), ("sport", "b"), ("market", "h2h")]), "sport").unwrap();
        assert_eq!(read, Filter::from_value(&wanted).unwrap());
        for (name, value, field) in [("sports", "a", "query"), ("sport", "a b", "sport")] {
            let error = filter(&pairs(&[(name, value)]), "sport").unwrap_err();
            assert!(matches!(error, ApiError::Invalid { field: ref wrong, .. } if wrong == field), "{error}");
        }
    }
}

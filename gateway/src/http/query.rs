//! Reads the queries of requests.

use axum::extract::{Query, rejection::QueryRejection};

use super::error::ApiError;

/// The query, if it can be read.
pub(super) fn read<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let unreadable = |error: QueryRejection| ApiError::Invalid { field: "query".into(), reason: error.body_text() };
    query.map(|Query(query)| query).map_err(unreadable)
}

/// How many are wanted, from 1 to `most`, or else `usual`.
pub(super) fn limit(wanted: Option<usize>, usual: usize, most: usize) -> Result<usize, ApiError> {
    let limit = wanted.unwrap_or(usual);
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::Invalid { field: "limit".into(), reason: format!("expected 1 to {most}") })
    }
}

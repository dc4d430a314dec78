//! The code of the page's view for operators. It is not among the page's files, which everybody gets.

use std::sync::LazyLock;

use accounts::User;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::access::Operator;
use crate::gzip;

pub(super) const PATH: &str = "/api/operator/screen.js";

/// A view of the page that only some accounts have.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct View {
    /// Names the view: in its address, and as the event of the socket that has what it shows.
    name: &'static str,
    title: &'static str,
    /// The path of its code.
    code: &'static str,
    /// What the socket's `auth` has in addition.
    #[schema(value_type = Object)]
    auth: Value,
}

/// The views that this user's page has in addition to those that all have.
pub(in crate::http) fn views_of(user: &User) -> Vec<View> {
    let operator = || View { name: "operator", title: "Operating", code: PATH, auth: json!({ "operator": true }) };
    user.is_operator.then(operator).into_iter().collect()
}

/// The code, compressed.
static CODE: LazyLock<Vec<u8>> = LazyLock::new(|| gzip::compress(include_bytes!("../../../../web/operator/screen.js")));

pub(super) async fn screen(_: Operator) -> Response {
    // Every browser takes it, and nobody else asks.
    let headers = [
        (header::CONTENT_TYPE, "text/javascript"),
        (header::CONTENT_ENCODING, "gzip"),
        // Others who use this browser don't get it.
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, CODE.as_slice()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_is_small() {
        assert!(CODE.len() <= 11_000, "{} bytes", CODE.len());
    }
}

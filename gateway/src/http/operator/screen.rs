//! The code of the page's view for operators. It is not among the page's files, which everybody gets.

use std::sync::Arc;

use accounts::User;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use tower_http::services::ServeFile;
use utoipa::ToSchema;

use super::access::Operator;
use crate::{http::no_such_path, page, session::AppState};

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

pub(super) async fn screen(State(app): State<Arc<AppState>>, _: Operator, request: Request) -> Response {
    let Some(folder) = &app.page else { return no_such_path().into_response() };
    let mut file = ServeFile::new(page::operator_code(folder)).precompressed_br();
    match file.try_call(request).await {
        Ok(found) if found.status() != StatusCode::NOT_FOUND => {
            let mut found = found.into_response();
            // Others who use this browser don't get it.
            found.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
            found
        }
        _ => no_such_path().into_response(),
    }
}

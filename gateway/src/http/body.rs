//! Reads request bodies: JSON of exactly the expected shape.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A request's JSON body. Other content types, invalid JSON and unexpected fields are refused.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = "the body must be JSON, with the header content-type: application/json".into();
            return Err(ApiError::BadBody { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message });
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| ApiError::BadBody {
            status: rejection.status(),
            message: rejection.body_text().to_lowercase(),
        })?;
        read(&bytes).map(Self)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let field = if field == "." { "body".to_owned() } else { field };
            // The field's path is enough; line and column don't help a client that generates its JSON.
            let reason = inner.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            return ApiError::Invalid { field, reason };
        }
        ApiError::BadBody { status: StatusCode::BAD_REQUEST, message: format!("not JSON: {inner}") }
    })?;
    json.end().map_err(|error| ApiError::BadBody {
        status: StatusCode::BAD_REQUEST,
        message: format!("not JSON: {error}"),
    })?;
    // serde reads the fields of a structure from a list, too.
    match bytes.trim_ascii_start().first() {
        Some(b'{') => Ok(value),
        _ => Err(ApiError::Invalid { field: "body".into(), reason: "expected an object".into() }),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        name: String,
    }

    fn refused(text: &str) -> (u16, String) {
        match read::<Example>(text.as_bytes()).map(|example| example.name).unwrap_err() {
            ApiError::Invalid { field, .. } => (422, field),
            ApiError::BadBody { status, .. } => (status.as_u16(), String::new()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(read::<Example>(br#"{"name":"a"}"#).unwrap().name, "a");
        assert_eq!(refused(r#"{"name":{"$ne":null}}"#), (422, "name".into()));
        assert_eq!(refused(r#"{"name":"a","admin":true}"#), (422, "admin".into()));
        assert_eq!(refused("{}"), (422, "body".into()));
        assert_eq!(refused("[]"), (422, "body".into()));
        assert_eq!(refused(r#" ["a"]"#), (422, "body".into()));
        for text in ["", "{", "name=a", r#"{"name":"a"}}"#] {
            assert_eq!(refused(text).0, 400, "{text}");
        }
    }
}

//! Replies of the admin API.
//!
//! In: a status and JSON, or an error's word and sentence. Out: a response. Errors have the shape of
//! the proxy's own: `{"error": word, "message": sentence}`.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// JSON, that no cache keeps: it is out of date as it is written.
pub(super) fn reply_json(status: StatusCode, value: &Value) -> Response {
    reply_text(status, format!("{value}\n"))
}

/// The same, of JSON that is text already.
pub(super) fn reply_text(status: StatusCode, json: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, json).into_response()
}

/// An error: a stable word for programs, a sentence for people.
pub(super) fn problem(status: StatusCode, error: &str, message: &str) -> Response {
    reply_json(status, &json!({"error": error, "message": message}))
}

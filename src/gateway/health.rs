//! `/healthz`: the process serves. `/readyz`: the container behind it does.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::reply;
use crate::error::{Error, Result};

/// Always well: who can answer, lives.
pub(super) fn health() -> HttpResponse {
    reply::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
}

/// Whether requests can be served now.
pub(super) fn ready(ready: bool) -> Result<HttpResponse> {
    if !ready {
        return Err(Error::unavailable(
            "the container takes no requests now: it is starting, drained or stopping; a drained one must be started anew",
        ));
    }
    Ok(reply::json(StatusCode::OK, &serde_json::json!({"status": "ready"})))
}

//! What the door says of itself: `/openapi.json` for programs, `/api` for people.
//!
//! Both show the one table in `operations.rs`. It lists only what works; tests hold it against the router,
//! in both directions.

mod document;
mod operations;
mod page;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;

use super::reply;

pub(super) use page::page;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| reply::to_json(&document::document()));

/// `GET /openapi.json`.
pub(super) fn openapi() -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(DOCUMENT.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

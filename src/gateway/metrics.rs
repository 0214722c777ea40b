//! `GET /metrics`: the page of all metrics, made anew for each request.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::dev::RequestHead;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, StatusCode};

use super::objects::body;
use super::path;
use super::server::Shared;
use crate::error::{Error, Result};
use crate::telemetry::metrics::CONTENT_TYPE as OPEN_METRICS;

/// The page, or its head.
pub(super) async fn metrics(door: &Shared, head: &RequestHead) -> Result<HttpResponse> {
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let core = Arc::clone(&door.core);
    // Some numbers are read from the store, which may wait for the disk.
    let page = tokio::task::spawn_blocking(move || core.metrics()).await;
    let page = page.map_err(|error| Error::internal("the metrics cannot be read").because(error))?;
    let body = if head.method == Method::HEAD { body::absent(page.len() as u64) } else { BoxBody::new(page) };
    let mut response = HttpResponse::with_body(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

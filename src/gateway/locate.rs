//! `GET /v1/locate/{collection}/{key}`: every copy of an object, at whatever site.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::deadline::within;
use super::server::Shared;
use super::{headers, path, reply};
use crate::actors::{Copy, Locate};
use crate::error::Result;
use crate::model::Address;

/// Tells where an object is.
pub(super) async fn locate(door: &Shared, head: &RequestHead, address: Address) -> Result<HttpResponse> {
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let session = headers::session(&head.headers)?;
    let locate = Locate { address: address.clone(), session, deadline };
    let found = within(deadline, door.core.locate(locate)).await?;
    let versions = found.versions.iter().map(|(version, copies)| {
        let copies: Vec<Value> = copies.iter().map(|copy| represent(door, copy)).collect();
        json!({ "version": version.to_string(), "copies": copies })
    });
    let versions: Vec<Value> = versions.collect();
    let mut response = reply::json(StatusCode::OK, &json!({ "address": address.as_str(), "versions": versions }));
    if !found.silent.is_empty() {
        reply::set(response.headers_mut(), headers::MESH_UNASKED.clone(), found.silent.join(", ").into_bytes());
    }
    Ok(response)
}

fn represent(door: &Shared, copy: &Copy) -> Value {
    json!({
        "site": copy.site.as_deref().unwrap_or(&door.options.site),
        "container": copy.container.as_deref().unwrap_or(&door.options.container),
        "level": copy.level.name(),
        "state": copy.state.name(),
        "cost_ms": copy.cost_ns.map(cost),
    })
}

/// Milliseconds, to the microsecond; what is here costs nothing.
fn cost(ns: u64) -> Value {
    if ns == 0 { json!(0) } else { json!((ns as f64 / 1e3).round() / 1e3) }
}

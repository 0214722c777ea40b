//! `GET /v1/objects/{collection}?prefix=&after=&limit=`: a page of keys in byte order.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use serde::Serialize;

use super::represent::CONTENT_TYPE_DEFAULT;
use crate::actors::{List, Listed};
use crate::error::{Error, Result};
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{date, headers, path, reply};
use crate::limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};
use crate::model::Name;

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<Item<'a>>,
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct Item<'a> {
    key: &'a str,
    version: String,
    size: u64,
    digest: String,
    #[serde(rename = "type")]
    content_type: &'a str,
    modified: String,
    level: &'static str,
}

/// Lists a collection.
pub(in crate::gateway) async fn list(door: &Shared, head: &RequestHead, collection: Name) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let mut list = List {
        collection,
        prefix: String::new(),
        after: None,
        limit: LIST_LIMIT_DEFAULT,
        session: headers::session(&head.headers)?,
        deadline,
    };
    path::query(head.uri.query(), |name, value| {
        match name {
            "prefix" => list.prefix = value,
            // `after=` is what a form sends for a field left empty: from the start.
            "after" => list.after = Some(value).filter(|after| !after.is_empty()),
            "limit" => list.limit = limit(&value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let page = within(deadline, door.core.list(list)).await?;
    let items = page.items.iter().map(item).collect();
    let mut response = reply::json(StatusCode::OK, &Page { items, next: page.next.as_deref() });
    if !page.silent.is_empty() {
        reply::set(response.headers_mut(), headers::MESH_UNASKED.clone(), page.silent.join(", ").into_bytes());
    }
    if page.incomplete {
        // What is not in the list may have been lost, as a read of it would say.
        response.headers_mut().insert(headers::MESH_INCOMPLETE.clone(), HeaderValue::from_static("salvaged"));
    }
    Ok(response)
}

fn item(listed: &Listed) -> Item<'_> {
    let manifest = &listed.found.manifest;
    Item {
        key: &listed.key,
        version: manifest.version.to_string(),
        size: manifest.size,
        digest: manifest.digest.to_string(),
        content_type: manifest.content_type.as_deref().unwrap_or(CONTENT_TYPE_DEFAULT),
        modified: date::rfc3339(manifest.modified_ms),
        level: listed.found.level.name(),
    }
}

fn limit(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(limit @ 1..=LIST_LIMIT_MAX) => Ok(limit),
        _ => Err(Error::invalid("a limit is a number from 1 to 1000").with("limit", text.escape_default())),
    }
}

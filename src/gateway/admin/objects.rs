//! `GET /v1/admin/tiers/{level}/objects?prefix=&after=&limit=`: what a level holds, in the order of the
//! bytes of collection and key.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use serde::Serialize;

use super::moment;
use crate::error::{Error, Result};
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{path, reply};
use crate::limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};
use crate::model::{Address, Level};

/// Which page of a level is asked for.
#[derive(Clone, Debug)]
pub struct ObjectsQuery {
    /// What addresses start with.
    pub prefix: String,
    /// Only those behind this one.
    pub after: Option<Address>,
    /// How many at most.
    pub limit: usize,
}

/// A page of a level.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectsPage {
    /// In order.
    pub items: Vec<Entry>,
    /// Ask with `after` set to this for the rest; `null` when this was the last page.
    pub next: Option<String>,
}

/// An object as a level holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// `collection/key`.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Plain bytes.
    pub size: u64,
    /// Bytes it takes at this level.
    pub bytes: u64,
    /// The class it was acknowledged with.
    pub durability: &'static str,
    /// Whether the only copy is here and may not stay here alone.
    pub dirty: bool,
    /// When it was pushed.
    #[serde(serialize_with = "moment", rename = "modified")]
    pub modified_ms: u64,
}

pub(super) async fn show(door: &Shared, head: &RequestHead, level: Level) -> Result<HttpResponse> {
    let mut query = ObjectsQuery { prefix: String::new(), after: None, limit: LIST_LIMIT_DEFAULT };
    path::query(head.uri.query(), |name, value| {
        match name {
            "prefix" => query.prefix = value,
            "after" if value.is_empty() => query.after = None,
            "after" => query.after = Some(value.parse()?),
            "limit" => query.limit = limit(&value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let page = within(door.options.request_deadline, door.admin.objects(level, query)).await?;
    Ok(reply::json(StatusCode::OK, &page))
}

fn limit(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(limit @ 1..=LIST_LIMIT_MAX) => Ok(limit),
        _ => Err(Error::invalid("a limit is a number from 1 to 1000").with("limit", text.escape_default())),
    }
}

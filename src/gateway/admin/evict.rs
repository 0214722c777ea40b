//! `POST /v1/admin/evict`: entries leave a level, as far as the rules allow.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{body, level_of};
use crate::error::{Error, Result};
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, reply};
use crate::model::{Address, Level, Name};

/// The body as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    level: String,
    collection: Option<Name>,
    key: Option<String>,
    bytes: Option<u64>,
}

/// What is to leave.
#[derive(Clone, Debug)]
pub struct Evictable {
    /// From which level.
    pub level: Level,
    /// Only from this collection.
    pub collection: Option<Name>,
    /// Only this object.
    pub address: Option<Address>,
    /// Stop once so many bytes are free.
    pub bytes: Option<u64>,
}

/// What left.
#[derive(Clone, Debug, Serialize)]
pub struct EvictReport {
    /// From which level.
    pub level: &'static str,
    /// Objects.
    pub objects: u64,
    /// Bytes that are free now.
    pub bytes: u64,
}

pub(super) async fn evict(door: &Shared, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let evictable = checked(body::read(door, payload).await?)?;
    let report = within(deadline, door.admin.evict(evictable, deadline)).await?;
    Ok(reply::json(StatusCode::OK, &report))
}

fn checked(Asked { level, collection, key, bytes }: Asked) -> Result<Evictable> {
    let address = match (&collection, key) {
        (Some(collection), Some(key)) => Some(Address::new(collection, &key)?),
        (None, Some(_)) => return Err(Error::invalid("a key is named together with its collection")),
        (_, None) => None,
    };
    if bytes == Some(0) || bytes.is_some() && address.is_some() {
        return Err(Error::invalid("bytes is a number above 0, and stands without a key"));
    }
    Ok(Evictable { level: level_of(&level)?, collection, address, bytes })
}

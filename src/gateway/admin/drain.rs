//! `POST /v1/admin/drain`: the container takes no more changes until it is started anew, and writes out
//! what memory alone holds. `/readyz` answers 503 from then on; reads go on. Where it is to go for good, it hands over
//! what it keeps to the other containers of its site.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body;
use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, reply};

/// The body as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Whether the other containers of the site are to keep what this one keeps.
    #[serde(default)]
    hand_over: bool,
}

/// What was written out.
#[derive(Clone, Debug, Serialize)]
pub struct DrainReport {
    /// Objects that memory alone held.
    pub objects: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// What the others keep now, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handed_over: Option<HandedOverReport>,
}

/// How far a container has come that hands over what it keeps. It goes on after the answer; ask again to see.
#[derive(Clone, Debug, Serialize)]
pub struct HandedOverReport {
    /// Objects that others keep now.
    pub objects: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Objects that nobody has taken so far.
    pub left: u64,
    /// Why not, of one of them.
    pub last_error: Option<String>,
    /// Whether it has ended: with nothing left, or since nobody takes the rest.
    pub ended: bool,
}

pub(super) async fn drain(door: &Shared, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let Asked { hand_over } = body::read(door, payload).await?;
    let report = within(deadline, door.admin.drain(deadline, hand_over)).await?;
    Ok(reply::json(StatusCode::OK, &report))
}

//! `POST /v1/admin/drain`: the container takes no more changes until it is started anew, and writes out
//! what memory alone holds. `/readyz` answers 503 from then on; reads go on.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body;
use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, reply};

/// The body as it is sent: nothing can be chosen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {}

/// What was written out.
#[derive(Clone, Debug, Serialize)]
pub struct DrainReport {
    /// Objects that memory alone held.
    pub objects: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

pub(super) async fn drain(door: &Shared, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let Asked {} = body::read(door, payload).await?;
    let report = within(deadline, door.admin.drain(deadline)).await?;
    Ok(reply::json(StatusCode::OK, &report))
}

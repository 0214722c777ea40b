//! `GET` and `POST /v1/admin/repair`: what a salvage of a damaged store lost; a POST accepts it, and what is
//! not found does not exist from then on.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body;
use super::scrub::moment_or_null;
use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::reply;
use crate::gateway::server::Shared;

/// The body as it is sent: nothing can be chosen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {}

/// What the last salvage came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RepairReport {
    /// Whether what is not found may have been lost, and says so.
    pub incomplete: bool,
    /// When the store was salvaged; `null` when it never was.
    #[serde(serialize_with = "moment_or_null", rename = "salvaged")]
    pub salvaged_ms: Option<u64>,
    /// What was wrong with it.
    pub why: Option<String>,
    /// The file in the data folder that holds the damaged store.
    pub kept: Option<String>,
    /// Records that could be read.
    pub rows: u64,
    /// Pages that could not.
    pub lost_pages: u64,
    /// Records that were seen and could not be read; those on lost pages cannot be counted.
    pub lost_rows: u64,
    /// The tables that lost something.
    pub tables: Vec<String>,
    /// Addresses known to have held something that is lost; there may be others.
    pub missing: Vec<String>,
    /// Frames without an object that were let go with the losses.
    pub frames_let_go: u64,
}

pub(super) async fn repair(door: &Shared, payload: Payload, accept: bool) -> Result<HttpResponse> {
    if accept {
        let Asked {} = body::read(door, payload).await?;
    }
    let report = within(door.options.request_deadline, door.admin.repair(accept)).await?;
    Ok(reply::json(StatusCode::OK, &report))
}

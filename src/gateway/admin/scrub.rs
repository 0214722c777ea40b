//! `GET` and `POST /v1/admin/scrub`: how far the reading of every sealed byte is, what it found before, and
//! what is in quarantine; a POST begins a round unless one is under way.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};

use super::{body, moment};
use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::reply;
use crate::gateway::server::Shared;

/// The body as it is sent: nothing can be chosen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {}

/// How the scrub is doing.
#[derive(Clone, Debug, Serialize)]
pub struct ScrubReport {
    /// Whether a round is under way.
    pub running: bool,
    /// The round under way.
    pub round: Option<RoundReport>,
    /// Versions of objects that a whole round has to check at present.
    pub objects: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Bytes read in a second.
    pub bytes_per_s: u64,
    /// Rounds that ended, the last one first.
    pub history: Vec<RoundReport>,
    /// Copies in quarantine.
    pub quarantined: u64,
    /// Those by name; when there are very many, not all.
    pub quarantine: Vec<QuarantineReport>,
}

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct RoundReport {
    /// When it began.
    #[serde(serialize_with = "moment", rename = "started")]
    pub started_ms: u64,
    /// When it ended.
    #[serde(serialize_with = "moment_or_null", rename = "ended")]
    pub ended_ms: Option<u64>,
    /// Whether somebody asked for it.
    pub asked: bool,
    /// Versions of objects that were checked.
    pub objects: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Copies and records that failed their check.
    pub damaged: u64,
    /// Of those, how many were replaced from another copy.
    pub healed: u64,
    /// Copies that could not be checked.
    pub unreadable: u64,
    /// Why the last of those could not be.
    pub last_error: Option<String>,
}

/// One copy in quarantine.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineReport {
    /// The object.
    pub address: String,
    /// The version that is damaged.
    pub version: String,
    /// Its frame, as named in the folder `quarantine` unless it rests in the store.
    pub frame: String,
    /// What was wrong.
    pub why: String,
    /// When it was found.
    #[serde(serialize_with = "moment", rename = "at")]
    pub at_ms: u64,
    /// Whether the object has no newer version.
    pub newest: bool,
}

pub(super) fn moment_or_null<S: Serializer>(ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => moment(ms, serializer),
        None => serializer.serialize_none(),
    }
}

pub(super) async fn scrub(door: &Shared, payload: Payload, start: bool) -> Result<HttpResponse> {
    if start {
        let Asked {} = body::read(door, payload).await?;
    }
    let report = within(door.options.request_deadline, door.admin.scrub(start)).await?;
    Ok(reply::json(if start { StatusCode::ACCEPTED } else { StatusCode::OK }, &report))
}

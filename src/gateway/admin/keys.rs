//! `/v1/admin/keys`: which keys the keyring holds, a new one, another one that wraps. A key itself is never
//! told: what is written here are names.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::scrub::moment_or_null;
use super::{body, moment};
use crate::error::Result;
use crate::gateway::audit::Note;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, reply};
use crate::model::KeyId;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// A new key, which wraps nothing yet.
    Create,
    /// Another key wraps: this one, or a new one.
    Rotate(Option<KeyId>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    to: Option<String>,
}

/// The keyring by its names.
#[derive(Clone, Debug, Serialize)]
pub struct KeysReport {
    /// Every key, in the order in which they came.
    pub keys: Vec<KeyReport>,
    /// How far data keys are wrapped anew; `null` before the first time.
    pub rewrap: Option<RewrapReport>,
}

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyReport {
    /// Its name.
    pub id: String,
    /// `active` for the one that wraps, `kept` for those that still unwrap.
    pub state: &'static str,
}

/// How far data keys are wrapped anew.
#[derive(Clone, Debug, Serialize)]
pub struct RewrapReport {
    /// The key that wraps them.
    pub key: String,
    /// Whether it is under way.
    pub running: bool,
    /// Data keys that were wrapped anew.
    pub rewrapped: u64,
    /// Those that could not be.
    pub failed: u64,
    /// Why the last of those could not be.
    pub last_error: Option<String>,
    /// When it began.
    #[serde(serialize_with = "moment", rename = "started")]
    pub started_ms: u64,
    /// When it ended.
    #[serde(serialize_with = "moment_or_null", rename = "ended")]
    pub ended_ms: Option<u64>,
}

pub(super) async fn show(door: &Shared) -> Result<HttpResponse> {
    let report = within(door.options.request_deadline, door.admin.keys()).await?;
    Ok(reply::json(StatusCode::OK, &report))
}

pub(super) async fn create(door: &Shared, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    let NewKey {} = body::read(door, payload).await?;
    change(door, head, KeyChange::Create, StatusCode::CREATED).await
}

pub(super) async fn rotate(door: &Shared, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    let Rotate { to } = body::read(door, payload).await?;
    let to = to.map(|id| id.parse()).transpose()?;
    change(door, head, KeyChange::Rotate(to), StatusCode::ACCEPTED).await
}

async fn change(door: &Shared, head: &RequestHead, change: KeyChange, status: StatusCode) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let report = within(deadline, door.admin.change_keys(change)).await?;
    let ids: Vec<String> = report.keys.iter().map(|key| format!("{} {}", key.state, key.id)).collect();
    let mut response = reply::json(status, &report);
    response.extensions_mut().insert(Note(ids.join(", ")));
    Ok(response)
}

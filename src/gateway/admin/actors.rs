//! `GET /v1/admin/actors`: how each actor is doing.

use actix_web::HttpResponse;
use serde::Serialize;

use super::{listing, moment};

/// One actor.
#[derive(Clone, Debug, Serialize)]
pub struct ActorReport {
    /// Its name.
    pub name: &'static str,
    /// Messages that wait or are being worked on.
    pub queued: usize,
    /// The most there can be.
    pub bound: usize,
    /// How often it died and was started again.
    pub restarts: u64,
    /// What it last panicked with; `null` when it never did.
    pub last_error: Option<ErrorReport>,
}

/// A panic of an actor.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorReport {
    /// Its first line, shortened.
    pub text: String,
    /// When it was.
    #[serde(serialize_with = "moment", rename = "at")]
    pub at_ms: u64,
}

pub(super) fn show(actors: &[ActorReport]) -> HttpResponse {
    listing("actors", actors)
}

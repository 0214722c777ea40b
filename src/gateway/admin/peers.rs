//! `GET /v1/admin/peers`: how it stands with the other containers of the site.

use actix_web::HttpResponse;
use serde::Serialize;

use super::listing;

/// One other container.
#[derive(Clone, Debug, Serialize)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// Its identity: 16 hex digits.
    pub id: String,
    /// Its site.
    pub site: String,
    /// Whether it can be asked.
    pub alive: bool,
    /// Milliseconds since it was heard.
    pub heard_ms_ago: u64,
    /// Changes that it had when it was heard last, and this container lacks.
    pub ahead: u64,
    /// Changes that are here, and that it lacked when it was heard last.
    pub behind: u64,
    /// Requests that this container sent to it.
    pub asked: u64,
    /// Of those, how many it did not answer, or not as it should.
    pub failed: u64,
    /// How long its last answer on the bus took.
    pub round_trip_ms: Option<f64>,
    /// Why the last of those that failed did.
    pub last_error: Option<String>,
}

pub(super) fn show(peers: &[PeerReport]) -> HttpResponse {
    listing("peers", peers)
}

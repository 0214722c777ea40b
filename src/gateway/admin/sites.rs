//! `GET /v1/admin/sites`: the sites that are known; today the container's own.

use actix_web::HttpResponse;
use serde::Serialize;

use super::listing;

/// One site.
#[derive(Clone, Debug, Serialize)]
pub struct SiteReport {
    /// Its name.
    pub name: String,
    /// Whether it is the site of the container that tells this.
    pub here: bool,
    /// The number of the list of those who decide conditions, greater with each change; `null` until it was read.
    pub epoch: Option<u64>,
    /// How many are on that list.
    pub members: Option<u64>,
    /// Containers that can be asked, this one among them.
    pub alive: u64,
    /// Containers that were heard and are silent now; those that left in order are not counted.
    pub silent: u64,
    /// What carries its messages; `null` until it was joined.
    pub bus: Option<BusReport>,
}

/// A bus.
#[derive(Clone, Debug, Serialize)]
pub struct BusReport {
    /// `local`, or the server's URL.
    pub name: String,
    /// The server's version.
    pub version: Option<String>,
    /// Whether messages can be sent right now.
    pub connected: bool,
    /// Times that the connection was lost.
    pub disconnects: u64,
}

pub(super) fn show(sites: &[SiteReport]) -> HttpResponse {
    listing("sites", sites)
}

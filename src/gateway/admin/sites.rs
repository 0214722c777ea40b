//! `GET /v1/admin/sites`: the sites of the mesh that are known, the container's own first.

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
    /// What it proves itself by to other sites; `null` until the own site was joined.
    pub keys: Option<String>,
    /// Wall-clock milliseconds since 1970 at which it was let into the mesh.
    pub since_ms: Option<u64>,
    /// Collections of it that this site may see; `null` until it was heard, and of the own one.
    pub collections: Option<u64>,
    /// The version of the mesh that it speaks, where that is another one than here: then it is not heard.
    pub speaks: Option<u8>,
    /// The number of the list of those who decide conditions, greater with each change; `null` until it was read.
    pub epoch: Option<u64>,
    /// How many are on that list.
    pub members: Option<u64>,
    /// Containers that can be asked, this one among them.
    pub alive: u64,
    /// Containers that were heard and are silent now; those that left in order are not counted.
    pub silent: u64,
    /// What carries its messages; `null` until it was joined, and of another site.
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

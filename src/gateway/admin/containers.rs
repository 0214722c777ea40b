//! `GET /v1/admin/containers`: the containers of the site; today this one.

use actix_web::HttpResponse;
use serde::Serialize;

use super::{listing, moment};

/// One container.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// The program's version.
    pub version: &'static str,
    /// When it started.
    #[serde(serialize_with = "moment", rename = "started")]
    pub started_ms: u64,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Its process.
    pub pid: u32,
    /// Whether it takes requests of every kind.
    pub ready: bool,
    /// Where its HTTP door is.
    pub http: Option<String>,
    /// What its start found left over.
    pub recovery: RecoveryReport,
}

/// What a start found left over from the last life.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RecoveryReport {
    /// Frames that were still being written.
    pub unfinished: u64,
    /// Frames that no record named.
    pub orphans: u64,
    /// Discarded frames that were still there.
    pub discarded: u64,
}

pub(super) fn show(container: &ContainerReport) -> HttpResponse {
    listing("containers", std::slice::from_ref(container))
}

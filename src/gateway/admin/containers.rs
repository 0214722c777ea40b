//! `GET /v1/admin/containers`: the containers of the site, this one first.

use actix_web::HttpResponse;
use serde::Serialize;

use super::{TierReport, listing, moment};

/// One container.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// Its identity: 16 hex digits.
    pub id: String,
    /// Its site.
    pub site: String,
    /// Whether it is the one that tells this.
    pub here: bool,
    /// Whether it can be asked.
    pub alive: bool,
    /// Whether it left in order.
    pub left: bool,
    /// Whether it takes changes.
    pub takes_changes: bool,
    /// Where others reach its HTTP door.
    pub url: Option<String>,
    /// The program's version.
    pub version: String,
    /// When it started.
    #[serde(serialize_with = "moment", rename = "started")]
    pub started_ms: u64,
    /// Milliseconds since it was heard.
    pub heard_ms_ago: u64,
    /// How full it is.
    pub load: LoadReport,
    /// What a container tells of itself alone.
    #[serde(flatten)]
    pub own: Option<OwnReport>,
}

/// How full a container is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LoadReport {
    /// Sealed bytes on its disk, of what it should hold at most.
    pub utilisation: Option<f64>,
    /// Sealed bytes on its disk.
    pub disk_bytes: u64,
    /// How many it should hold at most.
    pub disk_budget: u64,
    /// Plain bytes in its memory.
    pub ram_bytes: u64,
    /// How many may be there.
    pub ram_budget: u64,
    /// Requests at work.
    pub requests: u64,
}

impl LoadReport {
    /// What a container tells of itself.
    pub fn new(disk: (u64, u64), ram: (u64, u64), requests: u64) -> Self {
        LoadReport {
            utilisation: TierReport::part(disk.0, disk.1),
            disk_bytes: disk.0,
            disk_budget: disk.1,
            ram_bytes: ram.0,
            ram_budget: ram.1,
            requests,
        }
    }
}

/// What a container tells of itself alone.
#[derive(Clone, Debug, Serialize)]
pub struct OwnReport {
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Its clock: milliseconds since 1970.
    pub clock_ms: u64,
    /// Its process.
    pub pid: u32,
    /// Whether it takes requests of every kind.
    pub ready: bool,
    /// Where its HTTP door listens.
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

pub(super) fn show(containers: &[ContainerReport]) -> HttpResponse {
    listing("containers", containers)
}

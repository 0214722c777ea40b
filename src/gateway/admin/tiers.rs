//! `GET /v1/admin/tiers`: how full each level is and how it served.

use actix_web::HttpResponse;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;

/// One level. What a level does not have or does not count is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct TierReport {
    /// `ram`, `disk` or `cloud`.
    pub level: &'static str,
    /// Objects it holds.
    pub objects: u64,
    /// Bytes they take: of the budget in memory, sealed elsewhere.
    pub bytes: u64,
    /// The most bytes it may hold.
    pub budget: Option<u64>,
    /// Bytes as a part of the budget, 0 to 1.
    pub fill: Option<f64>,
    /// Reads that it answered.
    pub hits: u64,
    /// Reads that it was asked for in vain.
    pub misses: u64,
    /// Hits as a part of both, 0 to 1.
    pub hit_ratio: Option<f64>,
    /// Objects that left to make room.
    pub evictions: u64,
    /// Objects whose only copy is here and may not stay here alone.
    pub dirty_objects: u64,
    /// Their plain bytes.
    pub dirty_bytes: u64,
    /// Objects whose bytes failed their check.
    pub quarantined: u64,
}

impl TierReport {
    /// A part of a whole; `None` where there is no whole.
    pub fn part(part: u64, whole: u64) -> Option<f64> {
        (whole > 0).then(|| part as f64 / whole as f64)
    }
}

pub(super) async fn show(door: &Shared, tiers: BoxFuture<'static, Result<Vec<TierReport>>>) -> Result<HttpResponse> {
    Ok(super::listing("tiers", &within(door.options.request_deadline, tiers).await?))
}

//! `GET /v1/admin/queues`: what waits, and the limits it waits at.

use actix_web::HttpResponse;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;

/// One queue or limit.
#[derive(Clone, Debug, Serialize)]
pub struct QueueReport {
    /// Its name.
    pub name: &'static str,
    /// What it counts: `changes`, `frames`, `requests`, `bytes`, `messages` or `readers`.
    pub unit: &'static str,
    /// How many wait or are in use.
    pub used: u64,
    /// The most there can be; `null` where the disk is the limit.
    pub bound: Option<u64>,
    /// How many found no place since the start and were passed over; `null` where they wait or hear `busy`.
    pub lost: Option<u64>,
}

pub(super) async fn show(door: &Shared, queues: BoxFuture<'static, Result<Vec<QueueReport>>>) -> Result<HttpResponse> {
    Ok(super::listing("queues", &within(door.options.request_deadline, queues).await?))
}

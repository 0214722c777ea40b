//! A limit on each wait for the core.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, Result};

/// What `work` answers, or `deadline` when it has not within `limit`.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::deadline("the request's time ran out; allow more with Mesh-Deadline-Ms or try again")
            .with("deadline_ms", limit.as_millis())),
    }
}

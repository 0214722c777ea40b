//! The body of an admin request: one small JSON value.

use actix_web::dev::Payload;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::gateway::server::Shared;
use crate::limits::JSON_BODY_BYTES_MAX;

/// Reads the value; an empty body is `{}`.
pub(super) async fn read<T: DeserializeOwned>(door: &Shared, mut payload: Payload) -> Result<T> {
    let mut body = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(door.options.idle_timeout, payload.next()).await;
        let piece = piece.map_err(|_| Error::deadline("the body stalled; send it without long pauses"))?;
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|error| Error::invalid("the body cannot be read").because(error.to_string()))?;
        if body.len() + piece.len() > JSON_BODY_BYTES_MAX {
            return Err(Error::too_large("the body is larger than any request of this kind")
                .with("size_max", JSON_BODY_BYTES_MAX));
        }
        body.extend_from_slice(&piece);
    }
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text).map_err(|error| Error::invalid("the body is not the JSON asked for").because(error))
}

//! The body of an administrative request: one small JSON document.

use actix_web::dev::Payload;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::server::Shared;
use crate::error::{Error, Result};
use crate::limits::ADMIN_BODY_BYTES_MAX;

/// Reads the document. One that says something unknown is refused, never half understood.
pub(super) async fn read<T: DeserializeOwned>(door: &Shared, mut payload: Payload) -> Result<T> {
    let mut bytes = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(door.options.idle_timeout, payload.next()).await;
        let piece = piece.map_err(|_| Error::deadline("the body stalled; send it without long pauses"))?;
        let Some(piece) = piece.transpose().map_err(|_| Error::invalid("the body ended before all of it arrived"))?
        else {
            break;
        };
        if bytes.len() + piece.len() > ADMIN_BODY_BYTES_MAX {
            let why = format!("a document of this door has at most {ADMIN_BODY_BYTES_MAX} bytes");
            return Err(Error::too_large(why));
        }
        bytes.extend_from_slice(&piece);
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid("the body is not the JSON it should be").because(error))
}

//! A version's sealed bytes, for who asks for them by `Accept`: another container, or whoever carries them on.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};

use super::body;
use super::represent::describe;
use crate::actors::Pull;
use crate::error::Result;
use crate::gateway::server::Shared;
use crate::gateway::{headers, reply, ticket};
use crate::model::ByteRange;

/// What sealed bytes are called.
const FRAME_TYPE: &str = "application/vnd.meshstore.frame";

/// Whether the request wants a version's sealed bytes.
pub(super) fn is_wanted(head: &RequestHead, pull: &Pull) -> bool {
    pull.version.is_some() && head.headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == FRAME_TYPE.as_bytes())
}

/// The frame, or a range of it.
pub(super) async fn answer(door: &Shared, head: &RequestHead, mut pull: Pull) -> Result<HttpResponse> {
    pull.range = headers::single(&head.headers, &RANGE)?.map(str::parse::<ByteRange>).transpose()?;
    let ranged = pull.range.is_some();
    let pulled = door.core.sealed(pull, ticket::is_brought(head)).await?;
    let size = pulled.range.end.saturating_sub(pulled.range.start);
    let status = if ranged { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = describe(status, &pulled.manifest, pulled.level);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FRAME_TYPE));
    if ranged {
        let whole = pulled.manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        let last = pulled.range.end.saturating_sub(1);
        reply::set(
            response.headers_mut(),
            CONTENT_RANGE,
            format!("bytes {}-{last}/{whole}", pulled.range.start).into(),
        );
    }
    Ok(response.set_body(body::streamed(pulled.body, size, door.options.idle_timeout)))
}

//! `PUT /v1/objects/{collection}/{key}`: a body goes to the core as it arrives, in a bounded window.
//!
//! Whatever cuts a body short drops its sender unfinished, which fails the push: half a body is
//! never stored. The reason goes to the caller, from here.

use std::pin::pin;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use serde::Serialize;

use super::represent::durability;
use crate::actors::{Body, BodySender, Push, Pushed};
use crate::error::{Error, Result};
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, path, reply};
use crate::limits::CHUNK_BYTES;
use crate::model::{Address, Session};

/// Bodies up to this length are read whole before the core hears of them.
const WHOLE_BYTES_MAX: u64 = 64 << 10;

/// Pieces of the first chunk of an upload without a length: a short one should hold little. From then on, and
/// where the length is known, pieces are as long as the core wants them, and it takes them over without a copy.
const FIRST_PIECE_BYTES: usize = 64 << 10;

#[derive(Serialize)]
struct Stored<'a> {
    address: &'a str,
    version: &'a str,
    size: u64,
    digest: &'a str,
    durability: &'static str,
}

/// Stores an object.
pub(in crate::gateway) async fn put(
    door: &Shared,
    head: &RequestHead,
    payload: Payload,
    address: Address,
) -> Result<HttpResponse> {
    let asked = headers::deadline(&head.headers)?;
    let push = headers::push(&head.headers, address.clone(), asked.unwrap_or(door.options.request_deadline))?;
    let session = headers::session(&head.headers)?.unwrap_or_default();
    path::query(head.uri.query(), |_, _| Ok(false))?;
    if let Some(size) = push.size {
        check_size(size, door.options.object_bytes_max)?;
    }
    let pushed = match push.size {
        Some(size) if size <= WHOLE_BYTES_MAX => within(push.deadline, whole(door, push, payload, size)).await?,
        _ => {
            // Most bodies are short; what they wait in is to be small as well.
            let pushing = Box::pin(streamed(door, push, payload));
            match asked {
                Some(deadline) => within(deadline, pushing).await?,
                None => pushing.await?,
            }
        }
    };
    Ok(acknowledged(&address, &pushed, session))
}

pub(in crate::gateway) fn check_size(size: u64, max: u64) -> Result<()> {
    if size > max {
        return Err(Error::too_large("the object is larger than this door takes; split it")
            .with("size", size)
            .with("size_max", max));
    }
    Ok(())
}

async fn whole(door: &Shared, push: Push, mut payload: Payload, size: u64) -> Result<Pushed> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = next_piece(door, &mut payload).await? {
        if bytes.is_empty() && piece.len() as u64 == size {
            return door.core.push(push, Body::whole(piece)).await;
        }
        bytes.extend_from_slice(&piece);
    }
    door.core.push(push, Body::whole(bytes)).await
}

/// The deadline that nobody asked for bounds each wait for the core, not the whole upload: a large
/// body may take as long as it keeps moving.
async fn streamed(door: &Shared, push: Push, payload: Payload) -> Result<Pushed> {
    let (deadline, size) = (push.deadline, push.size);
    let (sender, body) = Body::streamed();
    let pushing = door.core.push(push, body);
    let feeding = pin!(feed(door, payload, sender, size, deadline));
    match select(pushing, feeding).await {
        // Refused early, say: what still arrives is not wanted.
        Either::Left((pushed, _)) => pushed,
        Either::Right((Ok(()), pushing)) => within(deadline, pushing).await,
        Either::Right((Err(error), _)) => Err(error),
    }
}

/// Hands the body over. When the core wants no more of it this ends well: the push knows why.
async fn feed(
    door: &Shared,
    mut payload: Payload,
    mut sender: BodySender,
    size: Option<u64>,
    deadline: Duration,
) -> Result<()> {
    // Each buffer has just the size of its piece: pieces may stay in memory for long, and a buffer
    // that grew by doubling would keep up to twice its bytes there.
    // How long that may take is the push's business: it knows what it waits for.
    let most = sender.wanted().await;
    let mut gathered = BytesMut::new();
    let (mut received, mut sent) = (0u64, 0u64);
    while let Some(mut piece) = next_piece(door, &mut payload).await? {
        received += piece.len() as u64;
        check_size(received, door.options.object_bytes_max)?;
        while !piece.is_empty() {
            let wanted = piece_bytes(sent, size, most);
            if gathered.capacity() == 0 {
                gathered = BytesMut::with_capacity(wanted);
            }
            let missing = wanted - gathered.len();
            gathered.extend_from_slice(&piece.split_to(missing.min(piece.len())));
            if gathered.len() == wanted {
                sent += wanted as u64;
                if !send(&mut sender, std::mem::take(&mut gathered).freeze(), deadline).await? {
                    return Ok(());
                }
            }
        }
    }
    if gathered.is_empty() || send(&mut sender, Bytes::copy_from_slice(&gathered), deadline).await? {
        sender.finish();
    }
    Ok(())
}

fn piece_bytes(sent: u64, size: Option<u64>, most: usize) -> usize {
    match size.map(|size| size.saturating_sub(sent)) {
        None if sent < CHUNK_BYTES as u64 => FIRST_PIECE_BYTES,
        Some(left @ 1..) if left < most as u64 => left as usize,
        _ => most,
    }
}

/// Whether the core took the piece; an error when it took too long.
async fn send(sender: &mut BodySender, piece: Bytes, deadline: Duration) -> Result<bool> {
    within(deadline, async { Ok(sender.send(piece).await.is_ok()) }).await
}

/// The next piece as it came over the network; `None` at the true end of the body.
async fn next_piece(door: &Shared, payload: &mut Payload) -> Result<Option<Bytes>> {
    let idle = door.options.idle_timeout;
    let piece = tokio::time::timeout(idle, payload.next()).await.map_err(|_| {
        Error::deadline("the body stalled; send it without long pauses").with("idle_ms", idle.as_millis())
    })?;
    let piece = piece.transpose().map_err(|error| match error {
        PayloadError::Incomplete(_) => Error::invalid("the body ended before all of it arrived"),
        other => Error::invalid("the body cannot be read; check its transfer encoding").because(other.to_string()),
    })?;
    door.telemetry.metrics.http_received.add((), piece.as_ref().map_or(0, |piece| piece.len() as u64));
    Ok(piece)
}

/// The text of a version or a digest, which is plain ASCII.
fn text(value: &[u8]) -> &str {
    str::from_utf8(value).unwrap_or_default()
}

fn acknowledged(address: &Address, pushed: &Pushed, mut session: Session) -> HttpResponse {
    let manifest = &pushed.manifest;
    session.note(address, manifest.version, manifest.dot);
    let status = if pushed.created { StatusCode::CREATED } else { StatusCode::OK };
    let (version, digest) = (reply::version(manifest.version), reply::digest(&manifest.digest));
    let mut response = reply::json(
        status,
        &Stored {
            address: address.as_str(),
            version: text(&version),
            size: manifest.size,
            digest: text(&digest),
            durability: manifest.durability.name(),
        },
    );
    let out = response.headers_mut();
    reply::set(out, ETAG, reply::etag(manifest.version));
    reply::set(out, headers::MESH_VERSION.clone(), version);
    reply::set(out, headers::MESH_DIGEST.clone(), digest);
    out.insert(headers::MESH_DURABILITY.clone(), durability(manifest.durability));
    reply::set(out, headers::MESH_SESSION.clone(), session.to_string().into_bytes());
    response
}

//! `GET` and `HEAD /v1/objects/{collection}/{key}`: whole, one range, or "you have it already".

use std::ops::Range;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::header::{CONTENT_RANGE, HeaderMap, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use actix_web::http::{Method, StatusCode};

use super::body;
use super::represent::{describe, is_known};
use super::sealed;
use crate::actors::{Pull, Pulled, Stat};
use crate::error::{Error, Kind, Result};
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, path, reply};
use crate::model::{Address, ByteRange, Chunks, Condition, Level, Manifest, Version};

/// The answer from memory, if the object is there. Nothing here waits.
pub(in crate::gateway) fn from_memory(
    door: &Shared,
    head: &RequestHead,
    address: &Address,
) -> Result<Option<HttpResponse>> {
    // What cannot be read is refused wherever the object is.
    headers::deadline(&head.headers)?;
    headers::mode(&head.headers)?;
    // What names a version, a session or a condition needs more than a look into memory.
    let plain = [&headers::MESH_SESSION, &IF_MATCH].iter().all(|name| !head.headers.contains_key(*name));
    if head.uri.query().is_some() || !plain {
        return Ok(None);
    }
    let Some((manifest, chunks)) = door.core.hit(address) else { return Ok(None) };
    read_from_memory(head, &manifest, &chunks).map(Some)
}

fn read_from_memory(head: &RequestHead, manifest: &Manifest, chunks: &Chunks) -> Result<HttpResponse> {
    if is_known(&head.headers, manifest.version) {
        return Ok(describe(StatusCode::NOT_MODIFIED, manifest, Level::Ram));
    }
    if head.method == Method::HEAD {
        return Ok(headline(manifest, Level::Ram));
    }
    let range = match wanted(&head.headers).map_err(|error| error.with("size", manifest.size))? {
        Some(wanted) if wanted.holds_for(manifest.version) => Some(wanted.range.of(manifest.size)?),
        _ => None,
    };
    let pieces = chunks.slice(range.clone().unwrap_or(0..manifest.size));
    Ok(with_body(manifest, Level::Ram, range, body::ready(pieces)))
}

/// The answer from wherever the object is.
pub(in crate::gateway) async fn from_anywhere(
    door: &Shared,
    head: &RequestHead,
    address: Address,
) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let mut session = headers::session(&head.headers)?;
    let mut version = None;
    path::query(head.uri.query(), |name, value| {
        let known = name == "version";
        if known {
            version = Some(value.parse::<Version>()?);
        }
        Ok(known)
    })?;
    let mode = headers::mode(&head.headers)?;
    let pull = Pull { address: address.clone(), range: None, version, session: session.clone(), mode, deadline };
    if sealed::is_wanted(head, &pull) {
        return within(deadline, sealed::answer(door, head, pull)).await;
    }
    let (mut response, manifest) = within(deadline, read(door, head, pull)).await?;
    if let Some(session) = &mut session {
        session.note(&address, manifest.version, manifest.dot);
        reply::set(response.headers_mut(), headers::MESH_SESSION.clone(), session.to_string().into_bytes());
    }
    Ok(response)
}

async fn read(door: &Shared, head: &RequestHead, pull: Pull) -> Result<(HttpResponse, Arc<Manifest>)> {
    let Pull { address, version, session, deadline, .. } = &pull;
    let stat = Stat { address: address.clone(), version: *version, session: session.clone(), deadline: *deadline };
    let condition = headers::if_match(&head.headers)?;
    let asks_first = condition != Condition::Always || head.headers.contains_key(IF_NONE_MATCH);
    if head.method == Method::HEAD || asks_first {
        let found = match door.core.stat(stat.clone()).await {
            Err(error) if error.kind() == Kind::NotFound => {
                condition.check(None)?;
                return Err(error);
            }
            found => found?,
        };
        condition.check(Some(found.manifest.version))?;
        let manifest = found.manifest;
        if is_known(&head.headers, manifest.version) {
            return Ok((describe(StatusCode::NOT_MODIFIED, &manifest, found.level), manifest));
        }
        if head.method == Method::HEAD {
            return Ok((headline(&manifest, found.level), manifest));
        }
    }
    let wanted = match wanted(&head.headers) {
        Ok(wanted) => wanted,
        // The answer to a bad range says how long the object is, so it must be known first.
        Err(error) => return Err(error.with("size", door.core.stat(stat).await?.manifest.size)),
    };
    let (pulled, ranged) = pull_range(door, pull, wanted).await?;
    // It may have been replaced since it was looked at; what is sent must be what was asked for.
    condition.check(Some(pulled.manifest.version))?;
    let size = pulled.range.end.saturating_sub(pulled.range.start);
    let range = ranged.then_some(pulled.range);
    let body = body::streamed(pulled.body, size, door.options.idle_timeout);
    Ok((with_body(&pulled.manifest, pulled.level, range, body), pulled.manifest))
}

/// Pulls the wanted range and says whether it did: where `If-Range` turns out to name another
/// version than the one there, it is the whole object instead.
async fn pull_range(door: &Shared, mut pull: Pull, wanted: Option<Wanted>) -> Result<(Pulled, bool)> {
    let Some(wanted) = wanted else { return Ok((door.core.pull(pull).await?, false)) };
    let whole = pull.clone();
    pull.range = Some(wanted.range);
    let refused = match door.core.pull(pull).await {
        Ok(pulled) if wanted.holds_for(pulled.manifest.version) => return Ok((pulled, true)),
        Ok(_) => None,
        Err(error) if error.kind() == Kind::BadRange && wanted.only_if.is_some() => Some(error),
        Err(error) => return Err(error),
    };
    let pulled = door.core.pull(whole).await?;
    match refused {
        Some(error) if wanted.holds_for(pulled.manifest.version) => Err(error),
        _ => Ok((pulled, false)),
    }
}

/// A range that the request asks for.
struct Wanted {
    range: ByteRange,
    /// The entity tag of `If-Range`: the range counts for that version alone.
    only_if: Option<Vec<u8>>,
}

impl Wanted {
    fn holds_for(&self, version: Version) -> bool {
        // The comparison is the strong one; a date or a weak tag never holds.
        self.only_if.as_ref().is_none_or(|tag| *tag == reply::etag(version))
    }
}

fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>> {
    let range = headers::single(headers, &RANGE)
        .map_err(|_| Error::bad_range("one range at a time; send a request for each"))?;
    let Some(range) = range else { return Ok(None) };
    let only_if = headers::single(headers, &IF_RANGE)?.map(|tag| tag.as_bytes().to_vec());
    Ok(Some(Wanted { range: range.parse()?, only_if }))
}

fn headline(manifest: &Manifest, level: Level) -> HttpResponse {
    describe(StatusCode::OK, manifest, level).set_body(body::absent(manifest.size))
}

fn with_body(
    manifest: &Manifest,
    level: Level,
    range: Option<Range<u64>>,
    body: actix_web::body::BoxBody,
) -> HttpResponse {
    let Some(range) = range else { return describe(StatusCode::OK, manifest, level).set_body(body) };
    let mut response = describe(StatusCode::PARTIAL_CONTENT, manifest, level);
    // An answered range is never empty.
    let last = range.end.saturating_sub(1);
    let text = format!("bytes {}-{last}/{}", range.start, manifest.size);
    reply::set(response.headers_mut(), CONTENT_RANGE, text.into_bytes());
    response.set_body(body)
}

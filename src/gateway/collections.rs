//! `/v1/collections`: policies as flat JSON fields, changed as a whole and versioned by a revision.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH};
use actix_web::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::deadline::within;
use super::server::Shared;
use super::{date, headers, path, reply};
use crate::actors::CollectionView;
use crate::control;
use crate::error::{Error, Result};
use crate::limits::POLICY_BYTES_MAX;
use crate::model::{CollectionPolicy, Name, Visibility};

/// What a collection's path answers.
pub(super) const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];

/// `GET /v1/collections`.
pub(super) fn list(door: &Shared, head: &RequestHead) -> Result<HttpResponse> {
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let items: Vec<Value> = door.core.collections().iter().map(represent).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "items": items })))
}

/// `GET`, `PUT` and `DELETE /v1/collections/{name}`.
pub(super) async fn answer(
    door: &Shared,
    head: &RequestHead,
    payload: Payload,
    method: Method,
    name: Name,
) -> Result<HttpResponse> {
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    match method {
        Method::PUT => {
            let mut policy = policy(&head.headers, payload, door).await?;
            // Who decides that only some may see it does not shut itself out, also not where others take the policy over.
            if let (Visibility::Sites(sites), Ok(own)) = (&mut policy.visibility, door.options.site.parse())
                && !sites.contains(&own)
            {
                sites.push(own);
                sites.sort_unstable();
            }
            let expected = expected(&head.headers)?;
            let (view, created) = within(deadline, door.core.put_collection(name, policy, expected)).await?;
            Ok(shown(if created { StatusCode::CREATED } else { StatusCode::OK }, &view))
        }
        Method::DELETE => {
            let expected = expected(&head.headers)?;
            within(deadline, door.core.remove_collection(name, expected)).await?;
            Ok(HttpResponse::new(StatusCode::NO_CONTENT))
        }
        _ => Ok(shown(StatusCode::OK, &door.core.collection(&name)?)),
    }
}

fn shown(status: StatusCode, view: &CollectionView) -> HttpResponse {
    let mut response = reply::json(status, &represent(view));
    reply::set(response.headers_mut(), ETAG, format!("\"{}\"", view.collection.revision).into_bytes());
    response
}

fn represent(view: &CollectionView) -> Value {
    let collection = &view.collection;
    json!({
        "name": collection.name.as_str(),
        "policy": control::to_json(&collection.policy),
        "revision": collection.revision,
        "created": date::rfc3339(collection.created_ms),
        "changed": date::rfc3339(collection.changed_ms),
        "objects": view.usage.objects,
        "bytes": view.usage.bytes,
        "owed": { "objects": view.owed.objects, "bytes": view.owed.bytes },
    })
}

/// The policy in the body. It is the whole policy: what it does not name is as by default.
async fn policy(headers: &HeaderMap, payload: Payload, door: &Shared) -> Result<CollectionPolicy> {
    control::from_json(&fields(headers, payload, door).await?, CollectionPolicy::default())
}

/// The fields in the body; none where there is no body.
pub(super) async fn fields(headers: &HeaderMap, payload: Payload, door: &Shared) -> Result<Map<String, Value>> {
    let kind = headers::single(headers, &CONTENT_TYPE)?.unwrap_or("application/json");
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Error::invalid("a policy is JSON; send Content-Type: application/json")
            .with("content-type", kind.escape_default()));
    }
    let bytes = whole(payload, door).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::invalid("a policy is a JSON object of fields, as /api has an example of it").because(error)
    })
}

async fn whole(mut payload: Payload, door: &Shared) -> Result<Bytes> {
    let mut out = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(door.options.idle_timeout, payload.next()).await;
        match piece.map_err(|_| Error::deadline("the body stalled; send it without long pauses"))? {
            Some(Ok(piece)) if out.len() + piece.len() <= POLICY_BYTES_MAX => out.extend_from_slice(&piece),
            Some(Ok(_)) => {
                return Err(Error::too_large("a policy is a small JSON object").with("limit", POLICY_BYTES_MAX));
            }
            Some(Err(error)) => {
                return Err(Error::invalid("the body ended before all of it arrived").because(error.to_string()));
            }
            None => return Ok(out.freeze()),
        }
    }
}

/// The revision that a change is to replace: `If-Match: "3"`, or `If-None-Match: *` for a new collection.
fn expected(headers: &HeaderMap) -> Result<Option<u64>> {
    match (headers::single(headers, &IF_MATCH)?, headers::single(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(0)),
        (Some(tag), None) => {
            let revision = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
            revision.filter(|revision| *revision > 0).map(Some).ok_or_else(|| {
                Error::invalid("If-Match names a revision in quotes, as the ETag has it")
                    .with("if-match", tag.escape_default())
            })
        }
        _ => Err(Error::invalid("send If-Match with a revision, or If-None-Match: *, not both and nothing else")),
    }
}

//! One operation: from a part to the request that it stands for. It is answered as that request would be.

use std::sync::Arc;

use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, TE, TRAILER, UPGRADE,
};
use actix_web::http::{Method, Uri};
use bytes::Bytes;

use super::answer::Answered;
use super::refusal;
use crate::error::{Error, Result};
use crate::gateway::path::{self, Target};
use crate::gateway::route;
use crate::gateway::server::Shared;
use crate::model::Address;
use crate::wire::Head;
use crate::wire::multipart::Part;

/// What says who asks and from where: always that of the batch itself.
const OF_THE_BATCH: [&HeaderName; 3] = [&HOST, &AUTHORIZATION, &ORIGIN];
/// What is about a connection, which a part has none of.
const OF_A_CONNECTION: [&HeaderName; 5] = [&CONNECTION, &EXPECT, &TE, &TRAILER, &UPGRADE];

/// An operation of a batch.
pub(super) struct Operation {
    content_id: Option<String>,
    request: Result<(RequestHead, Bytes)>,
    /// The object that it changes; `None` for what reads, and so waits for all changes before it.
    pub(super) changes: Option<Address>,
    /// Bytes of its body.
    pub(super) held: u64,
}

impl Operation {
    /// The operation that a part asks for.
    pub(super) fn of((part, body): (Part, Result<Bytes>), outer: &RequestHead) -> Self {
        let request = body.and_then(|body| Ok((request(&part.head, outer)?, body)));
        let changes = request.as_ref().ok().and_then(|(head, _)| changed(head));
        let held = request.as_ref().map_or(0, |(_, body)| body.len() as u64);
        Operation { content_id: part.content_id, request, changes, held }
    }

    /// An operation that is answered with this error.
    pub(super) fn refused(content_id: Option<String>, error: Error) -> Self {
        Operation { content_id, request: Err(error), changes: None, held: 0 }
    }

    /// Does it.
    pub(super) async fn run(self, door: Arc<Shared>) -> Answered {
        let content_id = self.content_id;
        match self.request {
            Ok((head, body)) => {
                let response = route::answer_part(&door, &head, Payload::from(body)).await;
                Answered { content_id, response, without_body: head.method == Method::HEAD }
            }
            Err(error) => Answered { content_id, response: refusal(&error), without_body: false },
        }
    }
}

fn changed(head: &RequestHead) -> Option<Address> {
    if matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let Target::Object(collection, key) = path::target(head.uri.path()) else { return None };
    Address::new(&path::name(collection).ok()?, &path::decode(key).ok()?).ok()
}

/// The request that a part spells out.
pub(in crate::gateway) fn request(part: &Head, outer: &RequestHead) -> Result<RequestHead> {
    let bad = |why: &'static str| Error::invalid(why).with("part", part.start.escape_default());
    let words: Vec<&str> = part.start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Err(bad("a part starts with METHOD /v1/objects/… HTTP/1.1"));
    };
    // A target with a host of its own could say something else than the batch's Host does.
    let uri = target.parse::<Uri>().ok().filter(|uri| target.starts_with('/') && uri.authority().is_none());
    let mut head = RequestHead::default();
    head.method = method.parse().map_err(|_| bad("this is no method"))?;
    head.uri = uri.ok_or_else(|| bad("a part's target is a path, without a host"))?;
    head.peer_addr = outer.peer_addr;
    head.headers = headers(part, outer)?;
    Ok(head)
}

fn headers(part: &Head, outer: &RequestHead) -> Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(part.headers.len() + OF_THE_BATCH.len());
    for (name, value) in &part.headers {
        let bad = |why: &'static str| Error::invalid(why).with("header", name);
        let known = HeaderName::try_from(name.as_str()).map_err(|_| bad("this is no header"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad("a header's value holds no control characters"))?;
        if known == HOST && outer.headers.get(HOST) == Some(&value) {
            continue;
        }
        let fetch = name.starts_with("sec-") || name.starts_with("proxy-");
        if fetch || OF_THE_BATCH.contains(&&known) || OF_A_CONNECTION.contains(&&known) {
            return Err(bad("this header belongs to the batch, not to a part of it"));
        }
        headers.append(known, value);
    }
    for name in OF_THE_BATCH {
        outer.headers.get_all(name).for_each(|value| headers.append(name.clone(), value.clone()));
    }
    Ok(headers)
}

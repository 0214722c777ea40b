//! Tickets at the door: made for those who asked on a subject for more than a message carries, and taken in place of
//! a token for just what they were made for.

use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::CONTENT_LENGTH;
use serde_json::{Value, json};

use super::date;
use super::headers::{MESH_PEER, MESH_TICKET, single};
use super::path::{self, Target};
use super::server::Shared;
use crate::error::{Error, Kind, Result};
use crate::limits::TICKET_MS;
use crate::model::{Address, Version};
use crate::nfr::Grant;

/// Whether a request brings a ticket.
pub(super) fn is_brought(head: &RequestHead) -> bool {
    head.headers.contains_key(&MESH_TICKET) || head.headers.contains_key(&MESH_PEER)
}

/// Whether the ticket that a request brings allows it.
pub(super) fn check(door: &Shared, head: &RequestHead) -> Result<()> {
    let passed_on = single(&head.headers, &MESH_PEER)?;
    let ticket = passed_on.or(single(&head.headers, &MESH_TICKET)?).unwrap_or_default();
    let other = || Error::new(Kind::Forbidden, "a ticket is for reading or storing one object, and nothing else");
    let Target::Object(collection, key) = path::target(head.uri.path()) else { return Err(other()) };
    let address = Address::new(&path::name(collection)?, &path::decode(key)?)?;
    let grant = match head.method {
        Method::PUT | Method::DELETE if passed_on.is_some() => Grant::Peer,
        Method::GET | Method::HEAD => Grant::Pull(version(head)?),
        Method::PUT => Grant::Push(size(head)?),
        _ => return Err(other()),
    };
    door.core.admits(ticket, &address, grant, door.telemetry.now_ms())
}

fn version(head: &RequestHead) -> Result<Version> {
    let mut version = None;
    path::query(head.uri.query(), |name, value| {
        let known = name == "version";
        if known {
            version = Some(value.parse()?);
        }
        Ok(known)
    })?;
    version.ok_or_else(|| {
        Error::invalid("a ticket is for one version; ask for it with ?version=, as the ticket's URL does")
    })
}

fn size(head: &RequestHead) -> Result<u64> {
    let length = single(&head.headers, &CONTENT_LENGTH)?.and_then(|length| length.parse().ok());
    length.ok_or_else(|| Error::invalid("a ticket is for an object of one size; send it with Content-Length"))
}

/// A ticket to read this version, or to bring an object of this size; `urls` are where.
pub(super) fn make(door: &Shared, address: &Address, grant: Grant, url: &str) -> Result<(String, Value)> {
    let expires_ms = door.telemetry.now_ms() + TICKET_MS;
    let token = door.core.ticket(address, grant, expires_ms)?;
    let path = format!("/v1/objects/{}/{}", path::escape(address.collection()), path::escape(address.key()));
    let url = match grant {
        Grant::Pull(version) => format!("{url}{path}?version={version}"),
        Grant::Push(_) | Grant::Peer => format!("{url}{path}"),
    };
    let ticket = json!({
        "address": address.as_str(),
        "urls": [url],
        "token": token,
        "expires": date::rfc3339(expires_ms),
    });
    Ok((token, ticket))
}

//! `/v1/admin/tokens`: make, list and end tokens. A secret is in the answer that makes it and nowhere else.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{body, listing};
use crate::control::NewToken;
use crate::error::{Error, Result};
use crate::gateway::audit::Note;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{date, headers, reply};
use crate::model::{TokenId, TokenRecord};

/// What a token is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    subject: String,
    #[serde(default)]
    groups: Vec<String>,
    scopes: Vec<String>,
    expires_in_s: Option<u64>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    subject: &'a str,
    groups: &'a [String],
    scopes: Vec<String>,
    state: &'static str,
    root: bool,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
}

pub(super) fn list(door: &Shared) -> HttpResponse {
    let known = door.authority.tokens();
    let items: Vec<Item<'_>> = known.iter().map(|(record, live)| item(record, *live, None)).collect();
    listing("tokens", &items)
}

pub(super) fn show(door: &Shared, id: TokenId) -> Result<HttpResponse> {
    let known = door.authority.tokens();
    let one = known.iter().find(|(record, _)| record.id == id);
    let (record, live) = one.ok_or_else(|| Error::not_found("there is no such token").with("id", id))?;
    Ok(reply::json(StatusCode::OK, &item(record, *live, None)))
}

pub(super) async fn make(door: &Shared, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let wanted: Wanted = body::read(door, payload).await?;
    let scopes = wanted.scopes.iter().map(|scope| scope.parse()).collect::<Result<_>>()?;
    let expires_in_ms = wanted.expires_in_s.map(|seconds| seconds.saturating_mul(1000));
    let new = NewToken { subject: wanted.subject, groups: wanted.groups, scopes, expires_in_ms };
    let (record, secret) = within(deadline, door.authority.create_token(new)).await?;
    let item = item(&record, true, Some(secret.expose()));
    let note = format!("token {} for {}: {}", item.id, item.subject.escape_default(), item.scopes.join(","));
    let mut response = reply::json(StatusCode::CREATED, &item);
    response.extensions_mut().insert(Note(note));
    Ok(response)
}

pub(super) async fn revoke(door: &Shared, head: &RequestHead, id: TokenId) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    within(deadline, door.authority.revoke_token(id)).await?;
    Ok(HttpResponse::with_body(StatusCode::NO_CONTENT, actix_web::body::BoxBody::new(())))
}

fn item<'a>(record: &'a TokenRecord, live: bool, token: Option<&'a str>) -> Item<'a> {
    let state = match (live, record.revoked_ms) {
        (true, _) => "live",
        (false, Some(_)) => "revoked",
        (false, None) => "expired",
    };
    Item {
        id: record.id.to_string(),
        token,
        subject: &record.subject,
        groups: &record.groups,
        scopes: record.scopes.iter().map(ToString::to_string).collect(),
        state,
        root: record.root,
        created: date::rfc3339(record.created_ms),
        expires: record.expires_ms.map(date::rfc3339),
        revoked: record.revoked_ms.map(date::rfc3339),
    }
}

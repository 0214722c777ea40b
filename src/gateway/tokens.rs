//! `/v1/admin/tokens`: make, list and end tokens. A secret is in the answer that makes it and nowhere else.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::deadline::within;
use super::server::Shared;
use super::{date, document, problem, reply};
use crate::control::NewToken;
use crate::error::{Error, Result};
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

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<Item<'a>>,
}

/// Answers a request for all tokens, or for the one with this id.
pub(super) async fn answer(door: &Shared, method: &Method, payload: Payload, id: Option<&str>) -> Result<HttpResponse> {
    match (method, id) {
        (&Method::GET | &Method::HEAD, id) => list(door, id),
        (&Method::POST, None) => create(door, payload).await,
        (&Method::DELETE, Some(id)) => revoke(door, id.parse()?).await,
        (other, None) => Ok(problem::wrong_method(other.as_str(), "GET, HEAD, POST")),
        (other, Some(_)) => Ok(problem::wrong_method(other.as_str(), "GET, HEAD, DELETE")),
    }
}

fn list(door: &Shared, id: Option<&str>) -> Result<HttpResponse> {
    let known = door.authority.tokens();
    let items = || known.iter().map(|(record, live)| item(record, *live, None));
    let Some(id) = id else { return Ok(reply::json(StatusCode::OK, &Page { items: items().collect() })) };
    let id = id.parse::<TokenId>()?.to_string();
    let one = items().find(|item| item.id == id);
    let one = one.ok_or_else(|| Error::not_found("there is no such token").with("id", &id))?;
    Ok(reply::json(StatusCode::OK, &one))
}

async fn create(door: &Shared, payload: Payload) -> Result<HttpResponse> {
    let wanted: Wanted = document::read(door, payload).await?;
    let scopes = wanted.scopes.iter().map(|scope| scope.parse()).collect::<Result<_>>()?;
    let expires_in_ms = wanted.expires_in_s.map(|seconds| seconds.saturating_mul(1000));
    let new = NewToken { subject: wanted.subject, groups: wanted.groups, scopes, expires_in_ms };
    let (record, secret) = within(door.options.request_deadline, door.authority.create_token(new)).await?;
    let mut response = reply::json(StatusCode::CREATED, &item(&record, true, Some(secret.expose())));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn revoke(door: &Shared, id: TokenId) -> Result<HttpResponse> {
    within(door.options.request_deadline, door.authority.revoke_token(id)).await?;
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

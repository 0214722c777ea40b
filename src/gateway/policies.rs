//! `/v1/policies`: what the sites of the mesh may do with which collections, as all of them hold it alike.

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use actix_web::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::collections::fields;
use super::deadline::within;
use super::headers::single;
use super::server::Shared;
use super::{date, headers, path, reply};
use crate::actors::PolicyView;
use crate::control;
use crate::error::{Error, Result};
use crate::model::{Name, PolicyRecord, Version};

/// What a policy's path answers.
pub(super) const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];

/// `GET /v1/policies`.
pub(super) async fn list(door: &Shared, head: &RequestHead) -> Result<HttpResponse> {
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let items: Vec<Value> = door.core.policies().await?.iter().map(|view| Value::Object(represent(view))).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "items": items })))
}

/// `GET`, `PUT` and `DELETE /v1/policies/{name}`.
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
            let rule = control::rule_from_json(fields(&head.headers, payload, door).await?)?;
            let expected = expected(head)?;
            let put = door.core.put_policy(name.clone(), Some(rule), expected);
            let (record, is_new) = within(deadline, put).await?;
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok(tagged(status, &Value::Object(represent(&view(door, name).await?)), Some(record.version)))
        }
        Method::DELETE => {
            let expected = expected(head)?;
            within(deadline, door.core.put_policy(name, None, expected)).await?;
            Ok(HttpResponse::new(StatusCode::NO_CONTENT))
        }
        _ => {
            let view = view(door, name).await?;
            let version = view.policy.heads().first().map(|head| head.version);
            let mut shown = represent(&view);
            shown.insert("log".to_owned(), view.policy.log().map(|record| Value::Object(told(record))).collect());
            Ok(tagged(StatusCode::OK, &Value::Object(shown), version))
        }
    }
}

async fn view(door: &Shared, name: Name) -> Result<PolicyView> {
    let known = door.core.policy(name.clone()).await?;
    known.ok_or_else(|| Error::not_found("there is no such policy").with("policy", name))
}

fn tagged(status: StatusCode, value: &Value, version: Option<Version>) -> HttpResponse {
    let mut response = reply::json(status, value);
    if let Some(version) = version {
        reply::set(response.headers_mut(), ETAG, format!("\"{version}\"").into_bytes());
    }
    response
}

/// A policy as it rules, and the versions that were made at the same time and nobody decided against yet.
fn represent(view: &PolicyView) -> Map<String, Value> {
    let heads = view.policy.heads();
    let mut shown = Map::from_iter([("name".to_owned(), view.name.as_str().into())]);
    shown.extend(heads.first().map(|head| told(head)).into_iter().flatten());
    let others = heads.into_iter().skip(1).map(|head| Value::Object(told(head)));
    shown.insert("others".to_owned(), others.collect());
    shown.insert("against".to_owned(), view.against.into());
    shown
}

fn told(record: &PolicyRecord) -> Map<String, Value> {
    let rule = record.rule.as_ref().map(control::rule_to_json);
    let replaces: Vec<String> = record.replaces.iter().map(Version::to_string).collect();
    let members = [
        ("version", record.version.to_string().into()),
        ("changed", date::rfc3339(record.version.millis()).into()),
        ("site", record.site.as_str().into()),
        ("replaces", replaces.into()),
        ("rule", rule.map_or(Value::Null, Value::Object)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The version that a change is to replace: `If-Match: "VERSION"`, or `If-None-Match: *` where none may rule.
fn expected(head: &RequestHead) -> Result<Option<Option<Version>>> {
    match (single(&head.headers, &IF_MATCH)?, single(&head.headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(None)),
        (Some(tag), None) => match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
            Some(version) => Ok(Some(Some(version.parse()?))),
            None => Err(Error::invalid("If-Match names a version in quotes, as the ETag has it")
                .with("if-match", tag.escape_default())),
        },
        _ => Err(Error::invalid("send If-Match with a version, or If-None-Match: *, not both and nothing else")),
    }
}

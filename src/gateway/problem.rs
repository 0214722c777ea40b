//! Errors as `application/problem+json` (RFC 9457): the door's one mapping of [`Kind`] to HTTP.
//!
//! `type` is `urn:meshstore:error:<kind>`: it names the kind and resolves to nothing. A wrong method
//! is HTTP's own matter and no kind: it is 405 with the kind `invalid`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use serde::Serialize;

use super::headers::MESH_UNASKED;
use super::reply;
use crate::error::{Error, Kind};
use crate::limits::PROBLEM_CHARS_MAX;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind_urn: String,
    title: &'a str,
    status: u16,
    detail: String,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
}

/// The status and the title of a kind.
pub(super) fn status(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::Invalid => (StatusCode::BAD_REQUEST, "The request is malformed"),
        Kind::Unauthorised => (StatusCode::UNAUTHORIZED, "Credentials are missing or unknown"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "The request is not allowed"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "There is no such thing"),
        Kind::AlreadyExists => (StatusCode::PRECONDITION_FAILED, "It exists already"),
        Kind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "A condition does not hold"),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "It is larger than a limit allows"),
        Kind::BadRange => (StatusCode::RANGE_NOT_SATISFIABLE, "The range is outside the object"),
        Kind::NotYet => (too_early(), "That version is not here yet"),
        Kind::Busy => (StatusCode::TOO_MANY_REQUESTS, "A limit is reached"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The container failed"),
        Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "The bytes fail their check"),
        Kind::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "This is not built yet"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Something needed cannot be reached"),
        Kind::Deadline => (StatusCode::GATEWAY_TIMEOUT, "The request's time ran out"),
    }
}

/// 425, which the http crate does not name.
fn too_early() -> StatusCode {
    StatusCode::from_u16(425).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// The answer to a request that failed with `error`; `address` is what it was about, where known.
pub(super) fn of(error: &Error, address: Option<&str>) -> HttpResponse {
    let (status, title) = status(error.kind());
    let address = error.context("address").or(address);
    if matches!(error.kind(), Kind::Internal | Kind::Corrupt) {
        tracing::error!(kind = error.kind().name(), address, %error, "request failed");
    }
    let mut response = build(status, title, error, address);
    let out = response.headers_mut();
    if let Some(seconds) = retry_after(error) {
        out.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.kind() == Kind::Unauthorised {
        out.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.kind() == Kind::BadRange
        && let Some(size) = error.context("size")
        && let Ok(value) = HeaderValue::try_from(format!("bytes */{size}"))
    {
        out.insert(CONTENT_RANGE, value);
    }
    if let Some(silent) = error.context("unasked") {
        reply::set(out, MESH_UNASKED.clone(), silent.as_bytes().to_vec());
    }
    response
}

/// The answer to a method that the path does not know.
pub(super) fn wrong_method(method: &str, allow: &'static str) -> HttpResponse {
    let error = Error::invalid("this path does not know the method; use one that Allow names").with("method", method);
    let mut response = build(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here", &error, None);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// What was wrong with an input repeats the input; a caller who sent a great deal is not sent it all back.
fn cut(mut detail: String) -> String {
    if let Some((end, _)) = detail.char_indices().nth(PROBLEM_CHARS_MAX) {
        detail.truncate(end);
        detail.push('…');
    }
    detail
}

fn build(status: StatusCode, title: &str, error: &Error, address: Option<&str>) -> HttpResponse {
    let kind = error.kind().name();
    let problem = Problem {
        kind_urn: format!("urn:meshstore:error:{kind}"),
        title,
        status: status.as_u16(),
        detail: cut(error.to_string()),
        kind,
        address,
    };
    let mut response = HttpResponse::with_body(status, actix_web::body::BoxBody::new(reply::to_json(&problem)));
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, PROBLEM_JSON);
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whole seconds, rounded up: a caller that came back earlier would be refused again.
fn retry_after(error: &Error) -> Option<u64> {
    let told = error.delay().map(|delay| delay.as_millis().div_ceil(1000) as u64);
    let assumed = (error.kind() == Kind::Busy).then_some(1);
    told.or(assumed).map(|seconds| seconds.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn statuses_are_the_contract() {
        let want = [400, 401, 403, 404, 412, 412, 413, 416, 425, 429, 500, 500, 501, 503, 504];
        for (kind, want) in Kind::ALL.into_iter().zip(want) {
            assert_eq!(of(&Error::new(kind, "x"), None).status().as_u16(), want, "{kind}");
        }
    }

    #[test]
    fn busy_says_when() {
        assert_eq!(retry_after(&Error::busy("x")), Some(1));
        assert_eq!(retry_after(&Error::busy("x").retry_after(Duration::from_millis(2100))), Some(3));
        assert_eq!(retry_after(&Error::unavailable("x").retry_after(Duration::ZERO)), Some(1));
        assert_eq!(retry_after(&Error::unavailable("x")), None);
    }
}

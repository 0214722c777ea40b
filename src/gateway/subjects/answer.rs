//! From an answer over HTTP to a message: the same headers, and errors as NATS services tell them.

use actix_web::HttpResponse;
use actix_web::body::{self, BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, RETRY_AFTER};
use bytes::Bytes;
use serde_json::Value;

use super::request::Operation;
use crate::bus::{Headers, Message, Subject};
use crate::error::Error;
use crate::gateway::problem;

/// What an answer's headers may take of a message, beside its body.
const HEADERS_MAX: usize = 32 << 10;

/// What stands before the number of an answer, as over HTTP.
const STATUS: &str = "Mesh-Status";
const ERROR_CODE: &str = "Nats-Service-Error-Code";
const ERROR: &str = "Nats-Service-Error";

const KEPT: [&HeaderName; 6] = [&CONTENT_TYPE, &CONTENT_RANGE, &ETAG, &EXPIRES, &LAST_MODIFIED, &RETRY_AFTER];

/// What is said to a message.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: Headers,
    body: Bytes,
}

impl Answer {
    /// Says what the answer is about, to those who did not ask.
    pub(super) fn about(&mut self, address: &str) {
        self.headers.push(("Mesh-Address".to_owned(), address.to_owned()));
    }

    /// How long its body is.
    pub(super) fn bytes(&self) -> u64 {
        self.body.len() as u64
    }

    /// Why the request failed, if it did.
    pub(super) fn error(&self) -> Option<String> {
        self.headers.iter().find(|(name, _)| name == ERROR).map(|(_, error)| error.clone())
    }

    /// The message that says it.
    pub(super) fn to(self, subject: Subject) -> Message {
        Message { subject, reply: None, headers: self.headers, body: self.body }
    }
}

/// The answer to a request that failed before it was one.
pub(super) fn of_error(error: &Error, address: Option<&str>) -> Answer {
    let response = problem::of(error, address.filter(|text| !text.contains(char::is_control)));
    let (status, headers) = (response.status(), headers(&response));
    let text = body::to_bytes_limited(response.into_body(), HEADERS_MAX);
    // A problem is whole at once, so there is nothing to wait for.
    let text = futures_util::FutureExt::now_or_never(text).and_then(Result::ok).and_then(Result::ok);
    whole(status, headers, text.unwrap_or_default())
}

/// The message that says what a response says. `most` is what the bus carries.
pub(super) async fn of(operation: Operation, response: HttpResponse, most: usize) -> Answer {
    let room = most.saturating_sub(HEADERS_MAX);
    let (status, mut headers) = (response.status(), headers(&response));
    let announced = response.body().size();
    if let BodySize::Sized(bytes) = announced
        && operation == Operation::Head
    {
        headers.push(("Mesh-Size".to_owned(), bytes.to_string()));
        return whole(status, headers, Bytes::new());
    }
    let too_large = |bytes: Option<u64>| {
        let why = match operation {
            Operation::Pull => {
                "the object is larger than a message carries; pull ranges of it with Mesh-Range, or over HTTP"
            }
            _ => "the answer is larger than a message carries; ask for less at a time",
        };
        let error = Error::too_large(why).with("bytes_max", room);
        of_error(&bytes.map_or_else(|| error.duplicate(), |bytes| error.duplicate().with("bytes", bytes)), None)
    };
    match announced {
        BodySize::Sized(bytes) if bytes > room as u64 => return too_large(Some(bytes)),
        _ => {}
    }
    match body::to_bytes_limited(response.into_body(), room).await {
        Ok(Ok(bytes)) => whole(status, headers, bytes),
        Ok(Err(error)) => of_error(&Error::internal("the answer broke off").because(error.to_string()), None),
        Err(_) => too_large(None),
    }
}

fn whole(status: StatusCode, mut headers: Headers, body: Bytes) -> Answer {
    headers.push((STATUS.to_owned(), status.as_str().to_owned()));
    if status.is_client_error() || status.is_server_error() {
        headers.push((ERROR_CODE.to_owned(), status.as_str().to_owned()));
        headers.push((ERROR.to_owned(), detail(&body)));
    }
    Answer { status, headers, body }
}

/// What a problem says, on one line.
fn detail(problem: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(problem).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("the request failed");
    let line: String = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

fn headers(response: &HttpResponse) -> Headers {
    let kept = |name: &HeaderName| name.as_str().starts_with("mesh-") || KEPT.contains(&name);
    let all = response.headers().iter().filter(|(name, _)| kept(name));
    all.filter_map(|(name, value)| Some((titled(name.as_str()), value.to_str().ok()?.trim().to_owned()))).collect()
}

/// A header's name as people write it: NATS tells `Mesh-Version` from `mesh-version`.
fn titled(name: &str) -> String {
    let mut first = true;
    let letter = |c: char| {
        let out = if first { c.to_ascii_uppercase() } else { c };
        first = c == '-';
        out
    };
    match name {
        "etag" => "ETag".to_owned(),
        name => name.chars().map(letter).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_is_told_as_services_tell_them() {
        let answer = of_error(&Error::busy("try\nagain"), Some("c/k")).to("inbox".parse().unwrap());
        assert_eq!((answer.header(STATUS), answer.header(ERROR_CODE)), (Some("429"), Some("429")));
        assert_eq!(answer.header(ERROR), Some("try again"));
        assert_eq!(answer.header("Retry-After"), Some("1"));
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&problem["kind"], &problem["address"]), (&Value::from("busy"), &Value::from("c/k")));
    }

    #[tokio::test]
    async fn what_is_too_large_for_a_message_says_what_to_do() {
        let response = HttpResponse::Ok().body(vec![0; 100_000]);
        let answer = of(Operation::Pull, response, 64 << 10).await;
        assert_eq!(answer.status, 413);
        assert!(answer.error().unwrap().contains("Mesh-Range"));
    }

    #[test]
    fn names_are_written_as_people_do() {
        assert_eq!(titled("mesh-version"), "Mesh-Version");
        assert_eq!(titled("etag"), "ETag");
    }
}

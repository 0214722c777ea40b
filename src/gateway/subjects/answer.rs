//! From an answer over HTTP to a message: the same headers, and errors as NATS services tell them.

use actix_web::HttpResponse;
use actix_web::body::{self, BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, RETRY_AFTER};
use bytes::Bytes;
use serde_json::Value;

use super::request::Operation;
use super::telling::TELLER;
use crate::bus::{Headers, Message, Subject};
use crate::error::Error;
use crate::gateway::headers::MESH_VERSION;
use crate::gateway::problem;
use crate::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX};
use crate::model::{Name, Version};

/// What an answer's headers may take of a message, beside its body.
const HEADERS_MAX: usize = 32 << 10;

/// The longest that an address can be.
const ADDRESS_BYTES_MAX: usize = NAME_BYTES_MAX + 1 + KEY_BYTES_MAX;

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

    /// Says which container it is of, where another one would have said something else.
    pub(super) fn by(mut self, container: &Name) -> Self {
        self.headers.push((TELLER.to_owned(), container.to_string()));
        self
    }

    /// Says of the object what a response says that gave it.
    pub(super) fn describing(mut self, response: &HttpResponse) -> Self {
        let size = match response.body().size() {
            BodySize::Sized(bytes) => Some(bytes),
            _ => None,
        };
        let mut ticket: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        for (name, value) in headers(response) {
            if let Some(told) = ticket.as_object_mut().filter(|_| matches!(&*name, "Mesh-Version" | "Mesh-Digest")) {
                told.insert(name.trim_start_matches("Mesh-").to_ascii_lowercase(), value.clone().into());
            }
            // The type is that of the ticket.
            if name != "Content-Type" {
                self.headers.push((name, value));
            }
        }
        if let Some(told) = ticket.as_object_mut() {
            told.insert("size".to_owned(), size.into());
        }
        self.body = ticket.to_string().into();
        self
    }

    /// Says that the object was brought, instead of where it is.
    pub(super) fn brought(mut self, bytes: u64) -> Self {
        self.headers.retain(|(name, _)| name != "Content-Type" && name != "Mesh-Ticket");
        self.headers.push(("Mesh-Received".to_owned(), bytes.to_string()));
        self.body = Bytes::new();
        self
    }

    /// Says why the object was not brought, beside where it is.
    pub(super) fn not_brought(mut self, error: &Error) -> Self {
        self.headers.extend(plain(error.to_string().as_bytes()).map(|why| ("Mesh-Receive-Error".to_owned(), why)));
        self
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
    // What is no address is not repeated as one: it may be longer than an answer.
    let is_one = |text: &&str| text.len() <= ADDRESS_BYTES_MAX && !text.contains(char::is_control);
    let response = problem::of(error, address.filter(is_one));
    let (status, headers) = (response.status(), headers(&response));
    let text = body::to_bytes_limited(response.into_body(), HEADERS_MAX);
    // A problem is whole at once, so there is nothing to wait for.
    let text = futures_util::FutureExt::now_or_never(text).and_then(Result::ok).and_then(Result::ok);
    whole(status, headers, text.unwrap_or_default())
}

/// What a message has for a body, of what the bus carries.
pub(super) fn room(payload_max: usize) -> u64 {
    payload_max.saturating_sub(HEADERS_MAX) as u64
}

/// The version that a response gives, if its body is longer than this.
pub(super) fn larger_than(most: u64, response: &HttpResponse) -> Option<Version> {
    let BodySize::Sized(1..) = response.body().size() else { return None };
    let larger = matches!(response.body().size(), BodySize::Sized(bytes) if bytes > most);
    let version = response.headers().get(MESH_VERSION.clone()).filter(|_| larger && response.status().is_success());
    version.and_then(|version| version.to_str().ok()?.parse().ok())
}

/// The answer that gives a ticket instead of bytes.
pub(super) fn of_ticket(token: &str, ticket: &Value) -> Answer {
    let headers =
        vec![("Content-Type".to_owned(), "application/json".to_owned()), ("Mesh-Ticket".to_owned(), token.to_owned())];
    whole(StatusCode::OK, headers, ticket.to_string().into())
}

/// The message that says what a response says; its body has `room` bytes at most.
pub(super) async fn of(operation: Operation, response: HttpResponse, room: u64) -> Answer {
    let (status, mut headers) = (response.status(), headers(&response));
    let announced = response.body().size();
    if let BodySize::Sized(bytes) = announced
        && operation == Operation::Head
        && status == StatusCode::OK
    {
        headers.push(("Mesh-Size".to_owned(), bytes.to_string()));
        return whole(status, headers, Bytes::new());
    }
    let too_large = |bytes: Option<u64>| {
        let why = match operation {
            Operation::Pull => {
                "the range is larger than a message carries; ask for less at a time with Mesh-Range, or over HTTP"
            }
            Operation::Batch => {
                "the answers are larger than a message carries, and some operations were done; ask for less at a time"
            }
            _ => "the answer is larger than a message carries; ask for less at a time",
        };
        let error = Error::too_large(why).with("bytes_max", room);
        of_error(&bytes.map_or_else(|| error.duplicate(), |bytes| error.duplicate().with("bytes", bytes)), None)
    };
    match announced {
        BodySize::Sized(bytes) if bytes > room => return too_large(Some(bytes)),
        _ => {}
    }
    match body::to_bytes_limited(response.into_body(), room as usize).await {
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
    plain(detail.as_bytes()).unwrap_or_default()
}

/// What is told of a response's headers.
pub(super) fn headers(response: &HttpResponse) -> Headers {
    let kept = |name: &HeaderName| name.as_str().starts_with("mesh-") || KEPT.contains(&name);
    let all = response.headers().iter().filter(|(name, _)| kept(name));
    all.filter_map(|(name, value)| Some((titled(name.as_str()), plain(value.as_bytes())?))).collect()
}

/// A value as any header can hold it.
fn plain(value: &[u8]) -> Option<String> {
    let value: String =
        std::str::from_utf8(value).ok()?.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(value.trim().to_owned())
}

/// A header's name as people write it: NATS tells `Mesh-Version` from `mesh-version`.
fn titled(name: &str) -> String {
    if name == "etag" {
        return "ETag".to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for word in name.split_inclusive('-') {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        out.push_str(&first.to_ascii_uppercase());
        out.push_str(rest);
    }
    out
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
        let answer = of(Operation::Pull, response, 32 << 10).await;
        assert_eq!(answer.status, 413);
        assert!(answer.error().unwrap().contains("Mesh-Range"));
    }

    #[test]
    fn names_are_written_as_people_do() {
        assert_eq!(titled("mesh-version"), "Mesh-Version");
        assert_eq!(titled("etag"), "ETag");
    }
}

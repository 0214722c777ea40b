//! From a request to the part that answers it. There is no router of actix-web's in between: it
//! would decode and fold paths, and a RAM hit should cross as little as possible.

// An answer given early is an answer, not a failure to be passed up through many calls.
#![allow(clippy::result_large_err)]

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use futures_util::future::{Either, LocalBoxFuture};

use super::linger::linger;
use super::objects::{delete, get, list, put};
use super::path::{self, Target};
use super::places::{self, OpenConnection};
use super::rate::Who;
use super::server::Shared;
use super::visit::{Visit, Waiting};
use super::{
    access, admin, api, audit, batch, collections, events, headers, health, locate, metrics, policies, problem, ticket,
    transfers,
};
use crate::error::{Error, Result};
use crate::model::{Address, Name, TokenRecord};
use crate::telemetry::trace::within;

/// When to come back to a door that was crowded.
const CROWDED_OUT: Duration = Duration::from_secs(1);

/// From this length on a body comes in more than one read, and is much work beside what it costs to look for another one.
const LONG_BODY_BYTES: u64 = 256 << 10;

type Answer = Result<ServiceResponse, actix_web::Error>;

/// An answer that is there at once, or one to wait for.
pub(super) type Answering = Either<Ready<Answer>, LocalBoxFuture<'static, Answer>>;

/// What is left to do when a request cannot be answered at once.
enum Work {
    Put(Address),
    Read(Address),
    Locate(Address),
    Delete(Address),
    List(Name),
    ListCollections,
    Collection(Method, Name),
    ListPolicies,
    Policy(Method, Name),
    Transfers,
    Sync,
    Metrics,
    Admin(admin::Task),
    Batch,
    Events,
}

/// Answers a request, without waiting where that is possible.
pub(super) fn answer(door: &Arc<Shared>, mut request: ServiceRequest) -> Answering {
    let has_long_body = has_long_body(&request);
    if has_long_body {
        let_buffer_go(&mut request);
    }
    let (request, payload) = request.into_parts();
    let target = path::target(request.uri().path());
    let visit = Visit::begin(&door.telemetry, request.head(), &target);
    let admitted = admit(door, request.head());
    let begun = audit::begin(&request, &admitted);
    let seat = request.conn_data::<OpenConnection>().map(OpenConnection::seat);
    let planned = match admitted {
        Ok(_) => plan(door, request.head(), target),
        Err(error) => Err(problem::of(&error, None)),
    };
    match planned {
        Err(mut response) => {
            door.audit.end(begun, &response);
            match seat {
                Some(seat) if places::is_short(&response) => seat.answered(visit.started()),
                Some(seat) => response = seat.serve(false, visit.started()).until_sent(response),
                None => {}
            }
            visit.answered(&door.telemetry, &mut response);
            Either::Left(ready(Ok(ServiceResponse::new(request, response))))
        }
        Ok(work) => {
            let (door, place) = (Arc::clone(door), visit.place());
            let with_body = !matches!(payload, Payload::None);
            let serving = seat.map(|seat| seat.serve(with_body, visit.started()));
            let visit = Waiting::new(visit, &door.telemetry);
            Either::Right(Box::pin(async move {
                let mut response = match serving {
                    Some(serving) => {
                        let payload = if with_body { serving.watched(payload) } else { payload };
                        let work = within(Some(place), perform(&door, request.head(), payload, work));
                        let response = serving.unless_crowded(work).await.unwrap_or_else(crowded);
                        serving.until_sent(response)
                    }
                    None => within(Some(place), perform(&door, request.head(), payload, work)).await,
                };
                door.audit.end(begun, &response);
                visit.answered(&mut response);
                if has_long_body {
                    linger();
                }
                Ok(ServiceResponse::new(request, response))
            }))
        }
    }
}

/// Whether much follows the headers, or may.
fn has_long_body(request: &ServiceRequest) -> bool {
    let has_body = !matches!(request.parts().1, Payload::None);
    has_body && !matches!(headers::size(request.headers()), Ok(Some(..LONG_BODY_BYTES)))
}

/// Takes the headers out of the buffer they were read into. As long as they lie there, the web server reads the body
/// into another buffer, which begins small in each request and grows by doubling.
fn let_buffer_go(request: &mut ServiceRequest) {
    request.headers_mut().retain(|_, value| {
        // What came as a value is one.
        if let Ok(own) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = own;
        }
        true
    });
}

/// The answer to who waited for its turn when others found no place at the door.
fn crowded() -> HttpResponse {
    problem::of(&Error::busy("the container has too many connections; try again").retry_after(CROWDED_OUT), None)
}

/// Answers one operation of a batch as the same request by itself would be; only objects and lists of
/// them can be asked for.
pub(super) async fn answer_part(door: &Arc<Shared>, head: &RequestHead, payload: Payload) -> HttpResponse {
    let target = path::target(head.uri.path());
    if !matches!(target, Target::Object(..) | Target::Collection(_)) {
        let error = Error::invalid("a part of a batch asks for /v1/objects/… and nothing else");
        return problem::of(&error.with("path", head.uri.path().escape_default()), None);
    }
    match allow(door, head) {
        Ok(_) => answer_allowed(door, head, payload).await,
        Err(error) => problem::of(&error, None),
    }
}

/// Answers a request for an object or a list that was looked at already.
pub(super) async fn answer_allowed(door: &Arc<Shared>, head: &RequestHead, payload: Payload) -> HttpResponse {
    match plan(door, head, path::target(head.uri.path())) {
        Ok(work) => perform(door, head, payload, work).await,
        Err(response) => response,
    }
}

/// Whether the request may be looked at: by where it comes from, then by whose it is.
fn allow(door: &Shared, head: &RequestHead) -> Result<Option<Arc<TokenRecord>>> {
    door.guard.check(head)?;
    if ticket::is_brought(head) {
        return ticket::check(door, head).map(|()| None);
    }
    access::check(&*door.authority, &head.headers, &head.method, head.uri.path())
}

/// The same, and it counts for the rate.
pub(super) fn admit(door: &Shared, head: &RequestHead) -> Result<Option<Arc<TokenRecord>>> {
    let path = head.uri.path();
    let whose = allow(door, head);
    if !access::is_open(path) {
        // A refused token counts against the address that sent it, so nobody tries many.
        door.rate.take(match &whose {
            Ok(Some(record)) => Who::Token(record.id),
            _ => Who::Peer(head.peer_addr.map(|addr| addr.ip())),
        })?;
    }
    whose
}

/// The work a request asks for, or (as `Err`) the answer that is known already.
fn plan(door: &Shared, head: &RequestHead, target: Target<'_>) -> Result<Work, HttpResponse> {
    let method = &head.method;
    match target {
        Target::Object(collection, key) => plan_object(door, head, collection, key),
        Target::Collection(collection) if reads(method) => match path::name(collection) {
            Ok(name) => Ok(Work::List(name)),
            Err(error) => Err(problem::of(&error, None)),
        },
        Target::Locate(collection, key) if reads(method) => match address(collection, key) {
            Ok(address) => Ok(Work::Locate(address)),
            Err(error) => Err(problem::of(&error, None)),
        },
        Target::Policies if reads(method) => Ok(Work::ListCollections),
        Target::Rules if reads(method) => Ok(Work::ListPolicies),
        Target::Transfers if reads(method) => Ok(Work::Transfers),
        Target::Sync if *method == Method::POST => Ok(Work::Sync),
        Target::Sync => Err(problem::wrong_method(method.as_str(), "POST")),
        Target::Policy(name) if collections::METHODS.contains(method) => match path::name(name) {
            Ok(name) => Ok(Work::Collection(method.clone(), name)),
            Err(error) => Err(problem::of(&error, None)),
        },
        Target::Rule(name) if policies::METHODS.contains(method) => match path::name(name) {
            Ok(name) => Ok(Work::Policy(method.clone(), name)),
            Err(error) => Err(problem::of(&error, None)),
        },
        Target::Policy(_) | Target::Rule(_) => Err(problem::wrong_method(method.as_str(), "GET, HEAD, PUT, DELETE")),
        Target::Health if reads(method) => Err(health::health()),
        Target::Ready if reads(method) => {
            Err(health::ready(door.core.ready()).unwrap_or_else(|error| problem::of(&error, None)))
        }
        Target::Admin(rest) => admin::plan(method, rest).map(Work::Admin),
        Target::Metrics if reads(method) => Ok(Work::Metrics),
        Target::Events if *method == Method::GET => Ok(Work::Events),
        Target::OpenApi | Target::Page if *method == Method::GET => Err(describe(head)),
        Target::Events | Target::OpenApi | Target::Page => Err(problem::wrong_method(method.as_str(), "GET")),
        Target::Batch if *method == Method::POST => Ok(Work::Batch),
        Target::Batch => Err(problem::wrong_method(method.as_str(), "POST")),
        Target::Collection(_)
        | Target::Locate(..)
        | Target::Policies
        | Target::Rules
        | Target::Transfers
        | Target::Health
        | Target::Ready
        | Target::Metrics => Err(problem::wrong_method(method.as_str(), "GET, HEAD")),
        Target::Later => {
            let error =
                Error::unimplemented("this path is not built yet").with("path", head.uri.path().escape_default());
            Err(problem::of(&error, None))
        }
        Target::Unknown => {
            let error = Error::not_found("no such path; objects are at /v1/objects/{collection}/{key}")
                .with("path", head.uri.path().escape_default());
            Err(problem::of(&error, None))
        }
    }
}

/// What the door says of itself, as a document or as a page.
fn describe(head: &RequestHead) -> HttpResponse {
    match path::query(head.uri.query(), |_, _| Ok(false)) {
        Ok(()) if path::target(head.uri.path()) == Target::Page => api::page(),
        Ok(()) => api::openapi(),
        Err(error) => problem::of(&error, None),
    }
}

fn plan_object(door: &Shared, head: &RequestHead, collection: &str, key: &str) -> Result<Work, HttpResponse> {
    let address = || address(collection, key).map_err(|error| problem::of(&error, None));
    match head.method {
        Method::GET | Method::HEAD => {
            let address = address()?;
            match get::from_memory(door, head, &address) {
                Ok(None) => Ok(Work::Read(address)),
                Ok(Some(response)) => Err(response),
                Err(error) => Err(problem::of(&error, Some(address.as_str()))),
            }
        }
        Method::PUT => address().map(Work::Put),
        Method::DELETE => address().map(Work::Delete),
        ref other => Err(problem::wrong_method(other.as_str(), "GET, HEAD, PUT, DELETE")),
    }
}

fn address(collection: &str, key: &str) -> Result<Address> {
    Address::new(&path::name(collection)?, &path::decode(key)?)
}

async fn perform(door: &Arc<Shared>, head: &RequestHead, payload: Payload, work: Work) -> HttpResponse {
    let address = match &work {
        Work::Put(address) | Work::Read(address) | Work::Locate(address) | Work::Delete(address) => {
            Some(address.clone())
        }
        _ => None,
    };
    let result = working(door, head, payload, work).await;
    result.unwrap_or_else(|error| problem::of(&error, address.as_ref().map(Address::as_str)))
}

/// Each kind of work in a box of its own size: what waits for one is moved about, and would have room for the largest.
fn working<'a>(
    door: &'a Arc<Shared>,
    head: &'a RequestHead,
    payload: Payload,
    work: Work,
) -> LocalBoxFuture<'a, Result<HttpResponse>> {
    match work {
        Work::Put(address) => Box::pin(put::put(door, head, payload, address)),
        Work::Read(address) => Box::pin(get::from_anywhere(door, head, address)),
        Work::Locate(address) => Box::pin(locate::locate(door, head, address)),
        Work::Delete(address) => Box::pin(delete::delete(door, head, address)),
        Work::List(collection) => Box::pin(list::list(door, head, collection)),
        Work::Metrics => Box::pin(metrics::metrics(door, head)),
        Work::ListCollections => Box::pin(ready(collections::list(door, head))),
        Work::Collection(method, name) => Box::pin(collections::answer(door, head, payload, method, name)),
        Work::ListPolicies => Box::pin(policies::list(door, head)),
        Work::Policy(method, name) => Box::pin(policies::answer(door, head, payload, method, name)),
        Work::Transfers => Box::pin(transfers::list(door, head)),
        Work::Sync => Box::pin(transfers::flush(door, head)),
        Work::Events => Box::pin(events::stream(door, head)),
        Work::Batch => Box::pin(batch::batch(door, head, payload)),
        Work::Admin(task) => Box::pin(admin::perform(door, head, payload, task)),
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{CONTENT_LENGTH, HOST};
    use actix_web::test::TestRequest;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_body_is_long_when_it_says_so_or_says_nothing() {
        for (length, is_long) in [("0", false), ("262143", false), ("262144", true), ("many", true)] {
            let request = TestRequest::put().set_payload("body").insert_header((CONTENT_LENGTH, length));
            assert_eq!(has_long_body(&request.to_srv_request()), is_long, "{length}");
        }
        let mut request = TestRequest::get().to_srv_request();
        request.set_payload(Payload::None);
        assert!(!has_long_body(&request), "nothing follows");
    }

    #[test]
    fn headers_let_the_buffer_go_that_they_were_read_into() {
        let buffer = Bytes::from(b"there".to_vec());
        let host = HeaderValue::from_maybe_shared(buffer.slice(..)).unwrap();
        let mut request = TestRequest::put().insert_header((HOST, host)).to_srv_request();
        assert!(!buffer.is_unique());
        let_buffer_go(&mut request);
        assert_eq!((buffer.is_unique(), request.headers().get(HOST).unwrap().as_bytes()), (true, &b"there"[..]));
    }
}

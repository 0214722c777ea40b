//! From a request to the part that answers it. There is no router of actix-web's in between: it
//! would decode and fold paths, and a RAM hit should cross as little as possible.

// An answer given early is an answer, not a failure to be passed up through many calls.
#![allow(clippy::result_large_err)]

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{Either, LocalBoxFuture};

use super::objects::{delete, get, list, put};
use super::path::{self, Target};
use super::rate::Who;
use super::server::Shared;
use super::{access, admin, audit, collections, health, problem};
use crate::error::{Error, Result};
use crate::model::{Address, Name, TokenRecord};

type Answer = Result<ServiceResponse, actix_web::Error>;

/// An answer that is there at once, or one to wait for.
pub(super) type Answering = Either<Ready<Answer>, LocalBoxFuture<'static, Answer>>;

/// What is left to do when a request cannot be answered at once.
enum Work {
    Put(Address),
    Read(Address),
    Delete(Address),
    List(Name),
    ListCollections,
    Collection(Method, Name),
    Admin(admin::Task),
}

/// Answers a request, without waiting where that is possible.
pub(super) fn answer(door: &Arc<Shared>, request: ServiceRequest) -> Answering {
    let (request, payload) = request.into_parts();
    let admitted = admit(door, &request);
    let begun = audit::begin(&request, &admitted);
    let planned = match admitted {
        Ok(_) => plan(door, &request),
        Err(error) => Err(problem::of(&error, None)),
    };
    match planned {
        Err(response) => {
            door.audit.end(begun, &response);
            Either::Left(ready(Ok(ServiceResponse::new(request, response))))
        }
        Ok(work) => {
            let door = Arc::clone(door);
            Either::Right(Box::pin(async move {
                let response = perform(&door, &request, payload, work).await;
                door.audit.end(begun, &response);
                Ok(ServiceResponse::new(request, response))
            }))
        }
    }
}

/// Whether the request may be looked at: by where it comes from, then by whose it is.
fn admit(door: &Shared, request: &HttpRequest) -> Result<Option<Arc<TokenRecord>>> {
    let head = request.head();
    door.guard.check(head)?;
    let path = head.uri.path();
    let whose = access::check(&*door.authority, &head.headers, &head.method, path);
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
fn plan(door: &Shared, request: &HttpRequest) -> Result<Work, HttpResponse> {
    let method = request.method();
    match path::target(request.uri().path()) {
        Target::Object(collection, key) => plan_object(door, request, collection, key),
        Target::Collection(collection) if reads(method) => match path::collection(collection) {
            Ok(name) => Ok(Work::List(name)),
            Err(error) => Err(problem::of(&error, None)),
        },
        Target::Policies if reads(method) => Ok(Work::ListCollections),
        Target::Policy(name) if collections::METHODS.contains(method) => match path::collection(name) {
            Ok(name) => Ok(Work::Collection(method.clone(), name)),
            Err(error) => Err(problem::of(&error, None)),
        },
        Target::Policy(_) => Err(problem::wrong_method(method.as_str(), "GET, HEAD, PUT, DELETE")),
        Target::Health if reads(method) => Err(health::health()),
        Target::Ready if reads(method) => {
            Err(health::ready(door.core.ready()).unwrap_or_else(|error| problem::of(&error, None)))
        }
        Target::Admin(rest) => admin::plan(method, rest).map(Work::Admin),
        Target::Collection(_) | Target::Policies | Target::Health | Target::Ready => {
            Err(problem::wrong_method(method.as_str(), "GET, HEAD"))
        }
        Target::Later => {
            let error =
                Error::unimplemented("this path is not built yet").with("path", request.uri().path().escape_default());
            Err(problem::of(&error, None))
        }
        Target::Unknown => {
            let error = Error::not_found("no such path; objects are at /v1/objects/{collection}/{key}")
                .with("path", request.uri().path().escape_default());
            Err(problem::of(&error, None))
        }
    }
}

fn plan_object(door: &Shared, request: &HttpRequest, collection: &str, key: &str) -> Result<Work, HttpResponse> {
    let address = || Address::new(&path::collection(collection)?, &path::decode(key)?);
    let address = || address().map_err(|error| problem::of(&error, None));
    match *request.method() {
        Method::GET | Method::HEAD => {
            let address = address()?;
            match get::from_memory(door, request.head(), &address) {
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

async fn perform(door: &Shared, request: &HttpRequest, payload: Payload, work: Work) -> HttpResponse {
    let head = request.head();
    let (result, address) = match work {
        Work::Put(address) => (put::put(door, head, payload, address.clone()).await, Some(address)),
        Work::Read(address) => (get::from_anywhere(door, head, address.clone()).await, Some(address)),
        Work::Delete(address) => (delete::delete(door, head, address.clone()).await, Some(address)),
        Work::List(collection) => (list::list(door, head, collection).await, None),
        Work::ListCollections => (collections::list(door, head), None),
        Work::Collection(method, name) => (collections::answer(door, head, payload, &method, name).await, None),
        Work::Admin(task) => (admin::perform(door, head, payload, task).await, None),
    };
    result.unwrap_or_else(|error| problem::of(&error, address.as_ref().map(Address::as_str)))
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

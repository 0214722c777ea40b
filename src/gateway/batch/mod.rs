//! `POST /v1/batch`: many operations in one request, answered part by part in their order, each as soon
//! as it and all before it are done. `docs/batch.md` has the format.
//!
//! Writes to different objects run side by side, so that they share commits; a read waits for all that
//! stands before it, and what stands behind it waits for the read. So a batch does what its operations
//! would do one after the other.

mod answer;
mod input;
mod operation;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::{BodyStream, BoxBody};
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, FuturesOrdered};
use tokio::sync::SemaphorePermit;

use super::deadline::within;
use super::server::Shared;
use super::{headers, path, problem, reply};
use crate::error::{Error, Result};
use crate::limits::{BATCH_WINDOW_BYTES, BATCH_WINDOW_PARTS};
use crate::model::Address;
use crate::wire::multipart;
use answer::{Answered, Writing};
use input::{Input, Read};
use operation::Operation;
#[cfg(any(test, fuzzing))]
pub(super) use operation::request;

/// Answers a batch.
pub(super) async fn batch(door: &Arc<Shared>, head: &RequestHead, payload: Payload) -> Result<HttpResponse> {
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let kind = headers::single(&head.headers, &CONTENT_TYPE)?.unwrap_or_default();
    let mut input = Input::new(multipart::boundary_of(kind)?, payload, door.options.idle_timeout);
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    // The door outlives its requests; the place is given back with the stream.
    let door = Arc::clone(door);
    let place = place(&door, deadline).await?;
    // What is no batch at all is refused as any bad request is.
    let first = match input.next().await? {
        Read::Part(part) => Operation::of(part, head),
        Read::End => return Err(Error::invalid("a batch has at least one part")),
    };
    let boundary = boundary();
    let mut response = HttpResponse::new(StatusCode::OK);
    let named = reply::value(format!("multipart/mixed; boundary={boundary}").into_bytes());
    response.headers_mut().insert(CONTENT_TYPE, named.unwrap_or(HeaderValue::from_static("multipart/mixed")));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let batch = Batch {
        door,
        outer: head.clone(),
        input: Some(input),
        pending: Some(first),
        running: FuturesOrdered::new(),
        started: Started::default(),
        writing: Writing::new(boundary),
        _place: place,
    };
    let pieces = stream::unfold(Some(batch), |batch| async {
        let mut batch = batch?;
        match batch.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(batch))),
            Ok(None) => None,
            // The connection is cut: what was begun must not look complete.
            Err(error) => {
                tracing::warn!(%error, "a batch failed after its head was sent; the connection is cut");
                Some((Err(error), None))
            }
        }
    });
    Ok(response.set_body(BoxBody::new(BodyStream::new(Box::pin(pieces)))))
}

/// A place among the batches at work, given back when dropped.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.batches.add_permits(1);
    }
}

async fn place(door: &Arc<Shared>, deadline: std::time::Duration) -> Result<Place> {
    let wait = async {
        let closed = |_| Error::unavailable("the door is shutting");
        door.batches.acquire().await.map(SemaphorePermit::forget).map_err(closed)
    };
    match within(deadline, wait).await {
        Ok(()) => Ok(Place(Arc::clone(door))),
        Err(_) => Err(Error::busy("too many batches are at work; try again")),
    }
}

/// 128 bits that no stored object can know: whoever writes objects must not be able to forge a boundary.
fn boundary() -> String {
    let word = || RandomState::new().hash_one(0u8);
    format!("mesh-{:016x}{:016x}", word(), word())
}

/// A batch being answered.
struct Batch {
    door: Arc<Shared>,
    outer: RequestHead,
    /// `None` once all of it was read, or nothing more of it can be.
    input: Option<Input>,
    /// Read, and waiting for its turn.
    pending: Option<Operation>,
    /// At work, in order.
    running: FuturesOrdered<LocalBoxFuture<'static, Answered>>,
    /// What each of them holds.
    started: Started,
    writing: Writing,
    _place: Place,
}

impl Batch {
    /// The next piece of the answer; `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(piece) = self.writing.piece(self.door.options.idle_timeout).await? {
                return Ok(Some(piece));
            }
            self.start();
            let may_read = self.pending.is_none()
                && self.running.len() < BATCH_WINDOW_PARTS
                && self.started.bytes < BATCH_WINDOW_BYTES;
            match &mut self.input {
                Some(input) if may_read => tokio::select! {
                    biased;
                    Some(done) = self.running.next(), if !self.running.is_empty() => self.answered(done),
                    read = input.next() => match read {
                        Ok(Read::Part(part)) => self.pending = Some(Operation::of(part, &self.outer)),
                        Ok(Read::End) => self.input = None,
                        // Answered in its turn; what follows cannot be told apart any more.
                        Err(error) => {
                            self.input = None;
                            self.pending = Some(Operation::refused(None, error));
                        }
                    },
                },
                _ => match self.running.next().await {
                    Some(done) => self.answered(done),
                    None if self.pending.is_none() => return Ok(self.writing.close()),
                    None => {}
                },
            }
        }
    }

    /// Starts what waits, if its turn has come.
    fn start(&mut self) {
        let Some(pending) = &self.pending else { return };
        if self.started.is_in_the_way_of(pending.changes.as_ref()) {
            return;
        }
        if let Some(operation) = self.pending.take() {
            self.started.push(operation.changes.clone(), operation.held);
            let door = Arc::clone(&self.door);
            self.running.push_back(Box::pin(operation.run(door)));
        }
    }

    fn answered(&mut self, done: Answered) {
        self.started.pop();
        self.writing.begin(done);
    }
}

/// What the operations at work hold, in order.
#[derive(Default)]
struct Started {
    /// The object that each changes (reads change none), and bytes of its body.
    held: VecDeque<(Option<Address>, u64)>,
    /// The objects that are being changed; no two at once change the same one.
    changed: HashSet<Address>,
    bytes: u64,
}

impl Started {
    /// Changes of one object go one after the other, and reads go alone: each sees what stands before it.
    fn is_in_the_way_of(&self, changes: Option<&Address>) -> bool {
        match changes {
            Some(address) => self.changed.len() < self.held.len() || self.changed.contains(address),
            None => !self.held.is_empty(),
        }
    }

    fn push(&mut self, changes: Option<Address>, bytes: u64) {
        self.bytes += bytes;
        self.changed.extend(changes.clone());
        self.held.push_back((changes, bytes));
    }

    fn pop(&mut self) {
        let Some((changes, bytes)) = self.held.pop_front() else { return };
        self.bytes -= bytes;
        if let Some(address) = changes {
            self.changed.remove(&address);
        }
    }
}

fn refusal(error: &Error) -> HttpResponse {
    problem::of(error, None)
}

//! A push as the door's own thread can carry it: to a collection that is there already.
//!
//! As for a read from memory, what mailboxes and other threads cost would be more than what a small push costs
//! itself. What takes a processor for long, or a disk, runs apart also here: in the workers, in the commit thread; but
//! this thread hashes what memory alone will hold, as far as no worker does. The container actor stores what first
//! needs its collection made.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::body::Body;
use super::container::{Crew, Plan};
use super::handle::Permits;
use super::push::store;
use super::request::{Push, Pushed};
use crate::error::{Error, Result};

/// How to store it, if its collection is there.
pub(super) fn plan(crew: &Crew, push: &Push) -> Option<Result<Plan>> {
    let collection = crew.collections.get(push.address.collection()).transpose()?;
    Some(collection.and_then(|collection| Plan::of(&collection.policy, push)))
}

/// Stores it. A panic is this push's alone, as in an actor.
pub(super) async fn push(crew: &Crew, plan: Plan, push: Box<Push>, body: Body, permits: Permits) -> Result<Pushed> {
    let stored = AssertUnwindSafe(store(crew, plan, push, body, permits)).catch_unwind().await;
    stored.unwrap_or_else(|_| Err(Error::internal("the push failed; try again")))
}

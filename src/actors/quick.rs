//! A small push: sealed on the door's own thread and put straight into the commit queue.
//!
//! As for a read from memory, what a mailbox costs would be more than the work. What has to wait for
//! something else first, such as a new collection, a condition or a body that still arrives, goes through the
//! container actor.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::body::Body;
use super::container::{Crew, Plan};
use super::handle::Permits;
use super::push::{SMALL_BYTES_MAX, store};
use super::request::{Push, Pushed};
use crate::error::{Error, Result};
use crate::model::Durability;

/// How to store it, if it is one.
pub(super) fn plan(crew: &Crew, push: &Push, body: &Body) -> Option<Plan> {
    let whole = body.whole_len().is_some_and(|bytes| bytes <= SMALL_BYTES_MAX);
    if !whole || crew.keeper.foresees(&push.address, &push.condition) {
        return None;
    }
    let collection = crew.collections.get(push.address.collection()).ok().flatten()?;
    Plan::of(&collection.policy, push).ok().filter(|plan| plan.durability == Durability::Disk)
}

/// Stores it. A panic is this push's alone, as in an actor.
pub(super) async fn push(crew: &Crew, plan: Plan, push: Push, body: Body, permits: Permits) -> Result<Pushed> {
    let stored = AssertUnwindSafe(store(crew, plan, push, body, permits)).catch_unwind().await;
    stored.unwrap_or_else(|_| Err(Error::internal("the push failed; try again")))
}

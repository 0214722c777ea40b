//! Where bytes rest: memory, disk, cloud, and what keeps the first two in step.
//!
//! A tier knows manifests and bytes, never keys or compression: what it is given is already in the
//! form it rests in. Actors drive the tiers; nothing here spawns, sleeps or waits for a message.

mod cloud;
mod copies;
mod dirty;
mod disk;
pub mod eviction;
mod keeper;
mod memory;
mod peer;
mod rules;
mod sequencer;
mod tier;

#[cfg(test)]
mod conformance;

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use cloud::fuzzing;
pub use cloud::{CloudHead, CloudParts, CloudReader, CloudTier};
pub use copies::Copies;
pub use disk::{DiskTier, DiskUsage, FrameReader, Recovery, Rewrapped, StagedFrame, Staging};
pub use keeper::{Binding, Change, Draft, Job, Keeper, Lacks, Learnt, Located, News, Outcome, Show, Swept};
pub use memory::{MemoryTier, MemoryUsage, Note, Reservation, Resident, Ticket};
pub use peer::{
    Accepted, Arriving, Asked, Deciding, Decision, Elsewhere, Everywhere, Handover, Opened, Peers, Sending,
};
pub use rules::{Rulebook, Rules};
pub use sequencer::{Sequencer, Stamp};
pub use tier::{Run, Source, Tier, TierCopy};

/// Locks; what a panicking holder left is still whole, because every critical section here changes
/// one thing at a time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

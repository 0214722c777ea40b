//! Where what was acknowledged is kept: a file system as a trait, and one embedded database on it.
//!
//! The database is named in `db.rs` alone; everybody else speaks in typed [`Batch`]es and reads.
//! Tiers and actors may use this module; it knows nothing of sealing, tiers or requests.

mod backend;
mod batch;
mod bounded;
mod catalog;
mod db;
mod entries;
mod faults;
mod fs;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod journal;
mod ledger;
mod mesh;
mod overlay;
mod real;
mod recent;
mod records;
mod recount;
mod reserve;
mod rewrap;
mod rows;
mod salvage;
mod scrub;
mod sim;
mod sim_disk;
mod slabs;
mod timed;
mod tokens;
mod typed;
mod walk;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use batch::Batch;
pub use bounded::BoundedFs;
pub use catalog::{KnownPlace, KnownStretch};
pub use faults::{FaultFs, FaultOp};
pub use fs::{File, Fs};
pub use ledger::Stretch;
pub use mesh::{FarContainer, NewsPlace};
pub use real::{LockGuard, RealFs};
pub use records::{Chore, CollectionRecord, Ending, Owed, QuarantineRecord, ROW_CHECK_BYTES};
pub use recount::{DamagedDeadline, Due};
pub use reserve::Leave;
pub use rewrap::RewrapRecord;
pub use salvage::{SalvageRecord, lost};
pub use scrub::{ScrubRecord, ScrubRound};
pub use sim::{SimFs, SyncKind};
pub use timed::TimedFs;
pub use typed::{Counts, Identity, Listing, Store, StoreOptions, Verification};
pub use walk::{WalkPlace, WalkStretch};

use crate::error::Error;

/// A failure of the file system in our terms: `what` says what could not be done.
pub fn io_error(error: io::Error, what: &str) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::unavailable(format!("{what}: the disk is full; free some space or delete objects")).because(error)
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Error::unavailable(format!(
            "{what}: the data folder is not writable; mend its permissions or choose another"
        ))
        .because(error),
        _ => Error::internal(what).because(error),
    }
}

/// Locks although a holder panicked: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

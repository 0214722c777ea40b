//! Where what was acknowledged is kept: a file system as a trait, and one embedded database on it.
//!
//! The database is named in `db.rs` alone; everybody else speaks in typed [`Batch`]es and reads.
//! Tiers and actors may use this module; it knows nothing of sealing, tiers or requests.

mod faults;
mod fs;
mod real;
mod sim;
mod sim_disk;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use faults::{FaultFs, FaultOp};
pub use fs::{File, Fs};
pub use real::{LockGuard, RealFs};
pub use sim::{SimFs, SyncKind};

/// Locks although a holder panicked: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

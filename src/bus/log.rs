//! A site's log: entries in one order, kept by the bus, read by cursor.
//!
//! The last entry of one subject can serve as a record that several change: each reads it and adds the next one only
//! behind what it has read. It goes with age as every entry does, so who keeps a record adds it anew in time.
//!
//! The store is the truth and the log is how changes travel: a bus may lose what it acknowledged, or come back
//! from an old copy. Who reads says by the entries themselves what it has seen, never by their places alone.

use futures_util::future::BoxFuture;

use super::{Message, Pattern, Subject};
use crate::error::{Error, Kind, Result};

/// An entry and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Grows from entry to entry, not always by one.
    pub place: u64,
    /// The entry.
    pub message: Message,
}

/// A log. Its entries are messages that everybody who subscribes to their subjects hears as well: a wake-up, since
/// one that was added before, or is refused, may be heard too. What holds is what the log has.
pub trait Log: Send + Sync {
    /// Adds an entry and returns its place once the bus has it. `id` names it: one that was added within the
    /// last two minutes is not added again.
    fn append<'a>(&'a self, id: &str, entry: Message) -> BoxFuture<'a, Result<u64>>;

    /// Adds an entry only if the last one of its subject is at `place`, 0 for none; otherwise the error is
    /// `precondition_failed`, and nothing was added. After any other error it may have been added all the same: who
    /// must know reads [`Log::last`]. Subscribers may also hear an entry that was refused: they read the record too.
    fn append_behind<'a>(&'a self, place: u64, entry: Message) -> BoxFuture<'a, Result<u64>>;

    /// The last entry of exactly this subject; `None` when there is none.
    fn last<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Logged>>>;

    /// Up to `limit` entries behind a place, 0 for the first; fewer, or none, at the end. What was dropped by age
    /// is passed over.
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Logged>>>;

    /// The places of the first and the last entry; `None` when there is none.
    fn bounds(&self) -> BoxFuture<'_, Result<Option<(u64, u64)>>>;
}

/// Refuses an entry that no reader of this log would find.
pub(super) fn check_belongs(subjects: &Pattern, entry: &Message) -> Result<()> {
    match subjects.matches(&entry.subject) {
        true => Ok(()),
        false => Err(Error::internal("an entry does not belong to this log").with("subject", &entry.subject)),
    }
}

/// What a writer hears who was not the first behind a place.
pub(super) fn overtaken() -> Error {
    Error::new(Kind::PreconditionFailed, "the last entry of this subject is another one; read it and try again")
}

//! A site's log: entries in one order, kept by the bus, read by cursor.
//!
//! The store is the truth and the log is how changes travel: a bus may lose what it acknowledged, or come back
//! from an old copy. Who reads says by the entries themselves what it has seen, never by their places alone.

use futures_util::future::BoxFuture;

use super::Message;
use crate::error::Result;

/// An entry and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Grows from entry to entry, not always by one.
    pub place: u64,
    /// The entry.
    pub message: Message,
}

/// A log. Its entries are messages that everybody who subscribes to their subjects hears as well.
pub trait Log: Send + Sync {
    /// Adds an entry and returns its place once the bus has it. `id` names it: one that was added within the
    /// last two minutes is not added again.
    fn append<'a>(&'a self, id: &str, entry: Message) -> BoxFuture<'a, Result<u64>>;

    /// Up to `limit` entries behind a place, 0 for the first; fewer, or none, at the end. What was dropped by age
    /// is passed over.
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Logged>>>;

    /// The places of the first and the last entry; `None` when there is none.
    fn bounds(&self) -> BoxFuture<'_, Result<Option<(u64, u64)>>>;
}

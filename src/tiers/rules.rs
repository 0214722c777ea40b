//! What a collection's policy means for the order of changes: asked at each commit, decided elsewhere.

use crate::model::Quota;

/// What holds for the changes of one collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// How long replaced and deleted versions stay readable, in milliseconds.
    pub retention_ms: u64,
    /// How much the collection may hold.
    pub quota: Quota,
}

/// Knows the rules of every collection.
pub trait Rulebook: Send + Sync {
    /// The rules of a collection; `None` when there is no such collection.
    fn rules(&self, collection: &str) -> Option<Rules>;
}

/// The same rules for every collection, whether or not it was ever made.
impl Rulebook for Rules {
    fn rules(&self, _: &str) -> Option<Rules> {
        Some(*self)
    }
}

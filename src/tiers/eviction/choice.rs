//! What a collection asks of a level's eviction, and how a policy learns whose an entry is.

use std::hash::Hash;
use std::sync::Arc;

use crate::model::{Address, EvictionKind};

/// What a collection asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Who leaves first; the level's own policy where it is `None`.
    pub kind: Option<EvictionKind>,
    /// Whether its entries stay once they are here. Whoever answers says no for a collection that is
    /// above its quota.
    pub pinned: bool,
}

/// Looks up what a collection asks for, by its name. It is asked for every collection at each turn of the
/// clockwork, so it must be quick: a map in memory, no I/O.
pub type Choices = Arc<dyn Fn(&str) -> Choice + Send + Sync>;

/// Nobody asks for anything.
pub fn no_choices() -> Choices {
    Arc::new(|_| Choice::default())
}

/// A key that belongs to a collection.
pub trait Grouped: Clone + Eq + Hash + Send + 'static {
    /// The collection's name.
    fn collection(&self) -> &str;
}

impl Grouped for Address {
    fn collection(&self) -> &str {
        Address::collection(self)
    }
}

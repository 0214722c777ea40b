//! What a collection asks of a level's eviction, and how a policy learns whose an entry is.

use std::hash::Hash;
use std::sync::Arc;

use crate::model::{Address, EvictionKind};

/// What a collection asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Who leaves first; the level's own policy where it is `None`.
    pub kind: Option<EvictionKind>,
    /// Whether its entries stay once they are here.
    pub pinned: bool,
}

/// What pinned collections hold of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Bytes that stay.
    pub bytes: u64,
    /// The most that may stay.
    pub bytes_max: u64,
    /// Bytes that came when no more could be pinned: they leave like those of any other collection.
    pub spilled: u64,
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

//! What `sections.rs` keeps of one section and of one collection.

use super::Policy;
use super::choice::Choice;
use super::ghost::Ghost;
use crate::model::EvictionKind;

/// Who shares a section.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// One collection.
    Own(Box<str>, EvictionKind),
    /// All of a kind.
    Shared(EvictionKind),
    /// All that nothing is drawn from.
    Pinned,
    /// What belongs to pinned collections and found no more room among the pinned.
    Spilled,
}

/// One policy and its part of the level.
pub(super) struct Section<K> {
    pub home: Home,
    pub policy: Box<dyn Policy<K>>,
    /// What it let go, and how much of that came back soon.
    pub ghost: Ghost,
    pub regrets: u64,
    pub share: u64,
}

impl<K> Section<K> {
    /// Whether victims are drawn from it.
    pub fn pays(&self) -> bool {
        self.home != Home::Pinned
    }
}

/// A collection that has entries here, or had some lately.
pub(super) struct Known {
    pub section: u32,
    pub choice: Choice,
    pub entries: usize,
    pub idle_rounds: u32,
}

//! Which entries leave a full level: one trait, and a file for each policy.
//!
//! A policy keeps books only: it owns no bytes, asks no clock and takes no lock; the one actor of a
//! level owns it. `sections.rs` keeps several policies over one level, one for each collection that names
//! its own; `level.rs` is what that actor asks of a level. `conformance.rs` is the suite every policy passes,
//! `simulation.rs` compares hit ratios, and `benches/eviction` does so with other caches.
//! An entry costs its policy about [`ENTRY_OVERHEAD_BYTES`] beside the bytes it stands for.

use std::hash::Hash;

use crate::model::EvictionKind;

mod choice;
mod climber;
mod ghost;
mod level;
mod lfu;
mod list;
mod lru;
mod pinning;
mod section;
mod sections;
mod shares;
mod sketch;
mod w_tinylfu;

#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod sections_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod traces;

pub use choice::{Choice, Choices, Grouped, Pins, no_choices};
pub use level::Evictable;
pub use lfu::Lfu;
pub use lru::Lru;
pub use sections::Sections;
pub use w_tinylfu::WTinyLfu;

/// What the books of one entry take in memory, for a level to add to the entry's own size: a node (48
/// bytes with an address as key), its place in the index (33) and its share of what is learnt (up to 36), the
/// first two doubled because tables grow by doubling. The text of the address is shared, so it is not here.
pub const ENTRY_OVERHEAD_BYTES: u64 = 208;

/// Decides which entries leave a full level. Keeps books only; owns no bytes. Single-threaded: one actor owns it.
pub trait Policy<K>: Send {
    /// The policy's name on every door.
    fn name(&self) -> &'static str;

    /// A new entry, or an entry whose cost changed; always let in.
    fn insert(&mut self, key: K, cost: u64);

    /// It was used. A key that is not here (hits arrive late) changes no books.
    fn touch(&mut self, key: &K);

    /// A use of something that is not here: frequency is learnt before it enters.
    fn miss(&mut self, key: &K);

    /// It left the level.
    fn remove(&mut self, key: &K);

    /// Entries to let go so that at least `bytes` become free, in order; each is forgotten by the policy.
    /// Fewer when there are not enough. Entries for which `keep(key)` is true are passed over (pinned or in
    /// transit) and count as just used, so that the next call need not step over them again.
    fn victims(&mut self, bytes: u64, keep: &dyn Fn(&K) -> bool) -> Vec<K>;

    /// Whether a candidate of this cost is worth more than what it would push out (always true while there is room).
    fn admits(&mut self, key: &K, cost: u64, free: u64) -> bool;

    /// The level, or this policy's part of it, has another size from now on. Nothing leaves by that.
    fn resize(&mut self, budget_bytes: u64);

    /// Visits every entry with its cost, in no order.
    fn each(&self, visit: &mut dyn FnMut(&K, u64));

    /// How many entries there are.
    fn len(&self) -> usize;

    /// The sum of the costs of all entries.
    fn cost(&self) -> u64;

    /// Whether there are no entries.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A policy of this kind for a level of `budget_bytes`, the same from run to run.
pub fn policy<K: Clone + Eq + Hash + Send + 'static>(kind: EvictionKind, budget_bytes: u64) -> Box<dyn Policy<K>> {
    policy_seeded(kind, budget_bytes, 0)
}

/// The same with a seed of the caller's. A container that strangers can push to gives a random one, so that
/// nobody can choose keys that share their counters.
pub fn policy_seeded<K: Clone + Eq + Hash + Send + 'static>(
    kind: EvictionKind,
    budget_bytes: u64,
    seed: u64,
) -> Box<dyn Policy<K>> {
    match kind {
        EvictionKind::Lru => Box::new(Lru::new(budget_bytes)),
        EvictionKind::Lfu => Box::new(Lfu::new(budget_bytes)),
        EvictionKind::WTinyLfu => Box::new(WTinyLfu::new(budget_bytes, seed)),
    }
}

//! Which copy of a number a thread counts in.
//!
//! A number that every request touches is kept a few times over, and a thread uses its own: two workers that answer
//! at the same time do not pull one cache line back and forth.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Copies of each number; a power of two.
pub(super) const SHARDS: usize = 8;

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

/// The copy that this thread uses, below [`SHARDS`].
pub(super) fn mine() -> usize {
    // A thread that is ending has none of its own any more.
    SHARD.try_with(|shard| *shard).unwrap_or(0)
}

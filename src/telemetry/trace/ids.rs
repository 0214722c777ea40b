//! Fresh ids for traces and spans: one atomic add each, since every request needs them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Rng, mix};

/// Makes ids from seeds that are drawn once. They are names, not secrets: who sees many may guess the
/// next, and nothing hangs on that.
pub(super) struct Ids {
    next: AtomicU64,
    seeds: [u64; 3],
}

impl Ids {
    pub(super) fn new(rng: &dyn Rng) -> Self {
        Ids { next: AtomicU64::new(rng.u64()), seeds: [rng.u64(), rng.u64(), rng.u64()] }
    }

    /// A trace and a span, neither of them 0.
    pub(super) fn next(&self) -> (u128, u64) {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let [high, low, span] = self.seeds.map(|seed| mix(seed ^ mix(count.wrapping_add(seed))));
        (u128::from(high) << 64 | u128::from(low.max(1)), span.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::SeededRng;

    #[test]
    fn ids_differ_within_a_container_and_between_containers() {
        let (one, other) = (Ids::new(&SeededRng::new(1)), Ids::new(&SeededRng::new(2)));
        let ids: Vec<(u128, u64)> = (0..20_000).flat_map(|_| [one.next(), other.next()]).collect();
        let distinct = |ids: HashSet<u128>| ids.len() == 40_000 && !ids.contains(&0);
        assert!(distinct(ids.iter().map(|(trace, _)| *trace).collect()));
        assert!(distinct(ids.iter().map(|(_, span)| u128::from(*span)).collect()));
    }
}

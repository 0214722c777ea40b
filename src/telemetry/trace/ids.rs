//! Fresh ids for traces and spans: one atomic add each, since every request needs them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Rng, mix};
use crate::telemetry::shard::{self, SHARDS};

/// Makes ids from seeds that are drawn once. They are names, not secrets: who sees many may guess the
/// next, and nothing hangs on that.
pub(super) struct Ids {
    lanes: [Lane; SHARDS],
    seeds: [u64; 3],
}

/// Numbers that one shard of the threads takes; a pair of cache lines, as no other is to touch them.
#[repr(align(128))]
struct Lane(AtomicU64);

/// Numbers in each lane: more than are ever taken.
const LANE: u64 = u64::MAX / SHARDS as u64;

impl Ids {
    pub(super) fn new(rng: &dyn Rng) -> Self {
        let first = rng.u64();
        let lane = |shard| Lane(AtomicU64::new(first.wrapping_add(LANE.wrapping_mul(shard as u64))));
        Ids { lanes: std::array::from_fn(lane), seeds: [rng.u64(), rng.u64(), rng.u64()] }
    }

    /// A trace and a span, neither of them 0.
    pub(super) fn next(&self) -> (u128, u64) {
        let count = self.lanes.get(shard::mine()).map_or(0, |lane| lane.0.fetch_add(1, Ordering::Relaxed));
        let [high, low, span] = self.seeds.map(|seed| mix(seed ^ count));
        (u128::from(high) << 64 | u128::from(low.max(1)), span.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;
    use crate::model::SeededRng;

    #[test]
    fn ids_differ_within_a_container_between_its_threads_and_between_containers() {
        let (one, other) = (Ids::new(&SeededRng::new(1)), Ids::new(&SeededRng::new(2)));
        let some = || (0..5_000).flat_map(|_| [one.next(), other.next()]).collect::<Vec<_>>();
        let ids: Vec<(u128, u64)> = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(some));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct = |ids: HashSet<u128>| ids.len() == 40_000 && !ids.contains(&0);
        assert!(distinct(ids.iter().map(|(trace, _)| *trace).collect()));
        assert!(distinct(ids.iter().map(|(_, span)| u128::from(*span)).collect()));
    }
}

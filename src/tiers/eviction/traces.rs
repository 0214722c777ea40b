//! Small seeded traces of uses, to compare policies with: also with those of others, in `benches/eviction`.
//!
//! A trace is a list of keys and the size of what each stands for. The high bits of a key say which
//! collection it is in.

use crate::model::{Rng, SeededRng};

/// A use of a key and the size of what it stands for.
pub type Use = (u64, u64);

/// Keys of the n-th collection start at n times this.
pub const COLLECTION: u64 = 1 << 40;

/// Numbers below `n`, where the one of rank `r` comes with a weight of `1 / r^skew`.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(n: u64, skew: f64) -> Self {
        let mut sum = 0.0;
        Zipf(
            (1..=n)
                .map(|rank| {
                    sum += (rank as f64).powf(-skew);
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, rng: &SeededRng) -> u64 {
        let at = (rng.u64() >> 11) as f64 / (1u64 << 53) as f64 * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum < at) as u64
    }
}

pub fn zipf(skew: f64) -> Vec<Use> {
    let (rng, zipf) = (SeededRng::new(1), Zipf::new(20_000, skew));
    (0..200_000).map(|_| (zipf.draw(&rng), 1)).collect()
}

/// Zipf, and every so often a run through keys that come only once.
pub fn scans() -> Vec<Use> {
    let mut next = 1_000_000;
    let mut scan = |_| {
        next += 1;
        (next, 1)
    };
    let mut trace = Vec::new();
    for part in zipf(0.9).chunks(4000) {
        trace.extend_from_slice(part);
        trace.extend((0..2000).map(&mut scan));
    }
    trace
}

/// A hot set of 400 of 20,000 keys that moves on by half every 10,000 uses.
pub fn moving(seed: u64) -> Vec<Use> {
    let rng = SeededRng::new(seed);
    let hot = |at: u64| at / 10_000 * 200 + rng.below(400);
    (0..200_000).map(|at| (if rng.below(10) < 8 { hot(at) } else { 100_000 + rng.below(20_000) }, 1)).collect()
}

/// A loop a little too long for the cache, which LRU never hits.
pub fn loops() -> Vec<Use> {
    (0..200_000).map(|at| (at % 1500, 1)).collect()
}

/// Recent things are used again soon, and never after.
pub fn recent() -> Vec<Use> {
    let (rng, zipf) = (SeededRng::new(3), Zipf::new(2000, 0.8));
    (0..200_000).map(|at| (1_000_000 + at / 4 - zipf.draw(&rng), 1)).collect()
}

/// Zipf over objects whose sizes differ by up to a thousand times, whatever their rank.
pub fn sizes() -> Vec<Use> {
    let size = |key| 1 << SeededRng::new(key).below(11);
    zipf(0.9).into_iter().map(|(key, _)| (key, size(key))).collect()
}

/// Several loads at the same time, each in a collection of its own, taking turns.
pub fn beside<const N: usize>(loads: [Vec<Use>; N]) -> Vec<Use> {
    let length = loads.iter().map(Vec::len).min().unwrap_or_default();
    let turn = |at: usize| {
        let loads = loads.iter().enumerate();
        loads.filter_map(move |(nth, load)| load.get(at).map(|(key, size)| (key + nth as u64 * COLLECTION, *size)))
    };
    (0..length).flat_map(turn).collect()
}

/// Keys that come only once.
pub fn once(uses: u64) -> Vec<Use> {
    (0..uses).map(|key| (key, 1)).collect()
}

/// A zipf load over this many keys.
pub fn zipf_of(keys: u64, skew: f64, seed: u64, uses: usize) -> Vec<Use> {
    let (rng, zipf) = (SeededRng::new(seed), Zipf::new(keys, skew));
    (0..uses).map(|_| (zipf.draw(&rng), 1)).collect()
}

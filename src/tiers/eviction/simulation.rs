//! Small seeded traces played to each policy: what the default must never lose to the yardstick.

use super::{Lru, Policy, WTinyLfu};
use crate::model::{Rng, SeededRng};

/// A use of a key and the size of what it stands for.
type Use = (u64, u64);

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
        let at = (rng.u64() >> 11) as f64 / (1u64 << 53) as f64 * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum < at) as u64
    }
}

fn zipf(skew: f64) -> Vec<Use> {
    let (rng, zipf) = (SeededRng::new(1), Zipf::new(20_000, skew));
    (0..200_000).map(|_| (zipf.draw(&rng), 1)).collect()
}

/// Zipf, and every so often a run through keys that come only once.
fn scans() -> Vec<Use> {
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
fn moving() -> Vec<Use> {
    let rng = SeededRng::new(2);
    let hot = |at: u64| at / 10_000 * 200 + rng.below(400);
    (0..200_000).map(|at| (if rng.below(10) < 8 { hot(at) } else { 100_000 + rng.below(20_000) }, 1)).collect()
}

/// A loop a little too long for the cache, which LRU never hits.
fn loops() -> Vec<Use> {
    (0..200_000).map(|at| (at % 1500, 1)).collect()
}

/// Recent things are used again soon, and never after.
fn recent() -> Vec<Use> {
    let (rng, zipf) = (SeededRng::new(3), Zipf::new(2000, 0.8));
    (0..200_000).map(|at| (1_000_000 + at / 4 - zipf.draw(&rng), 1)).collect()
}

/// Zipf over objects whose sizes differ by up to a thousand times, whatever their rank.
fn sizes() -> Vec<Use> {
    let size = |key| 1 << SeededRng::new(key).below(11);
    zipf(0.9).into_iter().map(|(key, _)| (key, size(key))).collect()
}

/// The share of uses that find their object, and that of the bytes.
fn hit_ratio(policy: &mut dyn Policy<u64>, budget: u64, trace: &[Use]) -> f64 {
    let (mut held, mut hits) = (std::collections::HashSet::new(), 0);
    for &(key, size) in trace {
        if held.contains(&key) {
            hits += 1;
            policy.touch(&key);
            continue;
        }
        policy.miss(&key);
        let free = budget - policy.cost();
        if policy.admits(&key, size, free) {
            policy.victims(size.saturating_sub(free), &|_| false).iter().for_each(|gone| {
                held.remove(gone);
            });
            policy.insert(key, size);
            held.insert(key);
        }
        assert!(policy.cost() <= budget && policy.len() == held.len());
    }
    hits as f64 / trace.len() as f64 * 100.0
}

#[test]
fn explore() {
    for (name, trace) in [
        ("zipf0.9", zipf(0.9)),
        ("zipf1.0", zipf(1.0)),
        ("scans", scans()),
        ("moving", moving()),
        ("loops", loops()),
        ("recent", recent()),
        ("sizes", sizes()),
    ] {
        let unit = if name == "sizes" { 200 } else { 1 };
        for budget in [100, 500, 1000, 4000] {
            let budget = budget * unit;
            let lru = hit_ratio(&mut Lru::new(budget), budget, &trace);
            let mut policy = WTinyLfu::new(budget, 7);
            let ours = hit_ratio(&mut policy, budget, &trace);
            println!(
                "{name:8} {budget:7} lru {lru:6.2} ours {ours:6.2} {:+6.2}  window {:.2}",
                ours - lru,
                policy.window()
            );
        }
    }
}

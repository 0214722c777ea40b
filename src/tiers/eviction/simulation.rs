//! Small seeded traces played to each policy: what the default must never lose to the yardstick.

use super::{Policy, policy_seeded};
use crate::model::{EvictionKind, Rng, SeededRng};

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
fn moving(seed: u64) -> Vec<Use> {
    let rng = SeededRng::new(seed);
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

/// The share of uses that find their object, in points.
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

/// For each size of the level, by how many points the default is better than LRU.
fn gains(trace: &[Use], budgets: [u64; 3]) -> [f64; 3] {
    budgets.map(|budget| {
        let [lru, ours] = [EvictionKind::Lru, EvictionKind::WTinyLfu]
            .map(|kind| hit_ratio(policy_seeded(kind, budget, 7).as_mut(), budget, trace));
        println!("{budget}: lru {lru:.2}, ours {ours:.2}");
        ours - lru
    })
}

const ENTRIES: [u64; 3] = [500, 1000, 4000];

/// Fails unless the gains are at least these, level by level.
fn assert_gains(trace: &[Use], budgets: [u64; 3], at_least: [f64; 3]) {
    let gains = gains(trace, budgets);
    assert!(gains.iter().zip(at_least).all(|(gain, least)| *gain >= least), "{gains:.2?} but expected {at_least:?}");
}

#[test]
fn zipf_is_clearly_better_than_lru() {
    assert_gains(&zipf(0.9), ENTRIES, [8.0, 7.0, 3.0]);
    assert_gains(&zipf(1.0), ENTRIES, [6.0, 5.0, 2.0]);
}

#[test]
fn scans_are_clearly_better_than_lru() {
    assert_gains(&scans(), ENTRIES, [6.0, 6.0, 7.0]);
}

#[test]
fn loops_are_clearly_better_than_lru() {
    // The last level holds the whole loop: nobody can be better than the other.
    assert_gains(&loops(), ENTRIES, [20.0, 45.0, 0.0]);
}

#[test]
fn mixed_sizes_are_clearly_better_than_lru() {
    assert_gains(&sizes(), ENTRIES.map(|entries| entries * 200), [10.0, 8.0, 5.0]);
}

#[test]
fn a_moving_hot_set_is_never_worse_than_lru_by_more_than_a_point() {
    (2..6).for_each(|seed| assert_gains(&moving(seed), ENTRIES, [5.0, -1.0, -1.0]));
}

/// LRU is the best there is for this one. A window that stays small loses 20 to 40 points.
#[test]
fn the_window_climbs_when_only_the_recent_is_used() {
    assert_gains(&recent(), ENTRIES, [-4.0, -4.0, -1.0]);
}

#[test]
fn the_same_seed_repeats_itself() {
    let trace = zipf(0.9);
    let play = || {
        let mut policy = policy_seeded(EvictionKind::WTinyLfu, 300, 5);
        let ratio = hit_ratio(policy.as_mut(), 300, &trace);
        (ratio, policy.victims(u64::MAX, &|_| false))
    };
    assert_eq!(play(), play());
}

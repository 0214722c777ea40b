//! Small seeded traces played to each policy: what the others must never lose to the yardstick.

use super::traces::{Use, loops, moving, recent, scans, sizes, zipf};
use super::{Policy, policy_seeded};
use crate::model::EvictionKind;
use crate::model::EvictionKind::{Lfu, WTinyLfu};

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

const ENTRIES: [u64; 3] = [500, 1000, 4000];

/// Fails unless a policy is better than LRU by at least these points, level by level.
fn assert_gains(kind: EvictionKind, trace: &[Use], budgets: [u64; 3], at_least: [f64; 3]) {
    let gains = budgets.map(|budget| {
        let [lru, ours] =
            [EvictionKind::Lru, kind].map(|kind| hit_ratio(policy_seeded(kind, budget, 7).as_mut(), budget, trace));
        println!("{budget}: lru {lru:.2}, {kind:?} {ours:.2}");
        ours - lru
    });
    assert!(gains.iter().zip(at_least).all(|(gain, least)| *gain >= least), "{gains:.2?} but expected {at_least:?}");
}

#[test]
fn zipf_is_clearly_better_than_lru() {
    assert_gains(WTinyLfu, &zipf(0.9), ENTRIES, [8.0, 7.0, 3.0]);
    assert_gains(WTinyLfu, &zipf(1.0), ENTRIES, [6.0, 5.0, 2.0]);
    assert_gains(Lfu, &zipf(0.9), ENTRIES, [0.0, 0.0, 0.0]);
    assert_gains(Lfu, &zipf(1.0), ENTRIES, [0.0, 0.0, 0.0]);
}

#[test]
fn scans_are_clearly_better_than_lru() {
    assert_gains(WTinyLfu, &scans(), ENTRIES, [6.0, 6.0, 7.0]);
    assert_gains(Lfu, &scans(), ENTRIES, [0.0, 0.0, 0.0]);
}

#[test]
fn loops_are_clearly_better_than_lru() {
    // The last level holds the whole loop: nobody can be better than the other.
    assert_gains(WTinyLfu, &loops(), ENTRIES, [20.0, 45.0, 0.0]);
}

#[test]
fn mixed_sizes_are_clearly_better_than_lru() {
    let budgets = ENTRIES.map(|entries| entries * 200);
    assert_gains(WTinyLfu, &sizes(), budgets, [10.0, 8.0, 5.0]);
    assert_gains(Lfu, &sizes(), budgets, [0.0, 0.0, 0.0]);
}

#[test]
fn a_moving_hot_set_is_never_worse_than_lru_by_more_than_a_point() {
    (2..6).for_each(|seed| assert_gains(WTinyLfu, &moving(seed), ENTRIES, [5.0, -1.0, -1.0]));
}

#[test]
fn old_fame_fades_when_the_hot_set_moves() {
    (2..6).for_each(|seed| assert_gains(Lfu, &moving(seed), ENTRIES, [5.0, -1.0, -1.5]));
}

/// LRU is the best there is for this one. A window that stays small loses 20 to 40 points.
#[test]
fn the_window_climbs_when_only_the_recent_is_used() {
    assert_gains(WTinyLfu, &recent(), ENTRIES, [-4.0, -4.0, -1.0]);
    assert_gains(Lfu, &recent(), ENTRIES, [-40.0, -40.0, -10.0]);
}

#[test]
fn the_same_seed_repeats_itself() {
    let trace = zipf(0.9);
    let play = || {
        let mut policy = policy_seeded(WTinyLfu, 300, 5);
        let ratio = hit_ratio(policy.as_mut(), 300, &trace);
        (ratio, policy.victims(u64::MAX, &|_| false))
    };
    assert_eq!(play(), play());
}

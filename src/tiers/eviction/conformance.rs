//! What every policy promises, as functions any policy can be put through.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Choice, Grouped, Policy, Sections, policy};
use crate::model::EvictionKind;

const BUDGET: u64 = 1000;

impl Grouped for u16 {
    fn collection(&self) -> &str {
        ["common", "lru", "lfu", "w-tinylfu", "other"][usize::from(*self % 5)]
    }
}

/// Every policy, alone and several in one level: a new one is one more name in `EvictionKind::ALL`.
fn all() -> impl Iterator<Item = Box<dyn Policy<u16>>> {
    let choice = |name: &str| Choice { kind: name.parse().ok(), pinned: false };
    let sections = move |kind| -> Box<dyn Policy<u16>> { Box::new(Sections::new(kind, BUDGET, 0, Arc::new(choice))) };
    EvictionKind::ALL.into_iter().flat_map(move |kind| [policy(kind, BUDGET), sections(kind)])
}

fn each(test: fn(Box<dyn Policy<u16>>)) {
    all().for_each(test);
}

#[test]
fn an_empty_policy_has_nothing_to_give() {
    each(|mut policy| {
        policy.touch(&1);
        policy.miss(&1);
        policy.remove(&1);
        assert!(policy.is_empty() && policy.cost() == 0);
        assert!(policy.victims(1, &|_| false).is_empty());
    });
}

#[test]
fn asking_for_nothing_lets_nothing_go() {
    each(|mut policy| {
        policy.insert(1, 10);
        assert!(policy.victims(0, &|_| false).is_empty());
        assert_eq!(policy.len(), 1);
    });
}

#[test]
fn a_new_cost_replaces_the_old_one() {
    each(|mut policy| {
        policy.insert(1, 10);
        policy.insert(1, 30);
        assert_eq!((policy.len(), policy.cost()), (1, 30));
        policy.insert(1, 0);
        assert_eq!((policy.len(), policy.cost()), (1, 0));
    });
}

#[test]
fn what_is_kept_stays_and_can_leave_later() {
    each(|mut policy| {
        (0..100).for_each(|key| policy.insert(key, 10));
        let mut gone = policy.victims(u64::MAX, &|key| key % 3 == 0);
        gone.sort_unstable();
        assert_eq!(gone, (0..100).filter(|key| key % 3 != 0).collect::<Vec<_>>());
        assert_eq!((policy.len(), policy.cost()), (34, 340));
        assert_eq!(policy.victims(u64::MAX, &|_| false).len(), 34);
        assert!(policy.is_empty() && policy.cost() == 0);
    });
}

#[test]
fn there_is_always_admission_while_there_is_room_and_never_above_the_budget() {
    each(|mut policy| {
        (0..100).for_each(|key| policy.insert(key, 9));
        assert!(policy.admits(&500, 100, 100));
        assert!(!policy.admits(&500, BUDGET + 1, 100));
    });
}

#[test]
fn an_entry_above_the_budget_can_leave() {
    each(|mut policy| {
        policy.insert(1, BUDGET * 3);
        (2..10).for_each(|key| policy.insert(key, 100));
        assert_eq!(policy.victims(u64::MAX, &|_| false).len(), 9);
    });
}

#[test]
fn a_busy_entry_outlives_those_used_once() {
    each(|mut policy| {
        policy.insert(0, 10);
        for key in 1..1000 {
            policy.touch(&0);
            policy.miss(&key);
            if policy.cost() + 10 > BUDGET {
                assert!(!policy.victims(10, &|_| false).contains(&0), "key {key}");
            }
            policy.insert(key, 10);
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u64),
    Touch(u16),
    Miss(u16),
    Remove(u16),
    Victims(u64, u16),
    Admits(u16, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..60u16;
    prop_oneof![
        4 => (key.clone(), 0..200u64).prop_map(|(key, cost)| Step::Insert(key, cost)),
        3 => key.clone().prop_map(Step::Touch),
        2 => key.clone().prop_map(Step::Miss),
        1 => key.clone().prop_map(Step::Remove),
        2 => (0..600u64, 1..5u16).prop_map(|(bytes, pins)| Step::Victims(bytes, pins)),
        1 => (key, 0..2000u64, 0..500u64).prop_map(|(key, cost, free)| Step::Admits(key, cost, free)),
    ]
}

/// Plays the steps to the policy and to a plain map, and compares after each.
fn agrees_with_a_map(policy: &mut dyn Policy<u16>, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut map = HashMap::new();
    for step in steps {
        match *step {
            Step::Insert(key, cost) => {
                map.insert(key, cost);
                policy.insert(key, cost);
            }
            Step::Touch(key) => policy.touch(&key),
            Step::Miss(key) => policy.miss(&key),
            Step::Remove(key) => {
                map.remove(&key);
                policy.remove(&key);
            }
            Step::Victims(bytes, pins) => {
                let keep = |key: &u16| key % pins == 1;
                let mut freed = 0;
                for key in policy.victims(bytes, &keep) {
                    prop_assert!(freed < bytes, "{key} need not have gone");
                    prop_assert!(!keep(&key));
                    freed += map.remove(&key).ok_or_else(|| TestCaseError::fail("a victim that was not here"))?;
                }
                prop_assert!(freed >= bytes || map.keys().all(keep));
            }
            Step::Admits(key, cost, free) => {
                prop_assert!(policy.admits(&key, cost, free) || cost > free);
            }
        }
        prop_assert_eq!((policy.len(), policy.cost()), (map.len(), map.values().sum::<u64>()));
    }
    let mut visited = BTreeMap::new();
    policy.each(&mut |key, cost| assert!(visited.insert(*key, cost).is_none(), "{key} twice"));
    prop_assert_eq!(&visited, &map.clone().into_iter().collect());
    // Membership: everything that should be here can be asked to leave, once.
    let mut left = policy.victims(u64::MAX, &|_| false);
    left.sort_unstable();
    let mut expected: Vec<_> = map.into_keys().collect();
    expected.sort_unstable();
    prop_assert_eq!(left, expected);
    Ok(())
}

proptest! {
    #[test]
    fn the_books_equal_those_of_a_map(steps in proptest::collection::vec(step(), 1..400)) {
        for mut policy in all() {
            agrees_with_a_map(policy.as_mut(), &steps)?;
        }
    }
}

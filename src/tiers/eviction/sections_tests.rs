//! What sections promise beyond the suite of every policy: isolation, moving, pinning, a fair division.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::traces::{COLLECTION, Use, beside, loops, once, zipf_of};
use super::{Choice, Choices, Grouped, Pins, Policy, Sections, no_choices, policy_seeded};
use crate::model::EvictionKind::{self, Lfu, Lru, WTinyLfu};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Grouped for u64 {
    fn collection(&self) -> &str {
        NAMES[(self / COLLECTION) as usize]
    }
}

/// The n-th key of a collection.
fn key(collection: u64, nth: u64) -> u64 {
    collection * COLLECTION + nth
}

/// Choices that a test can change.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<HashMap<String, Choice>>>);

impl Asked {
    fn say(&self, name: &str, kind: Option<EvictionKind>, pinned: bool) {
        self.0.lock().unwrap().insert(name.to_owned(), Choice { kind, pinned });
    }

    fn choices(&self) -> Choices {
        let asked = self.clone();
        Arc::new(move |name| asked.0.lock().unwrap().get(name).copied().unwrap_or_default())
    }
}

/// Choices where the collections "a", "b" and so on name these.
fn named(kinds: &[EvictionKind]) -> Choices {
    let asked = Asked::default();
    kinds.iter().zip(NAMES).for_each(|(kind, name)| asked.say(name, Some(*kind), false));
    asked.choices()
}

/// The hit ratio of each collection, in points, in the second half of a trace.
fn play(policy: &mut dyn Policy<u64>, budget: u64, trace: &[Use]) -> [f64; 4] {
    let (mut held, mut hits, mut uses) = (HashSet::new(), [0.0; 4], [f64::EPSILON; 4]);
    for (at, &(key, size)) in trace.iter().enumerate() {
        let collection = (key / COLLECTION) as usize;
        let counts = at > trace.len() / 2;
        uses[collection] += f64::from(counts);
        if held.contains(&key) {
            hits[collection] += f64::from(counts);
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
    std::array::from_fn(|at| hits[at] / uses[at] * 100.0)
}

fn in_sections(kinds: &[EvictionKind], budget: u64, trace: &[Use]) -> [f64; 4] {
    play(&mut Sections::new(Lru, budget, 7, named(kinds)), budget, trace)
}

fn alone(kind: EvictionKind, budget: u64, trace: &[Use]) -> f64 {
    play(policy_seeded(kind, budget, 7).as_mut(), budget, trace)[0]
}

#[test]
fn a_scan_in_one_collection_leaves_the_hot_set_of_another_alone() {
    let hot = zipf_of(20_000, 0.9, 1, 100_000);
    for kind in EvictionKind::ALL {
        for scanner in EvictionKind::ALL {
            for scans in 1..4 {
                let unique = |_| once(100_000);
                let trace = match scans {
                    1 => beside([hot.clone(), unique(1)]),
                    2 => beside([hot.clone(), unique(1), unique(2)]),
                    _ => beside([hot.clone(), unique(1), unique(2), unique(3)]),
                };
                let shared = play(policy_seeded(Lru, 1000, 7).as_mut(), 1000, &trace)[0];
                let ours = in_sections(&[kind, scanner, scanner, scanner], 1000, &trace)[0];
                let best = alone(kind, 1000, &hot);
                println!(
                    "{kind:?} beside {scans} of {scanner:?}: shared lru {shared:.1}, ours {ours:.1}, alone {best:.1}"
                );
                assert!(ours > best - 2.0, "{kind:?} beside {scans} of {scanner:?}: {ours:.1} but {best:.1} alone");
                assert!(ours > shared + 5.0, "{kind:?}: {ours:.1} is hardly better than {shared:.1} without sections");
            }
        }
    }
}

#[test]
fn a_hot_set_that_comes_late_gets_the_room_it_earns() {
    let hot = zipf_of(20_000, 0.9, 1, 100_000);
    for kind in EvictionKind::ALL {
        let mut trace: Vec<Use> = once(10_000).into_iter().map(|(key, size)| (key + COLLECTION, size)).collect();
        trace.extend(beside([hot.clone(), once(100_000)]));
        let (ours, best) = (in_sections(&[kind, Lru], 1000, &trace)[0], alone(kind, 1000, &hot));
        println!("{kind:?}: {ours:.1}, alone {best:.1}");
        assert!(ours > best - 2.0, "{kind:?}: {ours:.1} but {best:.1} alone");
    }
}

/// The best fixed division is found by trying them all.
#[test]
fn two_hot_sets_share_almost_as_well_as_by_the_best_fixed_division() {
    let (steep, flat) = (zipf_of(2000, 1.0, 1, 100_000), zipf_of(20_000, 0.7, 2, 100_000));
    let trace = beside([steep.clone(), flat.clone()]);
    for kind in EvictionKind::ALL {
        let divided = |part: u64| alone(kind, part * 50, &steep) + alone(kind, (20 - part) * 50, &flat);
        let best = (1..20).map(divided).fold(0.0, f64::max);
        let ours = in_sections(&[kind, kind], 1000, &trace);
        let ours = ours[0] + ours[1];
        println!("{kind:?}: {:.2}, best {:.2}", ours / 2.0, best / 2.0);
        assert!(ours / 2.0 > best / 2.0 - 1.5, "{kind:?}: {ours:.1} but {best:.1}");
    }
}

#[test]
fn each_collection_gets_the_policy_it_names() {
    // A loop too long for LRU, beside the same loop under a policy that holds a part of it.
    let trace = beside([loops(), loops()]);
    let [lru, ours, ..] = in_sections(&[Lru, WTinyLfu], 2000, &trace);
    assert!(lru < 1.0 && ours > 20.0, "{lru:.1} {ours:.1}");
}

#[test]
fn entries_move_with_their_collection_and_keep_order_and_room() {
    let asked = Asked::default();
    let mut sections = Sections::new(Lru, 1000, 0, asked.choices());
    for nth in 0..100 {
        sections.insert(key(0, nth), 2);
        sections.insert(key(1, nth), 3);
    }
    for kind in [Some(Lfu), Some(Lru), Some(WTinyLfu), None, Some(Lfu)] {
        asked.say("a", kind, false);
        sections.refresh();
        assert_eq!((sections.len(), sections.cost()), (200, 500));
    }
    asked.say("a", Some(Lru), false);
    sections.refresh();
    asked.say("b", Some(Lru), false);
    sections.refresh();
    let mut gone = sections.victims(u64::MAX, &|_| false);
    assert_eq!((gone.len(), sections.len(), sections.cost()), (200, 0, 0));
    gone.retain(|key| key.collection() == "b");
    assert_eq!(gone, (0..100).map(|nth| key(1, nth)).collect::<Vec<_>>(), "in the order they came");
}

#[test]
fn nothing_pinned_leaves_until_it_is_unpinned() {
    let asked = Asked::default();
    asked.say("a", Some(Lfu), true);
    let mut sections = Sections::new(WTinyLfu, 100, 0, asked.choices()).pin_at_most(60);
    (0..60).for_each(|nth| sections.insert(key(0, nth), 1));
    (0..40).for_each(|nth| sections.insert(key(1, nth), 1));
    assert_eq!(sections.pins().bytes, 60);
    assert!(!sections.admits(&key(1, 99), 41, 0), "not even all others are enough");
    let gone = sections.victims(u64::MAX, &|_| false);
    assert!(gone.len() == 40 && gone.iter().all(|key| key.collection() == "b"), "{gone:?}");
    assert!(sections.victims(1, &|_| false).is_empty());
    asked.say("a", None, false);
    sections.refresh();
    assert_eq!((sections.pins().bytes, sections.victims(10, &|_| false).len()), (0, 10));
    // And a collection that is pinned while it has entries is safe from the next look on.
    asked.say("a", None, true);
    sections.refresh();
    assert_eq!((sections.pins().bytes, sections.victims(10, &|_| false).len()), (50, 0));
}

#[test]
fn more_than_may_be_pinned_leaves_like_any_other_until_there_is_room() {
    let asked = Asked::default();
    asked.say("a", None, true);
    let mut sections = Sections::new(Lru, 100, 0, asked.choices()).pin_at_most(40);
    (0..60).for_each(|nth| sections.insert(key(0, nth), 1));
    (0..30).for_each(|nth| sections.insert(key(1, nth), 1));
    assert_eq!(sections.pins(), Pins { bytes: 40, bytes_max: 40, spilled: 20 });
    assert!(sections.admits(&key(0, 99), 50, 0), "all others could leave for it");
    // A use finds no room among the pinned; once others left there, it does.
    sections.touch(&key(0, 59));
    assert_eq!(sections.pins().spilled, 20);
    (0..10).for_each(|nth| sections.remove(&key(0, nth)));
    (50..60).for_each(|nth| sections.touch(&key(0, nth)));
    assert_eq!(sections.pins(), Pins { bytes: 36, bytes_max: 40, spilled: 14 }, "until it is nearly full again");
    assert_eq!((sections.len(), sections.cost()), (80, 80));
    let gone = sections.victims(u64::MAX, &|_| false);
    assert_eq!(gone.len(), 44);
    assert_eq!(sections.pins(), Pins { bytes: 36, bytes_max: 40, spilled: 0 });
    // An entry that grows out of the room is pinned no more.
    sections.insert(key(0, 50), 7);
    assert_eq!(sections.pins(), Pins { bytes: 35, bytes_max: 40, spilled: 7 });
    asked.say("a", Some(Lfu), false);
    sections.refresh();
    assert_eq!((sections.pins().bytes, sections.pins().spilled, sections.cost()), (0, 0, 42));
}

#[test]
fn a_candidate_competes_inside_its_own_section() {
    let mut sections = Sections::new(Lru, 100, 0, named(&[WTinyLfu, WTinyLfu]));
    for nth in 0..50 {
        for collection in [0, 1] {
            sections.miss(&key(collection, nth));
            sections.insert(key(collection, nth), 1);
        }
        (0..5).for_each(|_| sections.touch(&key(0, nth)));
    }
    // Forces a step, so that each section's share is the half it holds.
    (0..1000).for_each(|nth| sections.touch(&key(0, nth % 50)));
    sections.miss(&key(0, 900));
    sections.miss(&key(1, 900));
    sections.miss(&key(1, 900));
    assert!(!sections.admits(&key(0, 900), 20, 0), "a large stranger among the busy");
    assert!(sections.admits(&key(1, 900), 1, 0), "a known one among the idle");
    assert!(sections.admits(&key(2, 0), 50, 0), "a newcomer whose section has nothing to compare with");
}

#[test]
fn beyond_the_limit_collections_share_the_section_of_their_kind() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Many(String);
    impl Grouped for Many {
        fn collection(&self) -> &str {
            &self.0
        }
    }
    let choice = Choice { kind: Some(Lfu), pinned: false };
    let mut sections = Sections::new(Lru, 1000, 0, Arc::new(move |_| choice));
    (0..1000).for_each(|nth| sections.insert(Many(format!("c{nth}")), 1));
    assert!(sections.sections() <= crate::limits::SECTIONS_MAX + 1);
    assert_eq!(sections.victims(u64::MAX, &|_| false).len(), 1000);
    (0..1000).for_each(|_| sections.refresh());
    assert_eq!((sections.sections(), sections.len()), (1, 0), "what has no entries is forgotten in the end");
}

proptest! {
    /// Collections may change their minds at any time: every entry is in the books once, and what is pinned stays.
    #[test]
    fn changing_minds_loses_no_entry(steps in proptest::collection::vec((0..9u8, 0..200u64, 0..30u64), 1..600)) {
        let asked = Asked::default();
        let mut sections = Sections::new(WTinyLfu, 500, 7, asked.choices()).pin_at_most(30);
        let mut map = HashMap::new();
        for &(what, nth, cost) in &steps {
            let key = key(nth % 4, nth);
            match what {
                0 => {
                    let kind = [None, Some(Lru), Some(Lfu), Some(WTinyLfu)][(cost % 4) as usize];
                    asked.say(key.collection(), kind, cost % 3 == 0);
                    sections.refresh();
                }
                1 => {
                    map.remove(&key);
                    sections.remove(&key);
                }
                2 | 3 => sections.touch(&key),
                4 => sections.miss(&key),
                5 => drop(sections.admits(&key, cost, 0)),
                6 => {
                    let before = sections.pins();
                    for gone in sections.victims(cost, &|_| false) {
                        prop_assert!(map.remove(&gone).is_some());
                    }
                    prop_assert_eq!(sections.pins().bytes, before.bytes);
                }
                _ => {
                    map.insert(key, cost);
                    sections.insert(key, cost);
                }
            }
            prop_assert!(sections.pins().bytes <= 150);
            prop_assert_eq!((sections.len(), sections.cost()), (map.len(), map.values().sum::<u64>()));
        }
        let mut visited = HashMap::new();
        sections.each(&mut |key, cost| assert!(visited.insert(*key, cost).is_none(), "{key} twice"));
        prop_assert_eq!(visited, map);
    }

    /// Without choices nothing changes: the same victims, the same admissions.
    #[test]
    fn one_section_is_the_policy_alone(steps in proptest::collection::vec((0..5u8, 0..300u64, 1..9u64), 1..2000)) {
        for kind in EvictionKind::ALL {
            let (mut plain, mut ours) = (policy_seeded(kind, 500, 7), Sections::new(kind, 500, 7, no_choices()));
            for &(what, nth, cost) in &steps {
                let (key, free) = (key(nth % 3, nth), 500 - plain.cost());
                match what {
                    0 => (plain.remove(&key), ours.remove(&key)).0,
                    1 | 2 => (plain.touch(&key), ours.touch(&key)).0,
                    _ => {
                        plain.miss(&key);
                        ours.miss(&key);
                        let admitted = plain.admits(&key, cost, free);
                        prop_assert_eq!(admitted, ours.admits(&key, cost, free));
                        let short = cost.saturating_sub(free);
                        if admitted && short > 0 {
                            prop_assert_eq!(plain.victims(short, &|_| false), ours.victims(short, &|_| false));
                        }
                        if admitted {
                            plain.insert(key, cost);
                            ours.insert(key, cost);
                        }
                    }
                }
                prop_assert_eq!((plain.len(), plain.cost()), (ours.len(), ours.cost()));
            }
        }
    }
}

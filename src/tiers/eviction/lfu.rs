//! The least often used leaves first, for its size; and what was often used long ago fades.
//!
//! An entry is worth the level's age at its last use, plus its uses for each byte of its cost. The least
//! worth leaves, and its worth becomes the level's age: so what is not used any more is overtaken by what
//! comes, however famous it was. Uses stop counting at [`USES_MAX`], which bounds how long fame lasts.
//! After Arlitt and others: "Evaluating content management techniques for Web proxy caches" (2000). A use
//! costs O(log n): entries are kept sorted by worth.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::Policy;

/// What one use is worth for an entry that costs one byte. The age rises by less than this times
/// [`USES_MAX`] with each victim, so 64 bits last for as long as anybody has.
const USE_WORTH: u64 = 1 << 32;

/// Uses count up to here. More would tell the busiest apart a little better, and let them stay that much
/// longer once nobody asks for them.
const USES_MAX: u32 = 15;

/// The order of leaving: the worth, and among equals whose last use was first.
type Rank = (u64, u64);

struct Entry {
    rank: Rank,
    cost: u64,
    uses: u32,
}

/// Least often used first, with ageing.
pub struct Lfu<K> {
    entries: HashMap<K, Entry>,
    order: BTreeMap<Rank, K>,
    age: u64,
    /// Uses so far: it makes ranks unique.
    turn: u64,
    cost: u64,
    budget_bytes: u64,
}

impl<K: Clone + Eq + Hash> Lfu<K> {
    /// An empty policy for a level of this many bytes.
    pub fn new(budget_bytes: u64) -> Self {
        Lfu { entries: HashMap::new(), order: BTreeMap::new(), age: 0, turn: 0, cost: 0, budget_bytes }
    }

    /// Counts a use of an entry that is here, perhaps with another cost, and says whether it is here.
    fn renew(&mut self, key: &K, cost: Option<u64>) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let before = entry.cost;
        entry.cost = cost.unwrap_or(before);
        entry.uses = (entry.uses + 1).min(USES_MAX);
        self.cost = self.cost - before + entry.cost;
        self.turn += 1;
        let rank = (self.age.saturating_add(worth(entry.uses, entry.cost)), self.turn);
        self.order.remove(&std::mem::replace(&mut entry.rank, rank));
        self.order.insert(rank, key.clone());
        true
    }
}

fn worth(uses: u32, cost: u64) -> u64 {
    u64::from(uses) * USE_WORTH / cost.max(1)
}

impl<K: Clone + Eq + Hash + Send> Policy<K> for Lfu<K> {
    fn name(&self) -> &'static str {
        "lfu"
    }

    fn insert(&mut self, key: K, cost: u64) {
        if self.renew(&key, Some(cost)) {
            return;
        }
        self.turn += 1;
        let rank = (self.age.saturating_add(worth(1, cost)), self.turn);
        self.order.insert(rank, key.clone());
        self.entries.insert(key, Entry { rank, cost, uses: 1 });
        self.cost += cost;
    }

    fn touch(&mut self, key: &K) {
        self.renew(key, None);
    }

    fn miss(&mut self, _key: &K) {}

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.rank);
            self.cost -= entry.cost;
        }
    }

    fn victims(&mut self, bytes: u64, keep: &dyn Fn(&K) -> bool) -> Vec<K> {
        let (mut gone, mut freed, mut kept) = (Vec::new(), 0, Vec::new());
        while freed < bytes {
            let Some((rank, key)) = self.order.pop_first() else { break };
            if keep(&key) {
                kept.push(key);
                continue;
            }
            self.age = self.age.max(rank.0);
            let cost = self.entries.remove(&key).map_or(0, |entry| entry.cost);
            self.cost -= cost;
            freed += cost;
            gone.push(key);
        }
        for key in kept {
            self.renew(&key, None);
        }
        gone
    }

    /// A newcomer counts as used once. Turned away, it is as if it had come and left at once: the level ages,
    /// so that newcomers are not kept out for ever by what nobody uses any more.
    fn admits(&mut self, _key: &K, cost: u64, free: u64) -> bool {
        if cost <= free || cost > self.budget_bytes {
            return cost <= free;
        }
        let newcomer = self.age.saturating_add(worth(1, cost));
        let least = self.order.first_key_value().map_or(0, |(rank, _)| rank.0);
        if newcomer < least {
            self.age = newcomer;
        }
        newcomer >= least
    }

    fn resize(&mut self, budget_bytes: u64) {
        self.budget_bytes = budget_bytes;
    }

    fn each(&self, visit: &mut dyn FnMut(&K, u64)) {
        self.entries.iter().for_each(|(key, entry)| visit(key, entry.cost));
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn cost(&self) -> u64 {
        self.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &u64) -> bool {
        false
    }

    #[test]
    fn the_least_often_used_leaves_first_and_among_equals_the_oldest() {
        let mut lfu = Lfu::new(5);
        (0..5).for_each(|key| lfu.insert(key, 1));
        for key in [0, 0, 1, 3] {
            lfu.touch(&key);
        }
        assert_eq!(lfu.victims(9, &none), [2, 4, 1, 3, 0]);
    }

    #[test]
    fn a_small_entry_is_worth_more_than_a_large_one_used_as_often() {
        let mut lfu = Lfu::new(100);
        lfu.insert(1, 10);
        lfu.insert(2, 40);
        lfu.touch(&2);
        assert_eq!(lfu.victims(1, &none), [2], "twice for four times the bytes");
    }

    #[test]
    fn old_fame_fades() {
        let mut lfu = Lfu::new(10);
        lfu.insert(0, 1);
        (0..10_000).for_each(|_| lfu.touch(&0));
        (1..10).for_each(|key| lfu.insert(key, 1));
        let mut left = None;
        for key in 10..1000 {
            if lfu.victims(1, &none) == [0] {
                left = Some(key);
                break;
            }
            lfu.insert(key, 1);
        }
        // Nine others came and went for each use that counts.
        assert!(left.is_some_and(|at| (100..200).contains(&at)), "{left:?}");
    }

    #[test]
    fn an_entry_is_as_small_as_the_books_say() {
        use crate::model::Address;
        let index = (size_of::<(Address, Entry)>() + 1) as u64;
        let order = (size_of::<(Rank, Address)>() + 2) as u64;
        assert_eq!((index, order), (57, 42));
        // Tables grow by doubling; nodes of the tree are at least half full.
        assert!(2 * (index + order) <= super::super::ENTRY_OVERHEAD_BYTES);
    }
}

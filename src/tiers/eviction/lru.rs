//! The least recently used leaves first. Simple, and the yardstick for every other policy.

use std::hash::Hash;

use super::Policy;
use super::list::{Kept, Lists};

const USED: u8 = 0;
const ASIDE: u8 = 1;

/// Least recently used first.
pub struct Lru<K> {
    lists: Lists<K, 2>,
    budget_bytes: u64,
}

impl<K: Clone + Eq + Hash> Lru<K> {
    /// An empty policy for a level of this many bytes.
    pub fn new(budget_bytes: u64) -> Self {
        Lru { lists: Lists::new(), budget_bytes }
    }
}

impl<K: Clone + Eq + Hash + Send> Policy<K> for Lru<K> {
    fn name(&self) -> &'static str {
        "lru"
    }

    fn insert(&mut self, key: K, cost: u64) {
        match self.lists.find(&key) {
            Some(id) => {
                self.lists.set_cost(id, cost);
                self.lists.renew(id, USED);
            }
            None => self.lists.insert(key, cost, USED),
        }
    }

    fn touch(&mut self, key: &K) {
        if let Some(id) = self.lists.find(key) {
            self.lists.renew(id, USED);
        }
    }

    fn miss(&mut self, _key: &K) {}

    fn remove(&mut self, key: &K) {
        if let Some(id) = self.lists.find(key) {
            self.lists.remove(id);
        }
    }

    fn victims(&mut self, bytes: u64, keep: &dyn Fn(&K) -> bool) -> Vec<K> {
        let (mut gone, mut freed, mut kept) = (Vec::new(), 0, Kept::default());
        while freed < bytes {
            let oldest = kept.oldest_free(&mut self.lists, USED, ASIDE, keep);
            let Some(node) = oldest.and_then(|id| self.lists.remove(id)) else { break };
            freed += node.cost;
            gone.push(node.key);
        }
        kept.restore(&mut self.lists);
        gone
    }

    fn admits(&mut self, _key: &K, cost: u64, free: u64) -> bool {
        cost <= free || cost <= self.budget_bytes
    }

    fn resize(&mut self, budget_bytes: u64) {
        self.budget_bytes = budget_bytes;
    }

    fn each(&self, visit: &mut dyn FnMut(&K, u64)) {
        self.lists.each(visit);
    }

    fn len(&self) -> usize {
        self.lists.len()
    }

    fn cost(&self) -> u64 {
        self.lists.cost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_leaves_first() {
        let mut lru = Lru::new(4);
        (0..4).for_each(|key| lru.insert(key, 1));
        lru.touch(&0);
        lru.insert(2, 1);
        assert_eq!(lru.victims(2, &|_| false), [1, 3]);
        assert_eq!(lru.victims(9, &|_| false), [0, 2]);
    }
}

//! W-TinyLFU: frequency decides who may enter, recency who leaves.
//!
//! A new entry starts in a small window (LRU). What the window lets go must be used more often than the
//! oldest of the main part, or it leaves itself; so a scan passes through the window and spoils nothing.
//! The main part is a segmented LRU: probation, and protected for what was used again there. Loads that
//! favour the recent want a large window, so its size climbs towards the better hit ratio.
//! After Einziger, Friedman, Manes: "TinyLFU" (2017) and "Adaptive Software Cache Management" (2018).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::Policy;
use super::climber::Climber;
use super::list::{Id, Kept, Lists};
use super::sketch::Sketch;
use crate::model::{Rng, SeededRng};

const WINDOW: u8 = 0;
/// Left the window when there was no more room, and not yet compared with the main part's oldest.
const TRIAL: u8 = 1;
const PROBATION: u8 = 2;
const PROTECTED: u8 = 3;
const ASIDE: u8 = 4;

/// A candidate this well known that loses still gets in once in a while, so that nobody who can guess
/// hashes keeps it out for ever by making the oldest entry look busy.
const KNOWN: u8 = 6;
const MERCY_ONE_IN: u64 = 128;

/// Frequency-aware admission, recency-based eviction.
pub struct WTinyLfu<K> {
    lists: Lists<K, 5>,
    sketch: Sketch,
    climber: Climber,
    budget_bytes: u64,
    seed: u64,
    rng: SeededRng,
}

impl<K: Clone + Eq + Hash> WTinyLfu<K> {
    /// An empty policy for a level of this many bytes. The seed keys the hashes of the sketch.
    pub fn new(budget_bytes: u64, seed: u64) -> Self {
        WTinyLfu {
            lists: Lists::new(),
            sketch: Sketch::new(),
            climber: Climber::new(budget_bytes),
            budget_bytes,
            seed,
            rng: SeededRng::new(seed),
        }
    }

    fn hash(&self, key: &K) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn frequency(&self, key: &K) -> u8 {
        self.sketch.estimate(self.hash(key))
    }

    fn window_bytes(&self) -> u64 {
        (self.budget_bytes as f64 * self.climber.window()) as u64
    }

    fn protected_bytes(&self) -> u64 {
        (self.budget_bytes - self.window_bytes()) / 5 * 4
    }

    /// While an eighth of the budget is free nobody has to be compared with anybody.
    fn is_roomy(&self) -> bool {
        self.lists.cost() < self.budget_bytes - self.budget_bytes / 8
    }

    /// Lets the window's size climb, once the level is full enough for it to matter.
    fn advance(&mut self) {
        if !self.is_roomy() {
            self.climber.advance(self.lists.len(), self.lists.cost_of(PROBATION));
        }
    }

    /// What a use does to an entry's place.
    fn promote(&mut self, id: Id) {
        let Some(list) = self.lists.get(id).map(|node| node.list) else { return };
        if list == WINDOW {
            return self.lists.renew(id, WINDOW);
        }
        self.lists.renew(id, PROTECTED);
        while self.lists.cost_of(PROTECTED) > self.protected_bytes() {
            let Some(oldest) = self.lists.oldest(PROTECTED) else { break };
            self.lists.renew(oldest, PROBATION);
        }
    }

    /// Moves out of the window what it cannot hold once `incoming` bytes have come.
    fn shrink_window(&mut self, incoming: u64) {
        let next = if self.is_roomy() { PROBATION } else { TRIAL };
        while self.lists.cost_of(WINDOW).saturating_add(incoming) > self.window_bytes() {
            let Some(oldest) = self.lists.oldest(WINDOW) else { break };
            self.lists.renew(oldest, next);
        }
    }

    /// The entry that is worth least: the loser of the oldest on trial and the oldest of the main part.
    fn loser(&mut self, kept: &mut Kept, keep: &dyn Fn(&K) -> bool) -> Option<Id> {
        let mut oldest = |list| kept.oldest_free(&mut self.lists, list, ASIDE, keep);
        let candidate = oldest(TRIAL);
        let victim = oldest(PROBATION).or_else(|| oldest(PROTECTED));
        match (candidate, victim) {
            (Some(candidate), Some(victim)) if self.wins(candidate, victim) => {
                self.lists.renew(candidate, PROBATION);
                Some(victim)
            }
            (Some(candidate), Some(victim)) => {
                // The next candidate meets another, so that one entry with old fame does not turn all away.
                self.lists.renew(victim, PROBATION);
                let loser = self.lists.get(candidate)?;
                self.climber.turn_away(self.hash(&loser.key), loser.cost);
                Some(candidate)
            }
            (Some(loser), _) | (None, Some(loser)) => Some(loser),
            (None, None) => kept.oldest_free(&mut self.lists, WINDOW, ASIDE, keep),
        }
    }

    /// Whether the candidate is used more often for its size. A tie is for who is there already: it has
    /// shown more than being recent.
    fn wins(&self, candidate: Id, victim: Id) -> bool {
        let (Some(candidate), Some(victim)) = (self.lists.get(candidate), self.lists.get(victim)) else { return false };
        let frequency = self.frequency(&candidate.key);
        if self.denser(frequency, candidate.cost, self.frequency(&victim.key), victim.cost) {
            return true;
        }
        frequency >= KNOWN && self.rng.below(MERCY_ONE_IN) == 0
    }

    fn denser(&self, candidate: u8, candidate_cost: u64, victim: u8, victim_cost: u64) -> bool {
        u128::from(candidate) * u128::from(victim_cost.max(1)) > u128::from(victim) * u128::from(candidate_cost.max(1))
    }
}

impl<K: Clone + Eq + Hash + Send> Policy<K> for WTinyLfu<K> {
    fn name(&self) -> &'static str {
        "w-tinylfu"
    }

    fn insert(&mut self, key: K, cost: u64) {
        let hash = self.hash(&key);
        if let Some(id) = self.lists.find(&key) {
            self.sketch.record(hash);
            self.lists.set_cost(id, cost);
            return self.promote(id);
        }
        // A miss has usually been noted for it; that and its coming are one use.
        if self.sketch.estimate(hash) == 0 {
            self.sketch.record(hash);
        }
        self.lists.insert(key, cost, WINDOW);
        self.sketch.grow_for(self.lists.len());
        self.climber.grow_for(self.lists.len());
        self.shrink_window(0);
    }

    fn touch(&mut self, key: &K) {
        let Some(id) = self.lists.find(key) else { return };
        self.sketch.record(self.hash(key));
        if self.lists.get(id).is_some_and(|node| node.list == PROBATION) {
            self.climber.thank();
        }
        self.advance();
        self.promote(id);
    }

    fn miss(&mut self, key: &K) {
        let hash = self.hash(key);
        self.sketch.record(hash);
        self.climber.miss(hash);
        self.advance();
    }

    fn remove(&mut self, key: &K) {
        if let Some(id) = self.lists.find(key) {
            self.lists.remove(id);
        }
    }

    fn victims(&mut self, bytes: u64, keep: &dyn Fn(&K) -> bool) -> Vec<K> {
        let (mut gone, mut freed, mut kept) = (Vec::new(), 0, Kept::default());
        self.shrink_window(bytes);
        while freed < bytes {
            let Some(node) = self.loser(&mut kept, keep).and_then(|id| self.lists.remove(id)) else { break };
            freed += node.cost;
            gone.push(node.key);
        }
        kept.restore(&mut self.lists);
        gone
    }

    /// The window takes what fits in it: it pushes out only the window's own loser. A larger candidate goes
    /// straight to the comparison, so it is compared before anything is moved for it.
    fn admits(&mut self, key: &K, cost: u64, free: u64) -> bool {
        if cost <= free || cost > self.budget_bytes {
            return cost <= free;
        }
        if cost <= self.window_bytes() {
            return true;
        }
        let victim = [TRIAL, PROBATION, PROTECTED, WINDOW].into_iter().find_map(|list| self.lists.oldest(list));
        let Some(victim) = victim.and_then(|id| self.lists.get(id)) else { return true };
        self.denser(self.frequency(key), cost, self.frequency(&victim.key), victim.cost)
    }

    fn resize(&mut self, budget_bytes: u64) {
        self.budget_bytes = budget_bytes;
        self.climber.resize(budget_bytes);
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

    fn none(_: &u64) -> bool {
        false
    }

    /// A level of 100 whose entries were used four times each, none of them on trial or in the window.
    fn full() -> WTinyLfu<u64> {
        let mut policy = WTinyLfu::new(100, 1);
        for key in 0..100 {
            policy.miss(&key);
            policy.insert(key, 1);
            (0..3).for_each(|_| policy.touch(&key));
        }
        assert_eq!(policy.victims(14, &none).len(), 14);
        assert_eq!(policy.lists.cost_of(TRIAL) + policy.lists.cost_of(WINDOW), 0);
        policy
    }

    #[test]
    fn a_scan_pushes_out_only_itself() {
        let mut policy = full();
        for key in 1000..1200 {
            policy.miss(&key);
            if policy.cost() == 100 {
                let gone = policy.victims(1, &none);
                assert!(gone[0] >= 1000, "{gone:?} for {key}");
            }
            policy.insert(key, 1);
        }
    }

    #[test]
    fn a_batch_compares_each_newcomer_too() {
        let mut policy = full();
        (1000..1014).for_each(|key| policy.insert(key, 1));
        let gone = policy.victims(9, &none);
        assert!(gone.iter().all(|key| *key >= 1000), "{gone:?}");
    }

    #[test]
    fn what_is_asked_for_often_gets_in() {
        let mut policy = full();
        (0..9).for_each(|_| policy.miss(&1000));
        policy.insert(1000, 1);
        let gone = policy.victims(5, &none);
        assert_eq!(gone.len(), 5);
        assert!(!gone.contains(&1000), "{gone:?}");
    }

    #[test]
    fn a_large_stranger_is_not_worth_many_known() {
        let mut policy = full();
        policy.miss(&1000);
        assert!(!policy.admits(&1000, 50, 0));
        assert!(policy.admits(&1000, 1, 0), "the window takes what fits");
        assert!(policy.admits(&1000, 50, 50), "there is room");
    }
}

//! The books every policy keeps: an index of keys and a few lists, young end first, over one slab.
//!
//! Nodes link by `u32` places in the slab, so there is no unsafe code and no allocation for an entry.
//! Only the policies of this folder use it.

use std::collections::HashMap;
use std::hash::Hash;

/// A place in the slab.
pub(super) type Id = u32;

/// No node: the end of a list.
const NONE: Id = Id::MAX;

/// One entry of a policy.
pub(super) struct Node<K> {
    pub key: K,
    pub cost: u64,
    /// The list it is on.
    pub list: u8,
    younger: Id,
    older: Id,
}

#[derive(Clone, Copy)]
struct Ends {
    young: Id,
    old: Id,
    cost: u64,
}

/// `N` lists of entries, each entry on exactly one of them.
pub(super) struct Lists<K, const N: usize> {
    index: HashMap<K, Id>,
    slab: Vec<Option<Node<K>>>,
    free: Vec<Id>,
    ends: [Ends; N],
}

impl<K: Clone + Eq + Hash, const N: usize> Lists<K, N> {
    pub fn new() -> Self {
        let ends = [Ends { young: NONE, old: NONE, cost: 0 }; N];
        Lists { index: HashMap::new(), slab: Vec::new(), free: Vec::new(), ends }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn cost(&self) -> u64 {
        self.ends.iter().map(|ends| ends.cost).sum()
    }

    /// The sum of the costs on one list.
    pub fn cost_of(&self, list: u8) -> u64 {
        self.ends.get(usize::from(list)).map_or(0, |ends| ends.cost)
    }

    pub fn find(&self, key: &K) -> Option<Id> {
        self.index.get(key).copied()
    }

    pub fn get(&self, id: Id) -> Option<&Node<K>> {
        self.slab.get(id as usize)?.as_ref()
    }

    /// Visits every entry, in no order.
    pub fn each(&self, visit: &mut dyn FnMut(&K, u64)) {
        self.slab.iter().flatten().for_each(|node| visit(&node.key, node.cost));
    }

    /// The entry that has been longest on a list.
    pub fn oldest(&self, list: u8) -> Option<Id> {
        self.ends.get(usize::from(list)).map(|ends| ends.old).filter(|&id| id != NONE)
    }

    /// Puts a new entry at the young end of a list. The key must not be here yet.
    pub fn insert(&mut self, key: K, cost: u64, list: u8) {
        let node = Node { key: key.clone(), cost, list, younger: NONE, older: NONE };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slab.push(None);
                (self.slab.len() - 1) as Id
            }
        };
        if let Some(place) = self.slab.get_mut(id as usize) {
            *place = Some(node);
        }
        self.index.insert(key, id);
        self.link(id, list);
    }

    /// Forgets an entry.
    pub fn remove(&mut self, id: Id) -> Option<Node<K>> {
        self.unlink(id);
        let node = self.slab.get_mut(id as usize)?.take()?;
        self.index.remove(&node.key);
        self.free.push(id);
        Some(node)
    }

    /// Moves an entry to the young end of a list, its own or another.
    pub fn renew(&mut self, id: Id, list: u8) {
        self.unlink(id);
        self.link(id, list);
    }

    /// Gives an entry another cost.
    pub fn set_cost(&mut self, id: Id, cost: u64) {
        let Some(node) = self.node(id) else { return };
        let (list, before) = (node.list, std::mem::replace(&mut node.cost, cost));
        if let Some(ends) = self.ends.get_mut(usize::from(list)) {
            ends.cost = ends.cost - before + cost;
        }
    }

    fn node(&mut self, id: Id) -> Option<&mut Node<K>> {
        self.slab.get_mut(id as usize)?.as_mut()
    }

    fn link(&mut self, id: Id, list: u8) {
        let Some(ends) = self.ends.get_mut(usize::from(list)) else { return };
        let second = std::mem::replace(&mut ends.young, id);
        if second == NONE {
            ends.old = id;
        }
        let mut cost = 0;
        if let Some(node) = self.node(id) {
            (node.list, node.younger, node.older) = (list, NONE, second);
            cost = node.cost;
        }
        if let Some(node) = self.node(second) {
            node.younger = id;
        }
        if let Some(ends) = self.ends.get_mut(usize::from(list)) {
            ends.cost += cost;
        }
    }

    fn unlink(&mut self, id: Id) {
        let Some(node) = self.get(id) else { return };
        let (list, cost, younger, older) = (node.list, node.cost, node.younger, node.older);
        if let Some(node) = self.node(younger) {
            node.older = older;
        }
        if let Some(node) = self.node(older) {
            node.younger = younger;
        }
        if let Some(ends) = self.ends.get_mut(usize::from(list)) {
            ends.cost -= cost;
            if younger == NONE {
                ends.young = older;
            }
            if older == NONE {
                ends.old = younger;
            }
        }
    }
}

/// Entries a search for victims stepped over, set aside so that it meets each of them once.
#[derive(Default)]
pub(super) struct Kept(Vec<(Id, u8)>);

impl Kept {
    /// The oldest entry of a list that may leave; those that may not are moved to the list `aside`.
    pub fn oldest_free<K: Clone + Eq + Hash, const N: usize>(
        &mut self,
        lists: &mut Lists<K, N>,
        list: u8,
        aside: u8,
        keep: &dyn Fn(&K) -> bool,
    ) -> Option<Id> {
        while let Some(id) = lists.oldest(list) {
            if !keep(&lists.get(id)?.key) {
                return Some(id);
            }
            lists.renew(id, aside);
            self.0.push((id, list));
        }
        None
    }

    /// Puts them back, at the young end: what is in use is not old.
    pub fn restore<K: Clone + Eq + Hash, const N: usize>(self, lists: &mut Lists<K, N>) {
        for (id, list) in self.0 {
            lists.renew(id, list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lists: &mut Lists<u32, 2>, list: u8) -> Vec<u32> {
        std::iter::from_fn(|| {
            let id = lists.oldest(list)?;
            lists.remove(id).map(|node| node.key)
        })
        .collect()
    }

    #[test]
    fn lists_keep_order_cost_and_places() {
        let mut lists = Lists::<u32, 2>::new();
        (0..5).for_each(|key| lists.insert(key, u64::from(key), 0));
        for key in [0, 3] {
            lists.renew(lists.find(&key).unwrap(), 1);
        }
        lists.renew(lists.find(&2).unwrap(), 0);
        lists.set_cost(lists.find(&4).unwrap(), 10);
        assert_eq!((lists.cost_of(0), lists.cost_of(1), lists.cost(), lists.len()), (13, 3, 16, 5));
        assert_eq!(drain(&mut lists, 0), [1, 4, 2]);
        assert_eq!(drain(&mut lists, 1), [0, 3]);
        assert_eq!((lists.cost(), lists.len()), (0, 0));
        (0..5).for_each(|key| lists.insert(key, 1, 1));
        assert_eq!(lists.slab.len(), 5, "places are used again");
    }

    #[test]
    fn a_node_is_as_small_as_the_books_say() {
        let node = size_of::<Option<Node<crate::model::Address>>>() as u64;
        let index = size_of::<(crate::model::Address, Id)>() as u64 + 1;
        let learnt = 36;
        let free = size_of::<Id>() as u64;
        assert_eq!((node, index), (48, 33));
        assert!(2 * (node + index + free) + learnt <= super::super::ENTRY_OVERHEAD_BYTES);
    }
}

//! The books of what memory alone holds: which addresses, how much of each collection, and what of it
//! ends by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::model::{Address, Manifest, Usage};

/// Entries whose only copy is in memory, sorted so that a list can merge them in.
#[derive(Default)]
pub(super) struct DirtyBook {
    entries: BTreeMap<Address, Entry>,
    collections: HashMap<String, Sums>,
    ends: BTreeSet<(u64, Address)>,
    bytes: u64,
}

struct Entry {
    size: u64,
    /// What the books of durable objects count for its address.
    base: Usage,
    expires_ms: Option<u64>,
}

/// What a collection's entries come to, and what the durable objects do that they stand before.
#[derive(Default, PartialEq, Eq)]
struct Sums {
    shown: Usage,
    hidden: Usage,
}

impl DirtyBook {
    /// Takes note that this object is in memory alone. `base` is what the books of durable objects count
    /// for its address already.
    pub(super) fn add(&mut self, address: &Address, manifest: &Manifest, base: Usage) {
        self.remove(address);
        let sums = self.collections.entry(address.collection().to_owned()).or_default();
        sums.shown = sums.shown.plus(Usage::of(manifest.size));
        sums.hidden = sums.hidden.plus(base);
        self.bytes += manifest.size;
        self.ends.extend(manifest.expires_ms.map(|end| (end, address.clone())));
        let entry = Entry { size: manifest.size, base, expires_ms: manifest.expires_ms };
        self.entries.insert(address.clone(), entry);
    }

    /// Takes note that the durable object at an address counts for this much now.
    pub(super) fn rebase(&mut self, address: &Address, base: Usage) {
        let Some(entry) = self.entries.get_mut(address) else { return };
        let old = std::mem::replace(&mut entry.base, base);
        if let Some(sums) = self.collections.get_mut(address.collection()) {
            sums.hidden = sums.hidden.minus(old).plus(base);
        }
    }

    /// What the durable object counts for that this one stands before, if it is in memory alone.
    pub(super) fn base(&self, address: &Address) -> Option<Usage> {
        self.entries.get(address).map(|entry| entry.base)
    }

    /// Takes note that it left, or is on disk now.
    pub(super) fn remove(&mut self, address: &Address) {
        let Some(Entry { size, base, expires_ms }) = self.entries.remove(address) else { return };
        if let Some(sums) = self.collections.get_mut(address.collection()) {
            sums.shown = sums.shown.minus(Usage::of(size));
            sums.hidden = sums.hidden.minus(base);
            if *sums == Sums::default() {
                self.collections.remove(address.collection());
            }
        }
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(end) = expires_ms {
            self.ends.remove(&(end, address.clone()));
        }
    }

    /// What it all comes to.
    pub(super) fn total(&self) -> Usage {
        Usage { objects: self.entries.len() as u64, bytes: self.bytes }
    }

    /// What a collection comes to that holds this much durably.
    pub(super) fn on(&self, collection: &str, durable: Usage) -> Usage {
        self.collections.get(collection).map_or(durable, |sums| durable.plus(sums.shown).minus(sums.hidden))
    }

    /// What was to end at or before `now_ms`.
    pub(super) fn ended(&self, now_ms: u64) -> Vec<Address> {
        self.ends.iter().take_while(|(end, _)| *end <= now_ms).map(|(_, address)| address.clone()).collect()
    }

    /// Every address.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.entries.keys().cloned().collect()
    }

    /// Up to `limit` addresses of a collection with this prefix, behind `after`.
    pub(super) fn page(&self, collection: &str, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Address> {
        let first = format!("{collection}/{prefix}");
        let after = after.map(|key| format!("{collection}/{key}"));
        let from = match &after {
            Some(after) if *after >= first => Bound::Excluded(after.as_str()),
            _ => Bound::Included(first.as_str()),
        };
        let page = self.entries.range::<str, _>((from, Bound::Unbounded)).map(|(address, _)| address);
        page.take_while(|address| address.as_str().starts_with(&first)).take(limit).cloned().collect()
    }
}

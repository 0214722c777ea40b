//! Level 1: plain bytes in memory, behind a concurrent index.
//!
//! Readers touch no lock but the index's own and no mailbox. Whoever changes an entry holds the
//! index's lock on it while the version is compared and the note for the eviction policy is made,
//! so index, books and notes agree on the order of changes. Choosing victims is not done here
//! (`eviction/`), nor is writing what is dirty to disk (the actors do, through `keeper/`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::dirty::DirtyBook;
use super::eviction::{ENTRY_OVERHEAD_BYTES, Pins};
use super::{TierCopy, locked};
use crate::error::{Error, Result};
use crate::limits::TOUCH_BUFFER_ENTRIES;
use crate::model::{Address, Chunks, Level, Manifest, Usage, Version};

/// Bytes an entry costs beside its data, its address and the policy's books: index slot, manifest, rope.
const RESIDENT_OVERHEAD_BYTES: u64 = 480;

/// Slots of the table that tells a promotion whether its address changed while it was read.
const GUARDS: usize = 1024;

/// An object in memory.
#[derive(Debug)]
pub struct Resident {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// Its plain bytes.
    pub chunks: Chunks,
    /// Whether memory holds the only copy: it must be written to disk before it may leave.
    pub dirty: bool,
    /// Bytes it counts for in the budget.
    cost: u64,
}

/// What the eviction policy is told, in the order in which it happened.
#[derive(Debug)]
pub enum Note {
    /// An entry came, or its cost changed.
    Inserted(Address, u64),
    /// An entry left.
    Removed(Address),
}

/// Level 1 of a container.
pub struct MemoryTier {
    index: DashMap<Address, Arc<Resident>>,
    budget: u64,
    used: AtomicU64,
    dirty: std::sync::Mutex<DirtyBook>,
    notes: SegQueue<Note>,
    touches: ArrayQueue<Address>,
    guards: Box<[AtomicU64]>,
    hasher: RandomState,
    counters: Counters,
    /// As the eviction policy last noted it.
    pins: std::sync::Mutex<Pins>,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    promotions: AtomicU64,
}

/// How full a tier is and how it served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Entries.
    pub objects: u64,
    /// Bytes in use, entries and reservations with their overhead.
    pub bytes: u64,
    /// The most it may hold.
    pub budget: u64,
    /// Entries whose only copy is here.
    pub dirty: u64,
    /// Their plain bytes.
    pub dirty_bytes: u64,
    /// What pinned collections hold.
    pub pins: Pins,
    /// Entries that left to make room, or because somebody asked for it.
    pub evictions: u64,
    /// Reads that were answered.
    pub hits: u64,
    /// Reads that were not.
    pub misses: u64,
    /// Copies that came from elsewhere.
    pub promotions: u64,
}

/// Bytes of the budget set aside for an entry that is on its way; given back when dropped.
pub struct Reservation {
    memory: Arc<MemoryTier>,
    bytes: u64,
}

/// The state of an address before it is read elsewhere; see [`MemoryTier::promote`].
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u64);

impl MemoryTier {
    /// An empty tier that holds at most `budget` bytes.
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(MemoryTier {
            index: DashMap::new(),
            budget,
            used: AtomicU64::new(0),
            dirty: std::sync::Mutex::default(),
            notes: SegQueue::new(),
            touches: ArrayQueue::new(TOUCH_BUFFER_ENTRIES),
            guards: (0..GUARDS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            counters: Counters::default(),
            pins: std::sync::Mutex::default(),
        })
    }

    /// The entry at `address`; counts as a use.
    pub fn get(&self, address: &Address) -> Option<Arc<Resident>> {
        let found = self.index.get(address).map(|entry| Arc::clone(&entry))?;
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        // A full buffer forgets the hit: the policy works on samples, readers never wait for it.
        let _ = self.touches.push(address.clone());
        Some(found)
    }

    /// Takes note of a read that had to go on to the next level. Told by whoever sends it there: a
    /// door may look here more than once for one read.
    pub fn missed(&self) {
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// The entry at `address`, without counting as a use.
    pub fn peek(&self, address: &Address) -> Option<Arc<Resident>> {
        self.index.get(address).map(|entry| Arc::clone(&entry))
    }

    /// What an entry of `bytes` plain bytes at `address` counts for.
    pub fn cost(address: &Address, bytes: u64) -> u64 {
        bytes + address.as_str().len() as u64 + RESIDENT_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES
    }

    /// Sets bytes aside if they are free right now.
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.budget);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Reservation { memory: Arc::clone(self), bytes })
    }

    /// How many bytes must leave before `bytes` can be reserved; `None` when they cannot be, whatever
    /// leaves: pinned entries stay.
    pub fn shortage(&self, bytes: u64) -> Option<u64> {
        let wanted = self.used.load(Ordering::Acquire).saturating_add(bytes);
        let most = self.budget.saturating_sub(locked(&self.pins).bytes);
        (bytes <= most).then(|| wanted.saturating_sub(self.budget))
    }

    /// Takes note of what is pinned.
    pub fn note_pins(&self, pins: Pins) {
        *locked(&self.pins) = pins;
    }

    /// Shows an object, unless something newer is here. Returns whether it is shown; only then is the
    /// room spent.
    pub fn publish(&self, address: &Address, manifest: Arc<Manifest>, chunks: Chunks, room: &mut Reservation) -> bool {
        self.place(address, room, None, |_| Some((manifest, chunks))).is_some()
    }

    /// Taken before an object is read from elsewhere, so that a change in between is noticed.
    pub fn ticket(&self, address: &Address) -> Ticket {
        Ticket(self.guard(address).load(Ordering::Acquire))
    }

    /// Shows a copy that was read from elsewhere, if nothing changed at its address since the ticket.
    pub fn promote(
        &self,
        ticket: Ticket,
        address: &Address,
        manifest: Arc<Manifest>,
        chunks: Chunks,
        room: &mut Reservation,
    ) -> bool {
        let shown = self.place(address, room, None, |now| (now == ticket.0).then_some((manifest, chunks))).is_some();
        self.counters.promotions.fetch_add(u64::from(shown), Ordering::Relaxed);
        shown
    }

    /// Shows an object whose only copy is here, if nothing changed at its address since the ticket.
    ///
    /// `base` is what its durable version counts for already, so that nothing is counted twice.
    /// `stamp` makes the manifest under the entry's lock: between giving out the version and showing
    /// the object nothing can come that is newer, so a delete cannot be undone by a slow push.
    pub fn publish_dirty(
        &self,
        ticket: Ticket,
        address: &Address,
        chunks: Chunks,
        room: &mut Reservation,
        base: Usage,
        stamp: impl FnOnce() -> Option<Arc<Manifest>>,
    ) -> Option<Arc<Manifest>> {
        self.place(address, room, Some(base), |now| {
            (now == ticket.0).then(stamp).flatten().map(|manifest| (manifest, chunks))
        })
    }

    /// Does something before anything can change at an address, if nothing has since the ticket.
    pub fn if_unchanged<T>(&self, ticket: Ticket, address: &Address, work: impl FnOnce() -> T) -> Option<T> {
        let _entry = self.index.entry(address.clone());
        (self.guard(address).load(Ordering::Acquire) == ticket.0).then(work)
    }

    fn place(
        &self,
        address: &Address,
        room: &mut Reservation,
        dirty: Option<Usage>,
        build: impl FnOnce(u64) -> Option<(Arc<Manifest>, Chunks)>,
    ) -> Option<Arc<Manifest>> {
        let guard = self.guard(address);
        let entry = self.index.entry(address.clone());
        let old = match &entry {
            Entry::Occupied(old) => Some(old.get()),
            Entry::Vacant(_) => None,
        };
        let (manifest, chunks) = build(guard.load(Ordering::Acquire))?;
        if old.is_some_and(|old| old.manifest.version >= manifest.version) {
            return None;
        }
        if let Some(old) = old {
            self.used.fetch_sub(old.cost, Ordering::AcqRel);
        }
        guard.fetch_add(1, Ordering::AcqRel);
        let cost = room.spend();
        match dirty {
            Some(base) => locked(&self.dirty).add(address, &manifest, base),
            None => locked(&self.dirty).remove(address),
        }
        let dirty = dirty.is_some();
        self.notes.push(Note::Inserted(address.clone(), cost));
        entry.insert(Arc::new(Resident { manifest: Arc::clone(&manifest), chunks, dirty, cost }));
        Some(manifest)
    }

    /// Takes note that `version` is now the newest at `address`: what is older leaves, and reads
    /// under way do not bring it back.
    pub fn supersede(&self, address: &Address, version: Version) {
        match self.index.entry(address.clone()) {
            Entry::Occupied(old) => {
                self.guard(address).fetch_add(1, Ordering::AcqRel);
                if old.get().manifest.version < version {
                    self.release(old.get().cost, address);
                    old.remove();
                }
            }
            Entry::Vacant(_) => {
                self.guard(address).fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Lets the entry go unless it is dirty. Returns what it counted for if it left.
    pub fn evict_clean(&self, address: &Address) -> Option<u64> {
        self.evicted(self.remove_if(address, |resident| !resident.dirty))
    }

    /// Takes note that the dirty entry of this version is on disk now, and lets it go.
    pub fn settle(&self, address: &Address, version: Version) -> bool {
        self.evicted(self.remove_if(address, |resident| resident.manifest.version == version)).is_some()
    }

    fn evicted(&self, left: Option<u64>) -> Option<u64> {
        self.counters.evictions.fetch_add(u64::from(left.is_some()), Ordering::Relaxed);
        left
    }

    fn remove_if(&self, address: &Address, condition: impl FnOnce(&Resident) -> bool) -> Option<u64> {
        let removed = self.index.remove_if(address, |_, resident| {
            let leaves = condition(resident);
            if leaves {
                self.release(resident.cost, address);
            }
            leaves
        });
        removed.map(|(_, resident)| resident.cost)
    }

    /// Up to `limit` dirty entries of a collection whose keys start with `prefix` and come after
    /// `after`, in byte order.
    pub fn dirty_page(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(Address, Arc<Resident>)> {
        let page = locked(&self.dirty).page(collection, prefix, after, limit);
        page.into_iter().filter_map(|address| self.peek(&address).map(|resident| (address, resident))).collect()
    }

    /// Up to `limit` entries whose addresses start with `prefix` and come after `after`, by the bytes
    /// of collection and key. Looks at every entry: for whoever inspects, not for serving.
    pub fn page(&self, prefix: &str, after: Option<&Address>, limit: usize) -> Vec<(Address, Arc<Resident>)> {
        let place = |address: &Address| (address.collection().to_owned(), address.key().to_owned());
        let after = after.map(place);
        let mut page = std::collections::BTreeMap::new();
        for entry in self.index.iter().filter(|entry| entry.key().as_str().starts_with(prefix)) {
            let at = place(entry.key());
            if after.as_ref().is_some_and(|after| at <= *after) {
                continue;
            }
            page.insert(at, (entry.key().clone(), Arc::clone(&entry)));
            if page.len() > limit {
                page.pop_last();
            }
        }
        page.into_values().collect()
    }

    /// Every dirty address: what a drain must write.
    pub fn dirty(&self) -> Vec<Address> {
        locked(&self.dirty).addresses()
    }

    /// What a collection comes to: what it holds durably, changed by what is in memory alone.
    pub fn dirty_on(&self, collection: &str, durable: Usage) -> Usage {
        locked(&self.dirty).on(collection, durable)
    }

    /// Takes note that the durable object at an address counts for this much now, should memory alone hold a
    /// newer one. Whoever looked at the durable object before has to look again.
    pub fn rebase(&self, address: &Address, base: Usage) {
        let _entry = self.index.entry(address.clone());
        self.guard(address).fetch_add(1, Ordering::AcqRel);
        locked(&self.dirty).rebase(address, base);
    }

    /// The entry whose only copy is here, and what the durable object counts for that it stands before.
    pub fn dirty_at(&self, address: &Address) -> Option<(Arc<Resident>, Usage)> {
        let resident = self.peek(address).filter(|resident| resident.dirty)?;
        locked(&self.dirty).base(address).map(|base| (resident, base))
    }

    /// Dirty entries that were to end at or before `now_ms`.
    pub fn dirty_ended(&self, now_ms: u64) -> Vec<Address> {
        locked(&self.dirty).ended(now_ms)
    }

    /// Visits every entry with its cost, in no order.
    pub fn each(&self, mut visit: impl FnMut(&Address, u64)) {
        self.index.iter().for_each(|entry| visit(entry.key(), entry.cost));
    }

    /// Hands the eviction policy's owner everything noted since the last time.
    pub fn drain_notes(&self, mut note: impl FnMut(Note), mut touch: impl FnMut(Address)) {
        // Bounded by what is queued now: writers that keep noting must not hold the caller for ever.
        for _ in 0..self.notes.len() {
            match self.notes.pop() {
                Some(next) => note(next),
                None => break,
            }
        }
        for _ in 0..self.touches.len() {
            match self.touches.pop() {
                Some(next) => touch(next),
                None => break,
            }
        }
    }

    /// Bytes it may hold.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Bytes that are left of its budget.
    pub fn free(&self) -> u64 {
        self.budget.saturating_sub(self.used.load(Ordering::Acquire))
    }

    /// How full it is and how it served. Counts what is held shard by shard: not for each request.
    pub fn usage(&self) -> MemoryUsage {
        let dirty = locked(&self.dirty).total();
        MemoryUsage {
            objects: self.index.len() as u64,
            bytes: self.used.load(Ordering::Acquire),
            budget: self.budget,
            dirty: dirty.objects,
            dirty_bytes: dirty.bytes,
            pins: *locked(&self.pins),
            evictions: self.counters.evictions.load(Ordering::Relaxed),
            hits: self.counters.hits.load(Ordering::Relaxed),
            misses: self.counters.misses.load(Ordering::Relaxed),
            promotions: self.counters.promotions.load(Ordering::Relaxed),
        }
    }

    fn guard(&self, address: &Address) -> &AtomicU64 {
        let slot = self.hasher.hash_one(address.as_str()) as usize % GUARDS;
        // The table has GUARDS slots, so the fallback is never taken.
        self.guards.get(slot).unwrap_or(&self.used)
    }

    /// Takes an entry out of the books; called under the entry's lock.
    fn release(&self, cost: u64, address: &Address) {
        self.used.fetch_sub(cost, Ordering::AcqRel);
        locked(&self.dirty).remove(address);
        self.notes.push(Note::Removed(address.clone()));
    }
}

impl Resident {
    /// Bytes it counts for in the budget.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

impl Reservation {
    /// Bytes set aside.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over the bytes of another reservation.
    pub fn absorb(&mut self, mut other: Reservation) {
        self.bytes += other.spend();
    }

    /// The bytes become the cost of an entry, which gives them back when it leaves.
    fn spend(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({})", self.bytes)
    }
}

/// Level 1 as a [`Tier`](super::Tier): copies are plain and clean, and a full tier refuses.
impl super::Tier for Arc<MemoryTier> {
    fn level(&self) -> Level {
        Level::Ram
    }

    fn put(&self, address: &Address, copy: TierCopy) -> Result<bool> {
        let room = self.try_reserve(MemoryTier::cost(address, copy.bytes.len()));
        let mut room = room.ok_or_else(|| Error::busy("level 1 is full; make room first").with("address", address))?;
        let chunks = Chunks::from(copy.bytes.read(0..copy.bytes.len())?);
        Ok(self.publish(address, copy.manifest, chunks, &mut room))
    }

    fn get(&self, address: &Address) -> Result<Option<TierCopy>> {
        let found = self.peek(address);
        Ok(found.map(|found| TierCopy { manifest: Arc::clone(&found.manifest), bytes: Arc::new(found.chunks.clone()) }))
    }

    fn drop_copy(&self, address: &Address, version: Version) -> Result<bool> {
        Ok(self.remove_if(address, |resident| !resident.dirty && resident.manifest.version == version).is_some())
    }

    fn objects(&self) -> Result<u64> {
        Ok(self.index.len() as u64)
    }
}

#[cfg(test)]
mod tests;

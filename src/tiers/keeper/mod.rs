//! Keeps memory and disk in step: one order of changes, decided in one place.
//!
//! Everything durable goes through [`Keeper::commit`] (`group.rs`), called by one thread at a time. It gives out
//! versions, checks conditions and quotas, commits a group of changes at once, and only then changes what
//! memory shows. Objects of class `ram` are given their version under the lock of their entry in memory
//! ([`Keeper::hold`]).

mod change;
mod copies;
mod decide;
mod group;
mod journal;
mod learn;
mod read;
mod sweep;
mod tally;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

pub use change::{Binding, Change, Draft, Job, Located, Outcome, Show};
use learn::Outbox;
pub use learn::{Learnt, News};
pub use read::Lacks;
pub use sweep::Swept;
use tally::{Ledger, Tally};

use super::disk::{Fate, Plan};
use super::memory::{Reservation, Ticket};
use super::rules::{Rulebook, Rules};
use super::sequencer::Stamp;
use super::{Copies, Decision, DiskTier, MemoryTier, Resident, Sequencer, locked};
use crate::error::{Error, Kind, Result};
use crate::limits::{DECIDE_ATTEMPTS_MAX, TOMBSTONE_MS};
use crate::model::{
    Address, Chunks, Condition, Durability, Entry, Head, Incarnation, Manifest, Rest, Tombstone, Usage, Version,
};

/// Memory and disk of one container, and the order of changes over both.
pub struct Keeper {
    memory: Arc<MemoryTier>,
    disk: DiskTier,
    sequencer: Sequencer,
    rulebook: Arc<dyn Rulebook>,
    ledger: Ledger,
    /// How far the changes of former lives, and of others, are here.
    seen: RwLock<BTreeMap<Incarnation, u64>>,
    outbox: Outbox,
    /// Where the bytes of others' objects are copied to.
    copies: OnceLock<Arc<Copies>>,
    /// Held while a group is committed, so that groups become visible one after the other.
    order: Mutex<()>,
    /// Shared by those who show objects of class `ram`, held alone by who must see all of them.
    showing: RwLock<()>,
    /// Whether somebody sees to more versions.
    looking_ahead: AtomicBool,
}

impl Keeper {
    /// Puts the two levels together, under these rules.
    pub fn open(
        memory: Arc<MemoryTier>,
        disk: DiskTier,
        sequencer: Sequencer,
        rulebook: Arc<dyn Rulebook>,
    ) -> Result<Self> {
        let ledger = Ledger::new(disk.store().holdings()?);
        let seen = RwLock::new(disk.store().seen()?);
        Ok(Keeper {
            memory,
            disk,
            sequencer,
            rulebook,
            ledger,
            seen,
            outbox: Outbox::default(),
            copies: OnceLock::new(),
            order: Mutex::default(),
            showing: RwLock::default(),
            looking_ahead: AtomicBool::new(false),
        })
    }

    /// Tells where the bytes of others' objects are copied to, once in a life.
    pub fn copy_to(&self, copies: &Arc<Copies>) {
        let _ = self.copies.set(Arc::clone(copies));
    }

    /// Level 1.
    pub fn memory(&self) -> &Arc<MemoryTier> {
        &self.memory
    }

    /// Level 2.
    pub fn disk(&self) -> &DiskTier {
        &self.disk
    }

    /// What a collection holds at the moment, on disk and in memory alone.
    pub fn usage_of(&self, collection: &str) -> Usage {
        self.memory.dirty_on(collection, self.ledger.of(collection).usage)
    }

    /// Acknowledges an object in memory alone, in the place of one that is there alone as well: memory knows all
    /// that decides, so this never waits. Nothing is done where the disk has to be asked; see [`Keeper::hold`].
    pub fn hold_again(
        &self,
        address: &Address,
        draft: &Draft,
        chunks: &Chunks,
        room: &mut Reservation,
        condition: &Condition,
    ) -> Option<(Arc<Manifest>, bool)> {
        let _showing = self.showing.try_read().ok()?;
        let rules = self.rulebook.rules(address.collection())?;
        if Self::must_wait(condition, &rules) || self.sequencer.ceiling_needed(1).is_some() {
            return None;
        }
        let ticket = self.memory.ticket(address);
        let (resident, durable) = self.memory.dirty_at(address)?;
        let known = Known { durable, ..Known::of(None, None, Some(&resident), self.sequencer.now_ms()) };
        self.show(ticket, &known, address, draft, chunks, room)
    }

    /// Acknowledges an object in memory alone. Returns its manifest and whether it was created.
    pub fn hold(
        &self,
        address: &Address,
        draft: &Draft,
        chunks: &Chunks,
        mut room: Reservation,
        condition: &Condition,
        decision: Option<&Decision>,
    ) -> Result<(Arc<Manifest>, bool)> {
        let rules = self.rules(address)?;
        let _order = Self::must_wait(condition, &rules).then(|| locked(&self.order));
        let _showing = self.showing.read().unwrap_or_else(PoisonError::into_inner);
        // Once more, now that the collection cannot be removed any more before the object shows.
        self.rules(address)?;
        for _ in 0..DECIDE_ATTEMPTS_MAX {
            // No disk is waited for while versions last; see `look_ahead`.
            if !self.sequencer.can_stamp() {
                self.ensure_ceiling(1)?;
            }
            let ticket = self.memory.ticket(address);
            let head = match self.disk.head(address) {
                Err(error) if gives_way(&error, condition) => None,
                head => head?,
            };
            let other = self.disk.entry(address)?;
            let known = self.known(head.as_ref(), other.as_ref(), address);
            self.check_known(head.as_ref(), address, condition)?;
            decide::still_decides(address, decision)?;
            // Nothing can change between here and the moment it shows: the ticket sees to that.
            condition.check(known.live)?;
            let now = self.usage_of(address.collection());
            rules.quota.check(now, known.after(now, draft.size))?;
            if let Some(held) = self.show(ticket, &known, address, draft, chunks, &mut room) {
                return Ok(held);
            }
        }
        Err(decide::crowded(address))
    }

    /// Shows an object of class `ram`, unless something changed at its address since the ticket.
    fn show(
        &self,
        ticket: Ticket,
        known: &Known,
        address: &Address,
        draft: &Draft,
        chunks: &Chunks,
        room: &mut Reservation,
    ) -> Option<(Arc<Manifest>, bool)> {
        let _window = self.sequencer.window();
        let stamp = || {
            let stamp = self.sequencer.stamp_above(known.version)?;
            Some(Arc::new(draft.clone().manifest(stamp, known.version, Durability::Ram, None)))
        };
        let manifest = self.memory.publish_dirty(ticket, address, chunks.clone(), room, known.durable, stamp)?;
        self.outbox.add(address);
        Some((manifest, known.live.is_none()))
    }

    /// Does something while nothing is stored anywhere, such as removing an empty collection.
    pub fn while_still<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _order = locked(&self.order);
        let _showing = self.showing.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Takes note that a collection is gone.
    pub fn forget_collection(&self, collection: &str) {
        self.ledger.forget(collection);
    }

    /// Makes a plan durable, with what it changes in the books. The caller holds `order`.
    fn seal(&self, mut plan: Plan<'_>, mut tally: Tally<'_>) -> Result<()> {
        if plan.is_empty() {
            return Ok(());
        }
        tally.owe(&plan);
        tally.write(plan.batch());
        let last = self.sequencer.last();
        plan.batch().put_seen(last.incarnation, last.seq);
        plan.commit()?;
        tally.settle();
        Ok(())
    }

    fn rules(&self, address: &Address) -> Result<Rules> {
        self.rulebook.rules(address.collection()).ok_or_else(|| {
            Error::busy("the collection was removed while this change was under way; try again")
                .with("address", address)
        })
    }

    /// Decides one change: its version, what it replaces, whether it is void.
    fn plan(&self, plan: &mut Plan<'_>, tally: &mut Tally<'_>, address: &Address, change: Change) -> Result<Outcome> {
        let (head, lost) = match plan.head(address) {
            Err(error) if gives_way(&error, change.condition()) => {
                plan.give_up(address);
                (None, true)
            }
            head => (head?, false),
        };
        if !lost {
            self.check_known(head.as_ref(), address, change.condition())?;
        }
        let collection = address.collection();
        match change {
            Change::Store { draft, mut seal, frame, bind, condition } => {
                let (rules, usage) = (self.rules(address)?, Usage::of(draft.size));
                let durable = tally.of(collection);
                let other = plan.entry(address)?;
                let (known, stamp) = self.decide(head.as_ref(), other.as_ref(), address, |known| {
                    condition.check(known.live)?;
                    let now = self.memory.dirty_on(collection, durable);
                    rules.quota.check(now, known.after(now, draft.size)).map(|()| true)
                })?;
                let stamp = stamp.ok_or_else(|| Error::internal("a push was decided without a stamp"))?;
                seal.inline = frame.is_inline();
                seal.key = bind(address, stamp.version, draft.size, &seal)?;
                let manifest = draft.manifest(stamp, known.version, Durability::Disk, Some(seal));
                let fate = Fate { keep_until: until(&rules, &known, stamp.now_ms), owes: rules.cloud, begun: false };
                plan.store(address, manifest.clone(), frame, fate)?;
                tally.replace(collection, known.durable, usage);
                Ok(Outcome::Stored { manifest: Arc::new(manifest), created: known.live.is_none() })
            }
            Change::Adopt { mut manifest, frame } => {
                let other = plan.entry(address)?;
                let newest = head.as_ref().map(Head::version).max(other.as_ref().map(Entry::version));
                if newest >= Some(manifest.version) {
                    return Ok(Outcome::Superseded);
                }
                let known = self.known(head.as_ref(), other.as_ref(), address);
                if let Some(seal) = &mut manifest.seal {
                    seal.inline = frame.is_inline();
                }
                let rules = self.rulebook.rules(collection).unwrap_or_default();
                let keep_until = until(&rules, &known, self.sequencer.now_ms());
                let fate = Fate { keep_until, owes: rules.cloud, begun: false };
                plan.store(address, (*manifest).clone(), frame, fate)?;
                tally.replace(collection, known.durable, Usage::of(manifest.size));
                Ok(Outcome::Stored { manifest: Arc::new(*manifest), created: false })
            }
            Change::Mend { mut manifest, frame } => {
                if let Some(seal) = &mut manifest.seal {
                    seal.inline = frame.is_inline();
                }
                let mended = plan.mend(address, (*manifest).clone(), frame)?;
                Ok(if mended { Outcome::Mended } else { Outcome::Superseded })
            }
            Change::TakeOver { from, mut manifest, frame } => {
                let Some(other) = plan.entry(address)? else { return Ok(Outcome::Superseded) };
                if other.keeper != from || other.version() != manifest.version {
                    return Ok(Outcome::Superseded);
                }
                let rules = self.rules(address)?;
                let is_newest = |known: &Known| Ok(known.version == Some(manifest.version));
                let (known, stamp) = self.decide(head.as_ref(), Some(&other), address, is_newest)?;
                let Some(stamp) = stamp else { return Ok(Outcome::Superseded) };
                if let Some(seal) = &mut manifest.seal {
                    (seal.inline, seal.rest) = (frame.is_inline(), Rest::Disk);
                }
                // The same version, and a change all the same: the others hear of it by its dot.
                let manifest = Manifest { dot: stamp.dot, moves: manifest.moves.saturating_add(1), ..*manifest };
                // Where both have one cloud, it may have what the former keeper brought there.
                let fate = Fate { keep_until: None, owes: rules.cloud, begun: true };
                plan.store(address, manifest.clone(), frame, fate)?;
                tally.replace(collection, known.durable, Usage::of(manifest.size));
                Ok(Outcome::Stored { manifest: Arc::new(manifest), created: false })
            }
            Change::Delete { condition, unseen } => {
                // What cannot be read, or may have been lost, is deleted as well as what is there.
                let perhaps = unseen || lost || self.is_unaccounted(head.as_ref());
                let other = plan.entry(address)?;
                let (known, stamp) = self.decide(head.as_ref(), other.as_ref(), address, |known| {
                    condition.check(known.live).map(|()| known.live.is_some() || perhaps)
                })?;
                let Some(stamp) = stamp else { return Ok(Outcome::Deleted(None)) };
                let rules = self.rulebook.rules(collection).unwrap_or_default();
                let keep = until(&rules, &known, stamp.now_ms);
                self.bury(plan, tally, address, &known, stamp, keep)?;
                Ok(Outcome::Deleted(Some(stamp)))
            }
        }
    }

    /// Puts a tombstone in an object's place.
    fn bury(
        &self,
        plan: &mut Plan<'_>,
        tally: &mut Tally<'_>,
        address: &Address,
        known: &Known,
        stamp: Stamp,
        keep_until: Option<u64>,
    ) -> Result<()> {
        let Stamp { version, dot, now_ms } = stamp;
        let tombstone = Tombstone { version, dot, replaces: known.version, deleted_ms: now_ms };
        plan.delete(address, tombstone, keep_until, now_ms.saturating_add(TOMBSTONE_MS))?;
        tally.replace(address.collection(), known.durable, Usage::default());
        Ok(())
    }

    /// Whether an address without a head may have held something that was lost.
    fn is_unaccounted(&self, head: Option<&Head>) -> bool {
        head.is_none() && self.disk.is_incomplete()
    }

    /// What must hold for an object can only be told if it is known what there was.
    fn check_known(&self, head: Option<&Head>, address: &Address, condition: &Condition) -> Result<()> {
        let unknown = self.is_unaccounted(head) && self.memory.peek(address).is_none();
        if unknown && *condition != Condition::Always { Err(crate::store::lost(address)) } else { Ok(()) }
    }

    fn stamp(&self, known: Option<Version>) -> Result<Stamp> {
        // `commit` raised the ceiling far enough for the whole group; only a clock that leapt ahead
        // in between can pass it.
        self.sequencer.stamp_above(known).ok_or_else(|| Error::busy("the clock leapt ahead; try again"))
    }

    /// Whether versions run out soon, and nobody sees to more of them yet.
    pub fn must_look_ahead(&self) -> bool {
        self.sequencer.ceiling_needed(1).is_some() && !self.looking_ahead.swap(true, Ordering::AcqRel)
    }

    /// Sees to more versions before they run out, so that what needs no disk else does not wait for one.
    pub fn look_ahead(&self) -> Result<()> {
        let raised = self.ensure_ceiling(1);
        self.looking_ahead.store(false, Ordering::Release);
        raised
    }

    /// A ceiling is a commit of its own, so that no version is ever given above a durable one.
    fn ensure_ceiling(&self, count: u64) -> Result<()> {
        if let Some(ceiling) = self.sequencer.ceiling_needed(count) {
            self.disk.raise_ceiling(ceiling)?;
            self.sequencer.raise_ceiling(ceiling);
        }
        Ok(())
    }

    /// What both levels know of an address together.
    fn known(&self, head: Option<&Head>, other: Option<&Entry>, address: &Address) -> Known {
        Known::of(head, other, self.memory.peek(address).as_deref(), self.sequencer.now_ms())
    }
}

/// Whether a record that fails its check makes room for a change. What must hold for the record cannot be
/// told, so the change must not depend on it.
fn gives_way(error: &Error, condition: &Condition) -> bool {
    error.kind() == Kind::Corrupt && *condition == Condition::Always
}

/// How long the version that is replaced stays readable, if at all.
fn until(rules: &Rules, known: &Known, now_ms: u64) -> Option<u64> {
    let end = now_ms.saturating_add(rules.retention_ms);
    // What ended by itself does not come back as an old version.
    (rules.retention_ms > 0 && known.live.is_some()).then_some(end)
}

/// What both levels know of an address together, and what another container keeps there.
struct Known {
    /// The newest version or delete.
    version: Option<Version>,
    /// What that one replaced.
    replaces: Option<Version>,
    /// The object that is there now.
    live: Option<Version>,
    /// Whether that object is this container's own.
    is_here: bool,
    /// What it counts for.
    usage: Usage,
    /// What the books of durable objects count for this address.
    durable: Usage,
}

impl Known {
    /// What a collection comes to once an object of this size is in the place of what is there now.
    fn after(&self, now: Usage, size: u64) -> Usage {
        now.minus(self.usage).plus(Usage::of(size))
    }

    fn of(head: Option<&Head>, other: Option<&Entry>, resident: Option<&Resident>, now_ms: u64) -> Self {
        let on_disk = head.and_then(Head::object);
        let in_memory = resident.map(|resident| &*resident.manifest);
        let elsewhere = other.and_then(Entry::object);
        let newest = [in_memory, on_disk, elsewhere].into_iter().flatten().max_by_key(|manifest| manifest.version);
        let traces = [head, other.map(|other| &other.head)].into_iter().flatten();
        let traces = traces.map(|head| (head.version(), head.replaces()));
        let newest_of_all = traces.chain(in_memory.map(|manifest| (manifest.version, manifest.replaces))).max();
        let (version, replaces) = newest_of_all.unzip();
        let live = newest.filter(|manifest| Some(manifest.version) == version && !manifest.is_expired(now_ms));
        let is_here = live.is_some_and(|live| elsewhere.is_none_or(|elsewhere| elsewhere.version != live.version));
        Known {
            version,
            replaces: replaces.flatten(),
            live: live.map(|manifest| manifest.version),
            is_here,
            // The books of this container count what it has itself.
            usage: live.filter(|_| is_here).map(|manifest| Usage::of(manifest.size)).unwrap_or_default(),
            durable: on_disk.map(|manifest| Usage::of(manifest.size)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod learn_tests;
#[cfg(test)]
mod tests;

//! Keeps memory and disk in step: one order of changes, decided in one place.
//!
//! Everything durable goes through [`Keeper::commit`], called by one thread at a time. It gives out
//! versions, checks conditions and quotas, commits a group of changes at once, and only then changes what
//! memory shows. Objects of class `ram` are given their version under the lock of their entry in memory
//! ([`Keeper::hold`]).

mod change;
mod decide;
mod read;
mod sweep;
mod tally;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use change::{Binding, Change, Draft, Job, Located, Outcome, Show};
pub use sweep::Swept;
use tally::{Ledger, Tally};

use super::disk::Plan;
use super::memory::Reservation;
use super::rules::{Rulebook, Rules};
use super::sequencer::Stamp;
use super::{DiskTier, MemoryTier, Resident, Sequencer, locked};
use crate::error::{Error, Result};
use crate::limits::{DECIDE_ATTEMPTS_MAX, TOMBSTONE_MS};
use crate::model::{Address, Chunks, Condition, Durability, Head, Incarnation, Manifest, Tombstone, Usage, Version};

/// Memory and disk of one container, and the order of changes over both.
pub struct Keeper {
    memory: Arc<MemoryTier>,
    disk: DiskTier,
    sequencer: Sequencer,
    rulebook: Arc<dyn Rulebook>,
    ledger: Ledger,
    /// How far the changes of former lives, and of others, are here.
    seen: BTreeMap<Incarnation, u64>,
    /// Held while a group is committed, so that groups become visible one after the other.
    order: Mutex<()>,
    /// Shared by those who show objects of class `ram`, held alone by who must see all of them.
    showing: RwLock<()>,
}

impl Keeper {
    /// Puts the two levels together, under these rules.
    pub fn open(
        memory: Arc<MemoryTier>,
        disk: DiskTier,
        sequencer: Sequencer,
        rulebook: Arc<dyn Rulebook>,
    ) -> Result<Self> {
        let ledger = Ledger::new(disk.store().usages()?);
        let seen = disk.store().seen()?;
        Ok(Keeper {
            memory,
            disk,
            sequencer,
            rulebook,
            ledger,
            seen,
            order: Mutex::default(),
            showing: RwLock::default(),
        })
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
        self.memory.dirty_on(collection, self.ledger.of(collection))
    }

    /// What all collections hold durably.
    pub fn usage(&self) -> Usage {
        self.ledger.total()
    }

    /// Acknowledges an object in memory alone. Returns its manifest and whether it was created.
    pub fn hold(
        &self,
        address: &Address,
        draft: &Draft,
        chunks: &Chunks,
        mut room: Reservation,
        condition: &Condition,
    ) -> Result<(Arc<Manifest>, bool)> {
        let rules = self.rules(address)?;
        let _order = Self::must_wait(condition, &rules).then(|| locked(&self.order));
        let _showing = self.showing.read().unwrap_or_else(PoisonError::into_inner);
        // Once more, now that the collection cannot be removed any more before the object shows.
        self.rules(address)?;
        for _ in 0..DECIDE_ATTEMPTS_MAX {
            self.ensure_ceiling(1)?;
            let ticket = self.memory.ticket(address);
            let known = self.known(self.disk.head(address)?.as_ref(), address);
            // Nothing can change between here and the moment it shows: the ticket sees to that.
            condition.check(known.live)?;
            let now = self.usage_of(address.collection());
            rules.quota.check(now, known.after(now, draft.size))?;
            let stamp = || {
                let stamp = self.sequencer.stamp()?;
                Some(Arc::new(draft.clone().manifest(stamp, known.version, Durability::Ram, None)))
            };
            let shown = self.memory.publish_dirty(ticket, address, chunks.clone(), &mut room, known.durable, stamp);
            if let Some(manifest) = shown {
                return Ok((manifest, known.live.is_none()));
            }
        }
        Err(decide::crowded(address))
    }

    /// Commits a group of changes: durable when this returns, and memory shows them. The answers
    /// come in the order of the jobs.
    pub fn commit(&self, jobs: Vec<Job>) -> Vec<Result<Outcome>> {
        let _order = locked(&self.order);
        if let Err(error) = self.ensure_ceiling(jobs.len() as u64) {
            return jobs.iter().map(|_| Err(error.duplicate())).collect();
        }
        let (mut plan, mut tally) = (Plan::new(&self.disk), self.ledger.tally());
        let mut planned = Vec::with_capacity(jobs.len());
        for Job { address, change, show } in jobs {
            let outcome = self.plan(&mut plan, &mut tally, &address, change);
            planned.push((address, show, outcome));
        }
        let committed = self.seal(plan, tally);
        planned.into_iter().map(|(address, show, outcome)| self.settle(&committed, &address, show, outcome)).collect()
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
    fn seal(&self, mut plan: Plan<'_>, tally: Tally<'_>) -> Result<()> {
        if plan.is_empty() {
            return Ok(());
        }
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
        let head = plan.head(address)?;
        let collection = address.collection();
        match change {
            Change::Store { draft, mut seal, frame, bind, condition } => {
                let (rules, usage) = (self.rules(address)?, Usage::of(draft.size));
                let durable = tally.of(collection);
                let (known, stamp) = self.decide(head.as_ref(), address, |known| {
                    condition.check(known.live)?;
                    let now = self.memory.dirty_on(collection, durable);
                    rules.quota.check(now, known.after(now, draft.size)).map(|()| true)
                })?;
                let stamp = stamp.ok_or_else(|| Error::internal("a push was decided without a stamp"))?;
                seal.inline = frame.is_inline();
                seal.key = bind(address, stamp.version, draft.size, &seal)?;
                let manifest = draft.manifest(stamp, known.version, Durability::Disk, Some(seal));
                plan.store(address, manifest.clone(), frame, until(&rules, &known, stamp.now_ms))?;
                tally.replace(collection, known.durable, usage);
                Ok(Outcome::Stored { manifest: Arc::new(manifest), created: known.live.is_none() })
            }
            Change::Adopt { mut manifest, frame } => {
                if head.as_ref().is_some_and(|head| head.version() >= manifest.version) {
                    return Ok(Outcome::Superseded);
                }
                let known = self.known(head.as_ref(), address);
                if let Some(seal) = &mut manifest.seal {
                    seal.inline = frame.is_inline();
                }
                let rules = self.rulebook.rules(collection).unwrap_or_default();
                plan.store(address, (*manifest).clone(), frame, until(&rules, &known, self.sequencer.now_ms()))?;
                tally.replace(collection, known.durable, Usage::of(manifest.size));
                Ok(Outcome::Stored { manifest: Arc::new(*manifest), created: false })
            }
            Change::Delete { condition } => {
                let (known, stamp) = self.decide(head.as_ref(), address, |known| {
                    condition.check(known.live).map(|()| known.live.is_some())
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

    /// Shows in memory what was committed, in the order of the commits.
    fn settle(
        &self,
        committed: &Result<()>,
        address: &Address,
        show: Option<Show>,
        outcome: Result<Outcome>,
    ) -> Result<Outcome> {
        let outcome = outcome?;
        if let Err(error) = committed {
            // The store decides what is visible after a failed commit; memory must not contradict it.
            self.memory.evict_clean(address);
            return Err(error.duplicate());
        }
        match (&outcome, show) {
            (Outcome::Stored { manifest, .. }, Some(Show { chunks, mut room })) => {
                self.memory.publish(address, Arc::clone(manifest), chunks, &mut room);
            }
            (Outcome::Stored { manifest, .. }, None) if manifest.durability == Durability::Ram => {
                self.memory.settle(address, manifest.version);
            }
            (Outcome::Stored { manifest, .. }, None) => self.memory.supersede(address, manifest.version),
            (Outcome::Deleted(Some(stamp)), _) => self.memory.supersede(address, stamp.version),
            (Outcome::Deleted(None) | Outcome::Superseded, _) => {}
        }
        match &outcome {
            Outcome::Stored { manifest, .. } => self.memory.rebase(address, Usage::of(manifest.size)),
            Outcome::Deleted(Some(_)) => self.memory.rebase(address, Usage::default()),
            Outcome::Deleted(None) | Outcome::Superseded => {}
        }
        Ok(outcome)
    }

    fn stamp(&self) -> Result<Stamp> {
        // `commit` raised the ceiling far enough for the whole group; only a clock that leapt ahead
        // in between can pass it.
        self.sequencer.stamp().ok_or_else(|| Error::busy("the clock leapt ahead; try again"))
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
    fn known(&self, head: Option<&Head>, address: &Address) -> Known {
        Known::of(head, self.memory.peek(address).as_deref(), self.sequencer.now_ms())
    }
}

/// How long the version that is replaced stays readable, if at all.
fn until(rules: &Rules, known: &Known, now_ms: u64) -> Option<u64> {
    let end = now_ms.saturating_add(rules.retention_ms);
    // What ended by itself does not come back as an old version.
    (rules.retention_ms > 0 && known.live.is_some()).then_some(end)
}

/// What both levels know of an address together.
struct Known {
    /// The newest version or delete.
    version: Option<Version>,
    /// The object that is there now.
    live: Option<Version>,
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

    fn of(head: Option<&Head>, resident: Option<&Resident>, now_ms: u64) -> Self {
        let on_disk = head.and_then(Head::object);
        let in_memory = resident.map(|resident| &*resident.manifest);
        let newest = [in_memory, on_disk].into_iter().flatten().max_by_key(|manifest| manifest.version);
        let version = head.map(Head::version).max(in_memory.map(|manifest| manifest.version));
        let live = newest.filter(|manifest| Some(manifest.version) == version && !manifest.is_expired(now_ms));
        Known {
            version,
            live: live.map(|manifest| manifest.version),
            usage: live.map(|manifest| Usage::of(manifest.size)).unwrap_or_default(),
            durable: on_disk.map(|manifest| Usage::of(manifest.size)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;

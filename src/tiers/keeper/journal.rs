//! What the container owes to the cloud, and what it may let go of once that is paid.
//!
//! Each step is one commit of its own, in the order of all other changes: a crash at any instant finds
//! either the debt or the receipt.

use super::Keeper;
use crate::error::Result;
use crate::model::{Address, ContainerId, Holding, Receipt, Usage, Version};
use crate::store::{Batch, Chore, Owed};
use crate::tiers::disk::Plan;
use crate::tiers::locked;
use crate::tiers::{Rewrapped, StagedFrame};

impl Keeper {
    /// The greatest version given so far.
    pub fn last_version(&self) -> Version {
        self.sequencer.last_version()
    }

    /// The keeper of a version says that it has it no more, as after a crash that memory did not survive.
    pub fn forget_other(&self, address: &Address, version: Version, keeper: ContainerId) -> Result<()> {
        self.in_order(|plan| match plan.entry(address)? {
            Some(entry) if entry.version() == version && entry.keeper == keeper => plan.forget_entry(address),
            _ => Ok(()),
        })
    }

    /// Takes note of a version that somebody knows of: later ones are greater. One from too far ahead is not
    /// believed.
    pub fn observe(&self, version: Version) {
        self.sequencer.observe(version);
    }

    /// Nothing is changed any more in this life: the next one need not skip what was kept for more changes, which
    /// would set its clock ahead of the others'.
    pub fn settle_clock(&self) -> Result<()> {
        let mut batch = Batch::new();
        batch.settle_ceiling(self.sequencer.last_version().time);
        self.disk.store().commit(&batch)
    }

    /// What a collection owes: objects that the cloud is still to get, and their sealed bytes.
    pub fn owed_of(&self, collection: &str) -> Usage {
        self.ledger.of(collection).owed
    }

    /// What all collections hold and owe.
    pub fn holding(&self) -> Holding {
        self.ledger.total()
    }

    /// What is owed for an object, if anything.
    pub fn owed_at(&self, address: &Address) -> Result<Option<(Version, Owed)>> {
        let Some(head) = self.disk.head(address)? else { return Ok(None) };
        let owed = self.disk.store().owed(head.version())?;
        Ok(owed.map(|owed| (head.version(), owed)))
    }

    /// Marks uploads that are about to begin. Returns those that are still owed.
    pub fn begin_uploads(&self, mut page: Vec<(Version, Owed)>) -> Result<Vec<(Version, Owed)>> {
        if page.is_empty() {
            return Ok(page);
        }
        self.in_order(|plan| {
            let mut owed = Vec::with_capacity(page.len());
            for (version, _) in &page {
                owed.push(plan.begin(*version)?);
            }
            let mut owed = owed.into_iter();
            page.retain(|_| owed.next() == Some(true));
            Ok(page)
        })
    }

    /// Takes in receipts. What was replaced meanwhile has been noted to be cleared away.
    pub fn pay(&self, receipts: &[(Version, Receipt)]) -> Result<()> {
        self.in_order(|plan| receipts.iter().try_for_each(|(version, receipt)| plan.pay(*version, receipt).map(|_| ())))
    }

    /// The cloud has forgotten these. One that has grown meanwhile stays.
    pub fn end_chores(&self, done: &[(Version, Chore)]) -> Result<()> {
        self.in_order(|plan| {
            for (version, chore) in done {
                if self.disk.store().chore(*version)?.as_ref() == Some(chore) {
                    plan.batch().end_chore(*version);
                }
            }
            Ok(())
        })
    }

    /// The disk lets go of versions whose receipts have just been checked. Returns what left, and its bytes.
    pub fn release(&self, checked: &[(Address, Version)]) -> Result<Vec<(Address, u64)>> {
        let left = self.in_order(|plan| {
            let mut left = Vec::with_capacity(checked.len());
            for (address, version) in checked {
                left.extend(plan.release(address, *version)?.map(|bytes| (address.clone(), bytes)));
            }
            Ok(left)
        })?;
        // Their files go at once: a frame may come back under the same name.
        self.disk.collect()?;
        Ok(left)
    }

    /// The disk gets back a version that the cloud alone had. Returns whether it is still the newest.
    pub fn readmit(&self, address: &Address, version: Version, frame: StagedFrame) -> Result<bool> {
        self.in_order(|plan| plan.readmit(address, version, frame))
    }

    /// The cloud has lost this version, or something else under its name: it is owed again.
    pub fn owe_again(&self, address: &Address, version: Version) -> Result<bool> {
        self.in_order(|plan| plan.owe_again(address, version))
    }

    /// Takes in data keys that were wrapped anew. Returns how many were still as they had been.
    pub fn rewrap(&self, keys: &[Rewrapped]) -> Result<usize> {
        self.in_order(|plan| {
            let mut done = 0;
            for key in keys {
                done += usize::from(plan.rewrap(key)?);
            }
            Ok(done)
        })
    }

    fn in_order<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        let _order = locked(&self.order);
        let mut plan = Plan::new(&self.disk);
        let done = work(&mut plan)?;
        self.seal(plan, self.ledger.tally())?;
        Ok(done)
    }
}

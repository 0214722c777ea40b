//! What a commit owes to the cloud, and what it takes note of as paid.
//!
//! A version is owed by a row of its own, written in the commit that makes it and removed in the commit
//! that takes in the receipt, or that makes it old: only the newest version is owed. An upload is marked
//! before it begins, so that what a crash leaves in the cloud without a receipt is cleared away.

use super::commit::CloudShift;
use super::{Plan, StagedFrame};
use crate::error::Result;
use crate::model::{Address, Head, Manifest, Receipt, Rest, Seal, Usage, Version};
use crate::store::{Chore, Owed};

impl Plan<'_> {
    /// What this plan changes in each collection's books with the cloud.
    pub fn shifts(&self) -> impl Iterator<Item = (&str, CloudShift)> {
        self.shifts.iter().map(|(collection, shift)| (collection.as_str(), *shift))
    }

    /// Marks an upload that is about to begin. Returns whether it is still owed.
    pub fn begin(&mut self, version: Version) -> Result<bool> {
        let Some(owed) = self.owed(version)? else { return Ok(false) };
        self.put_owed(version, Owed { begun: true, ..owed });
        Ok(true)
    }

    /// The cloud has this version. Returns whether it was still owed; what is no longer owed has been
    /// noted to be cleared away.
    pub fn pay(&mut self, version: Version, receipt: &Receipt) -> Result<bool> {
        let Some(owed) = self.owed(version)? else { return Ok(false) };
        self.settle(version, &owed);
        let held = &mut self.shift(&owed.address).held;
        held.more = held.more.plus(Usage::of(receipt.bytes));
        self.change(&owed.address, version, |seal| seal.rest = Rest::Both(receipt.clone()))
    }

    /// The disk lets go of a version that the cloud has. Returns the bytes that leave, if they do.
    pub fn release(&mut self, address: &Address, version: Version) -> Result<Option<u64>> {
        let Some(Head::Object(manifest)) = self.head(address)? else { return Ok(None) };
        let Some(Rest::Both(receipt)) = manifest.seal.as_ref().map(|seal| seal.rest.clone()) else { return Ok(None) };
        if manifest.version != version {
            return Ok(None);
        }
        let bytes = receipt.bytes;
        self.drop_bytes(address, &manifest)?;
        self.change(address, version, |seal| {
            seal.rest = Rest::Cloud(receipt);
            seal.inline = false;
        })?;
        Ok(Some(bytes))
    }

    /// The disk gets back a version that the cloud alone had. Returns whether it did.
    pub fn readmit(&mut self, address: &Address, version: Version, frame: StagedFrame) -> Result<bool> {
        let Some(Head::Object(manifest)) = self.head(address)? else { return Ok(false) };
        let Some(Rest::Cloud(receipt)) = manifest.seal.as_ref().map(|seal| seal.rest.clone()) else { return Ok(false) };
        if manifest.version != version {
            return Ok(false);
        }
        let (inline, bytes) = (frame.is_inline(), receipt.bytes);
        self.take_in(address, version, bytes, frame);
        self.change(address, version, |seal| {
            seal.rest = Rest::Both(receipt);
            seal.inline = inline;
        })
    }

    /// The cloud has lost what it gave a receipt for: it is owed again, if the disk still has it.
    pub fn owe_again(&mut self, address: &Address, version: Version) -> Result<bool> {
        let Some(Head::Object(manifest)) = self.head(address)? else { return Ok(false) };
        let Some(seal) = manifest.seal.filter(|seal| matches!(seal.rest, Rest::Both(_))) else { return Ok(false) };
        if manifest.version != version {
            return Ok(false);
        }
        self.no_longer_held(address, seal.bytes);
        self.owe(version, Owed { address: address.clone(), bytes: seal.bytes, begun: true, behind: true });
        self.change(address, version, |seal| seal.rest = Rest::Disk)
    }

    /// The cloud is to get this version.
    pub(super) fn owe(&mut self, version: Version, owed: Owed) {
        let shift = &mut self.shift(&owed.address).owed;
        shift.more = shift.more.plus(Usage::of(owed.bytes));
        self.put_owed(version, owed);
    }

    /// This version is not the newest any more, so the cloud need not get it. What an upload of it may
    /// have left there is cleared away. Returns whether the cloud may have an older one as the newest.
    pub(super) fn owe_no_more(&mut self, address: &Address, old: &Manifest) -> Result<bool> {
        let Some(owed) = self.owed(old.version)? else { return Ok(false) };
        self.settle(old.version, &owed);
        if owed.begun {
            self.clear(address, old);
        }
        Ok(owed.behind && !owed.begun)
    }

    /// Another container has this version from now on, and owes what is owed for it.
    pub(super) fn owe_elsewhere(&mut self, address: &Address, old: &Manifest) -> Result<()> {
        if let Some(owed) = self.owed(old.version)? {
            self.settle(old.version, &owed);
        }
        if let Some(receipt) = old.seal.as_ref().and_then(|seal| seal.rest.receipt()) {
            self.no_longer_held(address, receipt.bytes);
        }
        Ok(())
    }

    /// The cloud is to forget this version, frame and all.
    pub(super) fn clear(&mut self, address: &Address, old: &Manifest) {
        let frame = old.seal.as_ref().map(|seal| seal.frame);
        self.batch.put_chore(old.version, &Chore { address: address.clone(), frame });
    }

    /// The cloud is to forget that this version is the newest; readers of it still need its frame.
    pub(super) fn unhead(&mut self, address: &Address, old: &Manifest) {
        self.batch.put_chore(old.version, &Chore { address: address.clone(), frame: None });
    }

    /// What the cloud has of this address is not its newest version any more.
    pub(super) fn no_longer_held(&mut self, address: &Address, bytes: u64) {
        let held = &mut self.shift(address).held;
        held.less = held.less.plus(Usage::of(bytes));
    }

    fn shift(&mut self, address: &Address) -> &mut CloudShift {
        self.shifts.entry(address.collection().to_owned()).or_default()
    }

    fn owed(&self, version: Version) -> Result<Option<Owed>> {
        match self.owed.get(&version) {
            Some(owed) => Ok(owed.clone()),
            None => self.disk.store.owed(version),
        }
    }

    fn put_owed(&mut self, version: Version, owed: Owed) {
        self.batch.owe(version, &owed);
        self.owed.insert(version, Some(owed));
    }

    fn settle(&mut self, version: Version, owed: &Owed) {
        let shift = &mut self.shift(&owed.address).owed;
        shift.less = shift.less.plus(Usage::of(owed.bytes));
        self.batch.settle(version);
        self.owed.insert(version, None);
    }

    /// Changes where the newest version rests. Returns whether it is still the newest.
    fn change(&mut self, address: &Address, version: Version, change: impl FnOnce(&mut Seal)) -> Result<bool> {
        let Some(Head::Object(mut manifest)) = self.head(address)? else { return Ok(false) };
        if manifest.version != version {
            return Ok(false);
        }
        manifest.seal.as_mut().map(change);
        self.put_head(address, Head::Object(manifest));
        Ok(true)
    }
}

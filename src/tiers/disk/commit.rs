//! One atomic step of level 2: records, frames taken into ownership, frames let go.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use super::{DiskTier, StagedFrame};
use crate::error::{Error, Result};
use crate::model::{Address, Entry, FrameId, Head, Manifest, Shift, Tombstone, Version};
use crate::store::{Batch, Ending, Owed};

/// Changes that will become visible and durable together, or not at all.
pub struct Plan<'a> {
    pub(super) disk: &'a DiskTier,
    pub(super) batch: Batch,
    /// What an address held when the plan first asked, and then what the plan decided: later changes build on it.
    pub(super) heads: HashMap<Address, Option<Head>>,
    /// The same of what other containers keep.
    pub(super) others: HashMap<Address, Option<Entry>>,
    /// What this plan already decided about what is owed for a version.
    pub(super) owed: HashMap<Version, Option<Owed>>,
    /// What this plan changes in each collection's books with the cloud.
    pub(super) shifts: BTreeMap<String, CloudShift>,
    frames: Vec<StagedFrame>,
    /// Frames that were in quarantine and are of no interest any more.
    released: Vec<FrameId>,
    /// Sealed bytes that come and go with this plan.
    pub(super) gained: u64,
    pub(super) lost: u64,
    /// Whether it may become durable later: all of it can be had again.
    can_wait: bool,
}

/// What a plan changes in a collection's books with the cloud, in sealed bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloudShift {
    /// What is owed.
    pub owed: Shift,
    /// What the cloud has.
    pub held: Shift,
}

/// What becomes of a version that is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// Until when the version that it replaces stays readable.
    pub keep_until: Option<u64>,
    /// Whether the cloud is to get it.
    pub owes: bool,
    /// Whether the cloud may have something of it already, for which there is no receipt here.
    pub begun: bool,
}

impl<'a> Plan<'a> {
    /// An empty plan.
    pub fn new(disk: &'a DiskTier) -> Self {
        Plan {
            disk,
            batch: Batch::new(),
            heads: HashMap::new(),
            others: HashMap::new(),
            owed: HashMap::new(),
            shifts: BTreeMap::new(),
            frames: Vec::new(),
            released: Vec::new(),
            gained: 0,
            lost: 0,
            can_wait: false,
        }
    }

    /// What an address will hold once the changes so far are committed.
    pub fn head(&mut self, address: &Address) -> Result<Option<Head>> {
        if let Some(head) = self.heads.get(address) {
            return Ok(head.clone());
        }
        let head = self.disk.head(address)?;
        self.heads.insert(address.clone(), head.clone());
        Ok(head)
    }

    /// What the address holds cannot be read and will be replaced, whatever it was.
    pub fn give_up(&mut self, address: &Address) {
        self.heads.insert(address.clone(), None);
    }

    /// The address will hold this object, whose seal describes the frame.
    pub fn store(&mut self, address: &Address, manifest: Manifest, frame: StagedFrame, fate: Fate) -> Result<()> {
        self.forget_entry(address)?;
        let behind = self.let_go(address, fate.keep_until, !fate.owes)?;
        let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        self.take_in(address, manifest.version, bytes, frame);
        if fate.owes {
            self.owe(manifest.version, Owed { address: address.clone(), bytes, begun: fate.begun, behind });
        }
        if let Some(end) = manifest.expires_ms {
            self.batch.end_at(end, &Ending::Life(address.clone(), manifest.version));
        }
        self.put_head(address, Head::Object(manifest));
        Ok(())
    }

    /// The address will hold nothing but the trace of a delete, for as long as that is needed.
    pub fn delete(
        &mut self,
        address: &Address,
        tombstone: Tombstone,
        keep_until: Option<u64>,
        forget_at: u64,
    ) -> Result<()> {
        self.forget_entry(address)?;
        let _ = self.let_go(address, keep_until, true)?;
        self.batch.end_at(forget_at, &Ending::Tombstone(address.clone(), tombstone.version));
        self.put_head(address, Head::Deleted(tombstone));
        Ok(())
    }

    /// The address will be unknown: no object, no tombstone.
    pub fn forget(&mut self, address: &Address) -> Result<()> {
        let _ = self.let_go(address, None, true)?;
        self.batch.remove_head(address);
        Ok(())
    }

    /// An old version will no longer be readable.
    pub fn drop_version(&mut self, address: &Address, version: Version) -> Result<()> {
        if let Some(old) = self.disk.store.old_version(address, version)? {
            self.batch.forget_version(address, version);
            self.drop_copies(address, &old)?;
        }
        Ok(())
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// All of the plan can be had again: it becomes durable with what is committed next.
    pub fn can_wait(&mut self) {
        self.can_wait = true;
    }

    /// What else is to be committed with the plan.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Makes it so. After an error nothing of the plan is visible.
    ///
    /// Its frame files stay all the same: a crash may still bring the failed commit back, and then
    /// its records name them. The next commit that succeeds removes them, or else the next start.
    pub fn commit(mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sealed = self.disk.sealed.load(Ordering::Acquire).saturating_add(self.gained).saturating_sub(self.lost);
        self.batch.put_sealed_bytes(sealed);
        let store = &self.disk.store;
        let result = if self.can_wait { store.commit_lazily(&self.batch) } else { store.commit(&self.batch) };
        self.frames.iter_mut().for_each(StagedFrame::committed);
        if result.is_err() {
            self.disk.abandon(&self.frames);
        } else {
            // What is not durable yet does not keep a commit that failed before it from coming back.
            if !self.can_wait {
                self.disk.clear_abandoned();
            }
            self.disk.sealed.store(sealed, Ordering::Release);
            self.disk.owed.store(true, Ordering::Release);
            self.released.iter().for_each(|frame| self.disk.quarantined.release(*frame));
        }
        result
    }

    /// The disk will hold these bytes.
    pub(super) fn take_in(&mut self, address: &Address, version: Version, bytes: u64, mut frame: StagedFrame) {
        self.gained += bytes;
        match frame.inline.take() {
            Some(inline) => {
                // It never was a file, so there is none to remove when it is dropped.
                frame.committed();
                self.batch.put_inline(version, inline);
            }
            None => {
                self.batch.own_frame(frame.frame, address);
                self.frames.push(frame);
            }
        }
    }

    pub(super) fn put_head(&mut self, address: &Address, head: Head) {
        self.batch.put_head(address, &head);
        self.heads.insert(address.clone(), Some(head));
    }

    /// A damaged frame is good again.
    pub(super) fn good_again(&mut self, frame: FrameId) {
        self.batch.release_quarantine(frame);
        self.released.push(frame);
    }

    /// What the address holds so far becomes an old version, or its copies are dropped with this commit.
    /// Returns whether the cloud may still have it, or one before it, as the newest; when `unheaded`,
    /// nothing newer will come in its place, and it is noted to be forgotten.
    pub(super) fn let_go(&mut self, address: &Address, keep_until: Option<u64>, unheaded: bool) -> Result<bool> {
        let Some(Head::Object(old)) = self.head(address)? else { return Ok(false) };
        let mut headed = self.owe_no_more(address, &old)?;
        if let Some(receipt) = old.seal.as_ref().and_then(|seal| seal.rest.receipt()) {
            self.no_longer_held(address, receipt.bytes);
            headed = true;
        }
        if headed && unheaded {
            self.unhead(address, &old);
        }
        match keep_until {
            Some(end) => {
                self.batch.retain_version(address, &old);
                self.batch.end_at(end, &Ending::Version(address.clone(), old.version));
            }
            None => self.drop_copies(address, &old)?,
        }
        Ok(headed)
    }

    /// Neither disk nor cloud will hold this version.
    fn drop_copies(&mut self, address: &Address, old: &Manifest) -> Result<()> {
        let seal =
            old.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
        if seal.rest.on_disk() {
            self.drop_bytes(address, old)?;
        }
        if seal.rest.receipt().is_some() {
            self.clear(address, old);
        }
        Ok(())
    }

    /// The disk will not hold the bytes of this version any more.
    pub(super) fn drop_bytes(&mut self, address: &Address, old: &Manifest) -> Result<()> {
        let seal =
            old.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
        self.lost += seal.bytes;
        if self.disk.is_quarantined(seal.frame) {
            self.released.push(seal.frame);
        }
        if seal.inline {
            self.batch.remove_inline(old.version);
            self.batch.release_quarantine(seal.frame);
        } else {
            self.batch.discard_frame(seal.frame);
        }
        Ok(())
    }
}

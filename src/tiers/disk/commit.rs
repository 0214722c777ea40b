//! One atomic step of level 2: records, frames taken into ownership, frames let go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::{DiskTier, StagedFrame};
use crate::error::{Error, Result};
use crate::model::{Address, FrameId, Head, Manifest, Tombstone, Version};
use crate::store::{Batch, Ending};

/// Changes that will become visible and durable together, or not at all.
pub struct Plan<'a> {
    disk: &'a DiskTier,
    batch: Batch,
    /// What this plan already decided about an address; later changes of the plan build on it.
    heads: HashMap<Address, Option<Head>>,
    frames: Vec<StagedFrame>,
    /// Frames that were in quarantine and are of no interest any more.
    released: Vec<FrameId>,
    /// Sealed bytes that come and go with this plan.
    gained: u64,
    lost: u64,
}

impl<'a> Plan<'a> {
    /// An empty plan.
    pub fn new(disk: &'a DiskTier) -> Self {
        Plan {
            disk,
            batch: Batch::new(),
            heads: HashMap::new(),
            frames: Vec::new(),
            released: Vec::new(),
            gained: 0,
            lost: 0,
        }
    }

    /// What an address will hold once the changes so far are committed.
    pub fn head(&self, address: &Address) -> Result<Option<Head>> {
        match self.heads.get(address) {
            Some(head) => Ok(head.clone()),
            None => self.disk.head(address),
        }
    }

    /// What the address holds cannot be read and will be replaced, whatever it was.
    pub fn give_up(&mut self, address: &Address) {
        self.heads.insert(address.clone(), None);
    }

    /// The address will hold this object, whose seal describes the frame. What it held before stays
    /// readable as an old version until then, if a time is given.
    pub fn store(
        &mut self,
        address: &Address,
        manifest: Manifest,
        mut frame: StagedFrame,
        keep_until: Option<u64>,
    ) -> Result<()> {
        self.let_go(address, keep_until)?;
        self.gained += manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        match frame.inline.take() {
            Some(bytes) => self.batch.put_inline(manifest.version, bytes),
            None => {
                self.batch.own_frame(frame.frame, address);
                self.frames.push(frame);
            }
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
        self.let_go(address, keep_until)?;
        self.batch.end_at(forget_at, &Ending::Tombstone(address.clone(), tombstone.version));
        self.put_head(address, Head::Deleted(tombstone));
        Ok(())
    }

    /// The address will be unknown: no object, no tombstone.
    pub fn forget(&mut self, address: &Address) -> Result<()> {
        self.let_go(address, None)?;
        self.batch.remove_head(address);
        Ok(())
    }

    /// An old version will no longer be readable.
    pub fn drop_version(&mut self, address: &Address, version: Version) -> Result<()> {
        if let Some(old) = self.disk.store.old_version(address, version)? {
            self.batch.forget_version(address, version);
            self.drop_bytes(address, &old)?;
        }
        Ok(())
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// What else is to be committed with the plan.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Makes it so. After an error nothing of the plan is visible.
    ///
    /// Its frame files stay all the same: a crash may still bring the failed commit back, and then
    /// its records name them. The next start removes those that no record names.
    pub fn commit(mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sealed = self.disk.sealed.load(Ordering::Acquire).saturating_add(self.gained).saturating_sub(self.lost);
        self.batch.put_sealed_bytes(sealed);
        let result = self.disk.store.commit(&self.batch);
        self.frames.iter_mut().for_each(StagedFrame::committed);
        if result.is_ok() {
            self.disk.sealed.store(sealed, Ordering::Release);
            self.disk.owed.store(true, Ordering::Release);
            self.released.iter().for_each(|frame| self.disk.quarantined.release(*frame));
        }
        result
    }

    pub(super) fn put_head(&mut self, address: &Address, head: Head) {
        self.batch.put_head(address, &head);
        self.heads.insert(address.clone(), Some(head));
    }

    /// Takes a frame into ownership; its bytes count.
    pub(super) fn take(&mut self, frame: StagedFrame) {
        self.frames.push(frame);
    }

    pub(super) fn gain(&mut self, manifest: &Manifest) {
        self.gained += manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
    }

    /// A damaged frame is good again.
    pub(super) fn release(&mut self, frame: FrameId) {
        self.batch.release_quarantine(frame);
        self.released.push(frame);
    }

    /// What the address holds so far becomes an old version, or its bytes are dropped with this commit.
    fn let_go(&mut self, address: &Address, keep_until: Option<u64>) -> Result<()> {
        let Some(Head::Object(old)) = self.head(address)? else { return Ok(()) };
        let Some(end) = keep_until else { return self.drop_bytes(address, &old) };
        self.batch.retain_version(address, &old);
        self.batch.end_at(end, &Ending::Version(address.clone(), old.version));
        Ok(())
    }

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

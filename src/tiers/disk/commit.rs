//! One atomic step of level 2: records, frames taken into ownership, frames let go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::{DiskTier, StagedFrame};
use crate::error::{Error, Result};
use crate::model::{Address, Head, Manifest, Tombstone};
use crate::store::Batch;

/// Changes that will become visible and durable together, or not at all.
pub struct Plan<'a> {
    disk: &'a DiskTier,
    batch: Batch,
    /// What this plan already decided about an address; later changes of the plan build on it.
    heads: HashMap<Address, Head>,
    frames: Vec<StagedFrame>,
}

impl<'a> Plan<'a> {
    /// An empty plan.
    pub fn new(disk: &'a DiskTier) -> Self {
        Plan { disk, batch: Batch::new(), heads: HashMap::new(), frames: Vec::new() }
    }

    /// What an address will hold once the changes so far are committed.
    pub fn head(&self, address: &Address) -> Result<Option<Head>> {
        match self.heads.get(address) {
            Some(head) => Ok(Some(head.clone())),
            None => self.disk.head(address),
        }
    }

    /// The address will hold this object, whose seal describes the frame.
    pub fn store(&mut self, address: &Address, manifest: Manifest, mut frame: StagedFrame) -> Result<()> {
        self.let_go(address)?;
        match frame.inline.take() {
            Some(bytes) => self.batch.put_inline(manifest.version, bytes),
            None => {
                self.batch.own_frame(frame.frame, address);
                self.frames.push(frame);
            }
        }
        self.put_head(address, Head::Object(manifest));
        Ok(())
    }

    /// The address will hold nothing.
    pub fn delete(&mut self, address: &Address, tombstone: Tombstone) -> Result<()> {
        self.let_go(address)?;
        self.put_head(address, Head::Deleted(tombstone));
        Ok(())
    }

    /// The address will be unknown: no object, no tombstone.
    pub fn forget(&mut self, address: &Address) -> Result<()> {
        self.let_go(address)?;
        self.batch.remove_head(address);
        Ok(())
    }

    /// Makes it so. After an error nothing of the plan is visible.
    ///
    /// Its frame files stay all the same: a crash may still bring the failed commit back, and then
    /// its records name them. The next start removes those that no record names.
    pub fn commit(mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let result = self.disk.store.commit(&self.batch);
        self.frames.iter_mut().for_each(StagedFrame::committed);
        if result.is_ok() {
            self.disk.owed.store(true, Ordering::Release);
        }
        result
    }

    fn put_head(&mut self, address: &Address, head: Head) {
        self.batch.put_head(address, &head);
        self.heads.insert(address.clone(), head);
    }

    /// The bytes that the address holds so far are dropped with this commit.
    fn let_go(&mut self, address: &Address) -> Result<()> {
        let Some(Head::Object(old)) = self.head(address)? else { return Ok(()) };
        let seal = old.seal.ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
        if seal.inline {
            self.batch.remove_inline(old.version);
            self.batch.release_quarantine(seal.frame);
        } else {
            self.batch.discard_frame(seal.frame);
        }
        Ok(())
    }
}

//! Copies that failed their check: put aside, remembered, never read again, replaced where another copy is.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use super::commit::Plan;
use super::{DiskTier, StagedFrame};
use crate::error::{Error, Result};
use crate::model::{Address, FrameId, Head, Manifest, Version};
use crate::store::{Batch, QuarantineRecord, Store};

/// The frames that are not to be read. There are few, so all are known.
pub(super) struct Quarantined(RwLock<HashSet<FrameId>>);

impl Quarantined {
    pub(super) fn open(store: &Store) -> Result<Self> {
        let frames = store.quarantined_frames()?;
        Ok(Quarantined(RwLock::new(frames.into_iter().collect())))
    }

    pub(super) fn holds(&self, frame: FrameId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&frame)
    }

    fn add(&self, frame: FrameId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(frame);
    }

    pub(super) fn release(&self, frame: FrameId) {
        if self.holds(frame) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&frame);
        }
    }
}

impl DiskTier {
    /// Puts aside a frame that failed its check. The head stays, so that the object is reported as
    /// damaged rather than as never there. Returns whether it was put aside now: another may have been
    /// faster, or the object replaced.
    pub fn quarantine(&self, address: &Address, version: Version, frame: FrameId, why: &Error) -> Result<bool> {
        if self.is_quarantined(frame) || !self.is_named(address, version)? {
            return Ok(false);
        }
        let record =
            QuarantineRecord { address: address.clone(), version, why: why.to_string(), at_ms: self.clock.now_ms() };
        let mut batch = Batch::new();
        batch.quarantine(frame, &record);
        self.store.commit(&batch)?;
        self.quarantined.add(frame);
        self.layout.quarantine(frame)?;
        Ok(true)
    }

    /// Whether a frame is not to be read.
    pub fn is_quarantined(&self, frame: FrameId) -> bool {
        self.quarantined.holds(frame)
    }

    /// Whether a head or an old version still says that the disk holds this version.
    pub(super) fn is_named(&self, address: &Address, version: Version) -> Result<bool> {
        // A frame that went to the cloud meanwhile is not missed here.
        let here = |manifest: &Manifest| manifest.seal.as_ref().is_none_or(|seal| seal.rest.on_disk());
        let head = self.store.head(address)?;
        let newest = head.as_ref().and_then(Head::object).filter(|manifest| manifest.version == version);
        Ok(newest.is_some_and(here) || self.store.old_version(address, version)?.as_ref().is_some_and(here))
    }

    /// Whether the bytes of a version are not to be read.
    pub fn is_out(&self, manifest: &Manifest) -> bool {
        manifest.seal.as_ref().is_some_and(|seal| self.is_quarantined(seal.frame))
    }

    /// Why the bytes of an object are not served.
    pub fn damaged(address: &Address, version: Version) -> Error {
        let why =
            "the object's bytes are damaged or missing on disk and no other copy is known; push it again or restore it";
        Error::corrupt(why).with("address", address).with("version", version)
    }
}

impl Plan<'_> {
    /// Another frame takes the place of one that failed its check; the version stays. Says no when
    /// something newer is there already.
    pub fn mend(&mut self, address: &Address, manifest: Manifest, frame: StagedFrame) -> Result<bool> {
        let Some(Head::Object(old)) = self.head(address)? else { return Ok(false) };
        if old.version != manifest.version {
            return Ok(false);
        }
        let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        let again = old.seal.as_ref().is_some_and(|seal| seal.frame == frame.frame());
        if again {
            // The very frame, from another copy: its old file lies elsewhere by now.
            self.good_again(frame.frame());
            self.lost += bytes;
        } else {
            self.drop_bytes(address, &old)?;
        }
        self.take_in(address, manifest.version, bytes, frame);
        self.put_head(address, Head::Object(manifest));
        Ok(true)
    }
}

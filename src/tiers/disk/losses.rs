//! What a salvage of the store lost, and what that means for what is not found.

use std::sync::atomic::Ordering;

use super::{DiskTier, locked};
use crate::error::Result;
use crate::model::{Address, Version};

impl DiskTier {
    /// Whether the store lost something that nobody has accepted yet.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Acquire)
    }

    /// Whether an object or version that is not found may be among what was lost.
    pub fn is_unaccounted(&self, address: &Address, version: Option<Version>) -> Result<bool> {
        // A head says what became of the object; what old versions there were it does not say.
        Ok(self.is_incomplete() && (version.is_some() || self.store.head(address)?.is_none()))
    }

    /// Accepts the losses. Returns how many frames without an object were let go.
    pub fn accept_losses(&self) -> Result<u64> {
        let let_go = self.store.accept_losses()?;
        self.incomplete.store(false, Ordering::Release);
        self.owed.store(true, Ordering::Release);
        // A crash from here on leaves the rest to the next start. Held to the end, so that nobody puts a frame of
        // the same name in its place meanwhile.
        let mut unowned = locked(&self.unowned);
        let removed = unowned.len() as u64;
        for frame in unowned.drain(..) {
            self.layout.unlink(frame)?;
        }
        Ok(let_go + removed)
    }
}

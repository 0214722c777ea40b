//! A frame on its way to the disk: written where nobody looks, shown by a commit or not at all.

use std::sync::Arc;

use super::layout::{Layout, io_error};
use crate::error::Result;
use crate::limits::INLINE_FRAME_BYTES_MAX;
use crate::model::FrameId;
use crate::store::{File, ROW_CHECK_BYTES, Store};

/// A frame that is being written. Dropping it removes what was written.
pub struct Staging {
    layout: Arc<Layout>,
    store: Arc<Store>,
    frame: FrameId,
    /// Small frames never become a file.
    small: Vec<u8>,
    file: Option<Arc<dyn File>>,
    written: u64,
}

/// A frame that is complete and, if it is a file, durable. Dropping it before it is committed
/// removes it again.
pub struct StagedFrame {
    layout: Arc<Layout>,
    store: Arc<Store>,
    pub(super) frame: FrameId,
    /// The whole frame, when it is small enough to rest in the store.
    pub(super) inline: Option<Vec<u8>>,
    committed: bool,
}

impl Staging {
    pub(super) fn new(layout: Arc<Layout>, store: Arc<Store>, frame: FrameId) -> Self {
        Staging { layout, store, frame, small: Vec::new(), file: None, written: 0 }
    }

    /// Appends to the frame.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let total = self.written as usize + bytes.len();
        if self.file.is_none() && total <= INLINE_FRAME_BYTES_MAX {
            if self.small.is_empty() {
                // A frame that comes in one piece becomes a row where it is.
                self.small.reserve_exact(bytes.len() + ROW_CHECK_BYTES);
            }
            self.small.extend_from_slice(bytes);
            self.written = total as u64;
            return Ok(());
        }
        // Asked for each piece: a body that was begun before the disk was full must not go on into the room
        // that is kept for deletes.
        let store = Arc::clone(&self.store);
        let _leave = store.leave_to_grow()?;
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.become_file()?,
        };
        file.write_all_at(bytes, self.written).map_err(|error| io_error(error, "cannot write the frame"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn become_file(&mut self) -> Result<Arc<dyn File>> {
        let path = self.layout.staging(self.frame);
        let file = self
            .layout
            .fs
            .create(&path)
            .map_err(|error| io_error(error, "cannot create a frame").with("path", path.display()))?;
        // Before the first write: one that fails must not leave the file behind.
        self.file = Some(Arc::clone(&file));
        file.write_all_at(&self.small, 0).map_err(|error| io_error(error, "cannot write the frame"))?;
        self.small = Vec::new();
        Ok(file)
    }

    /// Ends the frame. A file is synced, moved to its place, and its folder synced: after that only
    /// the commit is missing.
    pub fn finish(mut self) -> Result<StagedFrame> {
        let (layout, store) = (Arc::clone(&self.layout), Arc::clone(&self.store));
        let mut staged = StagedFrame { layout, store, frame: self.frame, inline: None, committed: false };
        match &self.file {
            None => staged.inline = Some(std::mem::take(&mut self.small)),
            Some(file) => {
                file.sync_data().map_err(|error| io_error(error, "cannot sync the frame"))?;
                self.layout.settle(self.frame)?;
                self.file = None;
            }
        }
        Ok(staged)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: the next start clears the folder in any case.
            let _ = self.layout.fs.remove(&self.layout.staging(self.frame));
        }
    }
}

impl StagedFrame {
    /// The frame's id.
    pub fn frame(&self) -> FrameId {
        self.frame
    }

    /// Whether it rests in the store.
    pub fn is_inline(&self) -> bool {
        self.inline.is_some()
    }

    /// A record owns it now.
    pub(super) fn committed(&mut self) {
        self.committed = true;
    }
}

impl Drop for StagedFrame {
    fn drop(&mut self) {
        // A frame that is copied here again may be in the place of one that a record owns: that one is not removed, nor
        // where it cannot be told. Best effort for the rest: the next start removes frames that no record names.
        if !self.committed && self.inline.is_none() && matches!(self.store.owns(self.frame), Ok(false)) {
            let _ = self.layout.unlink(self.frame);
        }
    }
}

//! All that the cloud holds, one by one, for a recovery and for finding what nobody owns.
//!
//! Names come in no order. A visit is made outside the runtime, so that it may call the cloud itself.

use futures_util::StreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::trouble::Trouble;
use super::{CloudTier, layout};
use crate::error::{Error, Result};
use crate::model::{Address, FrameId, Manifest};

/// What a listing found where a head should be.
#[derive(Debug)]
pub enum CloudHead {
    /// An object. While one is being replaced its older version may be listed too: the newest counts.
    Object(Address, Box<Manifest>),
    /// A head that cannot be read: the path in the cloud, and why.
    Damaged(String, Error),
}

impl CloudTier {
    /// Visits every head. After an error a new listing starts from the beginning.
    pub fn list(&self, visit: &mut dyn FnMut(CloudHead) -> Result<()>) -> Result<()> {
        self.each(layout::HEADS, &mut |meta| {
            let path = &meta.location;
            if layout::parse_head(path).is_none() {
                return Ok(());
            }
            let read = self.calls.patiently(|| self.read_head(path));
            match read {
                Ok((address, manifest)) if layout::head(&address, manifest.version) == *path => {
                    visit(CloudHead::Object(address, Box::new(manifest)))
                }
                Ok(_) => {
                    let why = Error::corrupt("a head in the cloud is not where it belongs");
                    visit(CloudHead::Damaged(path.to_string(), why))
                }
                // Replaced since it was listed.
                Err(Trouble::Missing(_)) => Ok(()),
                Err(Trouble::Lasting(why)) if why.kind() == crate::Kind::Corrupt => {
                    visit(CloudHead::Damaged(path.to_string(), why))
                }
                Err(trouble) => Err(trouble.into()),
            }
        })
    }

    /// Visits every frame with its length in bytes, whether or not a head names it.
    pub fn frames(&self, visit: &mut dyn FnMut(FrameId, u64) -> Result<()>) -> Result<()> {
        self.each(layout::FRAMES, &mut |meta| match layout::parse_frame(&meta.location) {
            Some(frame) => visit(frame, meta.size),
            None => Ok(()),
        })
    }

    /// Objects that have a head.
    pub(super) fn count_heads(&self) -> Result<u64> {
        // The versions of one object are listed next to each other.
        let (mut objects, mut last) = (0, None);
        self.each(layout::HEADS, &mut |meta| {
            let folder = meta.location.as_ref().rsplit_once('/').map(|(folder, _)| folder.to_owned());
            if layout::parse_head(&meta.location).is_some() && folder != last {
                objects += 1;
                last = folder;
            }
            Ok(())
        })?;
        Ok(objects)
    }

    fn each(&self, folder: &str, visit: &mut dyn FnMut(ObjectMeta) -> Result<()>) -> Result<()> {
        let mut listing = {
            // A listing of a folder looks at its birth whether a runtime will read it.
            let _entered = self.calls.runtime()?.enter();
            self.place.store.list(Some(&Path::from(folder)))
        };
        loop {
            let next = async { listing.next().await.transpose() };
            match self.calls.call("cannot list the cloud", next)? {
                Some(meta) => visit(meta)?,
                None => return Ok(()),
            }
        }
    }
}

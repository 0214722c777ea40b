//! Level 3: the same sealed frames in a cloud, and heads that say whose they are.
//!
//! Every method but `open` and `read` blocks its thread: call them from blocking threads
//! (`spawn_blocking`), never from a worker of a runtime, where they panic.
//!
//! ```text
//! frames/ab/abcdef….frame                    one frame, named by its id, as on disk
//! heads/<collection>/<escaped key>/<version> the manifest as JSON with a checksum
//! ```
//!
//! A frame is complete or not there, and durable before its head is written. Overwriting an object
//! leaves the frame of the version before: whoever keeps the records knows how long that one must
//! stay readable, and owes [`CloudTier::remove`].

mod calls;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod head;
mod layout;
mod list;
mod place;
mod reader;
mod trouble;
mod upload;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use calls::Calls;
pub use calls::CloudParts;
pub use list::CloudHead;
use place::Place;
pub use reader::CloudReader;
use trouble::Trouble;

use super::{Source, Tier, TierCopy};
use crate::error::{Error, Result};
use crate::limits::CLOUD_HEAD_BYTES_MAX;
use crate::model::{Address, CloudUrl, FrameId, Level, Manifest, Receipt, Seal, Version};

/// A head may be replaced while it is being looked up; so often is it looked up anew.
const LOOKUPS_MAX: usize = 8;

/// Level 3 of a container; clones are the same one. Containers of a site may share a cloud.
#[derive(Clone)]
pub struct CloudTier {
    place: Arc<Place>,
    calls: Arc<Calls>,
}

impl CloudTier {
    /// Level 3 at this place. A folder must be writable now; an outage later fails the calls alone.
    pub fn open(url: &CloudUrl, parts: CloudParts) -> Result<Self> {
        let place = Place::open(url, parts.rng.as_ref())?;
        Ok(CloudTier { place: Arc::new(place), calls: Arc::new(Calls::new(parts)?) })
    }

    /// Sends a sealed object, frame first, then head. When it returns, both are durable. A head that
    /// is newer stays the head; the frame is kept all the same, as the receipt says.
    pub fn upload(&self, address: &Address, manifest: &Manifest, source: &dyn Source) -> Result<Receipt> {
        let seal = sealed(address, manifest)?;
        let receipt = self.send_frame(address, seal, source)?;
        self.describe(address, manifest)?;
        Ok(receipt)
    }

    /// Writes the head of an object whose frame is in the cloud already, as after its data key was
    /// wrapped anew. Returns whether it is the head now: a newer one stays.
    pub fn describe(&self, address: &Address, manifest: &Manifest) -> Result<bool> {
        let mut manifest = manifest.clone();
        if let Some(seal) = &mut manifest.seal {
            // Of interest on the disk it came from only.
            seal.inline = false;
        }
        let bytes = head::encode(address, &manifest)?;
        let path = layout::head(address, manifest.version);
        let described = self.calls.patiently(|| {
            let versions = self.versions(address)?;
            if versions.last().is_some_and(|newest| *newest > manifest.version) {
                return Ok(false);
            }
            self.calls.call("cannot write a head to the cloud", self.place.store.put(&path, bytes.clone().into()))?;
            self.place.settle(&self.calls, &path)?;
            for older in versions.into_iter().filter(|version| *version < manifest.version) {
                self.delete(&layout::head(address, older))?;
            }
            Ok(true)
        });
        described.map_err(|trouble| Error::from(trouble).with("address", address))
    }

    /// Whether the cloud still holds just what it gave this receipt for.
    pub fn check(&self, frame: FrameId, receipt: &Receipt) -> Result<bool> {
        // A cloud that names neither tag nor version proves nothing by a length.
        let tagged = receipt.etag.is_some() || receipt.version.is_some();
        Ok(self.stored(&layout::frame(frame))?.is_some_and(|meta| tagged && same(&meta, receipt)))
    }

    /// The same, and reads these ranges of the frame (its header and its footer) and hashes them: with
    /// [`Seal::footer`] as `blake3` it proves that the frame is the one the manifest speaks of.
    pub fn check_bytes(
        &self,
        frame: FrameId,
        receipt: &Receipt,
        ranges: &[Range<u64>],
        blake3: &[u8; 32],
    ) -> Result<bool> {
        let path = layout::frame(frame);
        if !self.stored(&path)?.is_some_and(|meta| same(&meta, receipt)) {
            return Ok(false);
        }
        let reader = CloudReader::new(self.clone(), path, receipt.bytes);
        let mut hasher = blake3::Hasher::new();
        for range in ranges {
            hasher.update(&reader.read(range.clone())?);
        }
        Ok(hasher.finalize() == *blake3)
    }

    /// The sealed bytes of a frame. Nothing is asked yet; a frame that is not there is `corrupt` when
    /// it is read.
    pub fn read(&self, seal: &Seal) -> CloudReader {
        CloudReader::new(self.clone(), layout::frame(seal.frame), seal.bytes)
    }

    /// The manifest of the newest version in the cloud.
    pub fn head(&self, address: &Address) -> Result<Option<Manifest>> {
        let found = self.calls.patiently(|| {
            for _ in 0..LOOKUPS_MAX {
                let Some(newest) = self.versions(address)?.pop() else { return Ok(None) };
                match self.read_head(&layout::head(address, newest)) {
                    Ok((found, manifest)) if found == *address && manifest.version == newest => {
                        return Ok(Some(manifest));
                    }
                    Ok(_) => {
                        return Err(Trouble::Lasting(Error::corrupt("a head in the cloud is not where it belongs")));
                    }
                    // Replaced an instant ago.
                    Err(Trouble::Missing(_)) => {}
                    Err(trouble) => return Err(trouble),
                }
            }
            Err(Trouble::Lasting(Error::busy("the object is being replaced all the time; try again")))
        });
        found.map_err(|trouble| Error::from(trouble).with("address", address))
    }

    /// Removes the heads of an object up to this version, unless there is a newer one. Returns whether one
    /// was removed.
    pub fn forget(&self, address: &Address, version: Version) -> Result<bool> {
        let mut removed = false;
        let forgotten = self.calls.patiently(|| {
            let versions = self.versions(address)?;
            if versions.last().is_some_and(|newest| *newest > version) {
                return Ok(removed);
            }
            // From the oldest: half-way through, the newest is still the head.
            for version in versions {
                // An attempt whose answer was lost may have removed it as well.
                removed = true;
                self.delete(&layout::head(address, version))?;
            }
            Ok(removed)
        });
        forgotten.map_err(|trouble| Error::from(trouble).with("address", address))
    }

    /// Removes a frame; that it is gone already is fine.
    pub fn remove(&self, frame: FrameId) -> Result<()> {
        let path = layout::frame(frame);
        let removed = self.calls.patiently(|| {
            self.delete(&path)?;
            self.place.clear(&self.calls, &path);
            Ok(())
        });
        removed.map_err(|trouble| Error::from(trouble).with("frame", frame))
    }

    fn send_frame(&self, address: &Address, seal: &Seal, source: &dyn Source) -> Result<Receipt> {
        if source.len() != seal.bytes {
            return Err(Error::corrupt("the frame has not the length that its manifest says")
                .with("address", address)
                .with("frame", seal.frame));
        }
        let path = layout::frame(seal.frame);
        let sent = self.calls.patiently(|| {
            let sent = upload::send(&self.calls, self.place.store.as_ref(), &path, source)?;
            self.place.settle(&self.calls, &path)?;
            self.place.clear(&self.calls, &path);
            Ok(sent)
        });
        let sent = sent.map_err(|trouble| Error::from(trouble).with("address", address).with("frame", seal.frame))?;
        Ok(Receipt {
            bytes: seal.bytes,
            etag: sent.e_tag,
            version: sent.version,
            at_ms: self.calls.parts.clock.now_ms(),
        })
    }

    /// What the cloud says of a name; `None` when there is nothing.
    fn stored(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        let asked =
            self.calls.patiently(|| self.calls.call("cannot ask the cloud for a frame", self.place.store.head(path)));
        match asked {
            Ok(meta) => Ok(Some(meta)),
            Err(Trouble::Missing(_)) => Ok(None),
            Err(trouble) => Err(Error::from(trouble).with("frame", path)),
        }
    }

    /// The versions that have a head, oldest first; more than one only while they are being replaced.
    fn versions(&self, address: &Address) -> Result<Vec<Version>, Trouble> {
        let folder = layout::heads(address);
        let listed = self
            .calls
            .call("cannot look for heads in the cloud", self.place.store.list_with_delimiter(Some(&folder)))?;
        let mut versions: Vec<_> =
            listed.objects.iter().filter_map(|meta| layout::parse_head(&meta.location)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn read_head(&self, path: &Path) -> Result<(Address, Manifest), Trouble> {
        let bytes = self.calls.call("cannot read a head from the cloud", async {
            let found = self.place.store.get(path).await?;
            if found.meta.size > CLOUD_HEAD_BYTES_MAX { Ok(None) } else { found.bytes().await.map(Some) }
        })?;
        let bytes =
            bytes.ok_or_else(|| Trouble::Lasting(Error::corrupt("a head in the cloud is too large to be one")))?;
        head::decode(&bytes).map_err(|error| Trouble::Lasting(error.with("head", path)))
    }

    /// Removes a name, durably; that it is gone already is fine.
    fn delete(&self, path: &Path) -> Result<(), Trouble> {
        match self.calls.call("cannot remove from the cloud", self.place.store.delete(path)) {
            Ok(()) | Err(Trouble::Missing(_)) => self.place.settle(&self.calls, path),
            Err(trouble) => Err(trouble),
        }
    }
}

fn sealed<'a>(address: &Address, manifest: &'a Manifest) -> Result<&'a Seal> {
    let seal = manifest.seal.as_ref();
    seal.ok_or_else(|| Error::internal("a copy for the cloud must be sealed").with("address", address))
}

/// Whether what is stored is what the receipt was given for.
fn same(meta: &ObjectMeta, receipt: &Receipt) -> bool {
    meta.size == receipt.bytes
        && (receipt.etag.is_none() || meta.e_tag == receipt.etag)
        && (receipt.version.is_none() || meta.version == receipt.version)
}

/// Level 3 as a [`Tier`]: copies are sealed, and their manifests carry the seal.
impl Tier for CloudTier {
    fn level(&self) -> Level {
        Level::Cloud
    }

    fn put(&self, address: &Address, copy: TierCopy) -> Result<bool> {
        let seal = sealed(address, &copy.manifest)?;
        if self.head(address)?.is_some_and(|head| head.version >= copy.manifest.version) {
            return Ok(false);
        }
        self.send_frame(address, seal, copy.bytes.as_ref())?;
        self.describe(address, &copy.manifest)
    }

    fn get(&self, address: &Address) -> Result<Option<TierCopy>> {
        let Some(manifest) = self.head(address)? else { return Ok(None) };
        let bytes = Arc::new(self.read(sealed(address, &manifest)?));
        Ok(Some(TierCopy { manifest: Arc::new(manifest), bytes }))
    }

    fn drop_copy(&self, address: &Address, version: Version) -> Result<bool> {
        let Some(manifest) = self.head(address)?.filter(|head| head.version == version) else { return Ok(false) };
        let left = self.forget(address, version)?;
        if left {
            self.remove(sealed(address, &manifest)?.frame)?;
        }
        Ok(left)
    }

    fn objects(&self) -> Result<u64> {
        self.count_heads()
    }
}

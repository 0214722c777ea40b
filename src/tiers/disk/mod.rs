//! Level 2: sealed frames on a local disk, and the records that say whose they are.
//!
//! Small frames rest inside the store's records; larger ones are files, written beside their place,
//! synced and renamed before the commit that names them. What a commit dropped is unlinked later:
//! the debt is in the same commit, so a crash loses none of it.
//!
//! ```text
//! store.redb                    records (`store/`)
//! reserve                       room for deletes when the disk is full (`store/`)
//! frames/ab/abcdef….frame       one frame, named by its id
//! staging/abcdef….frame         a frame that is still being written; cleared at start
//! quarantine/abcdef….frame      a frame that failed its check; kept for whoever looks into it
//! ```

mod commit;
mod layout;
mod losses;
mod others;
mod owing;
mod quarantine;
mod rewrap;
mod staging;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

pub(super) use commit::{Fate, Plan};
use layout::Layout;
pub(super) use layout::{name as frame_name, parse as frame_of_name};
use quarantine::Quarantined;
pub use rewrap::Rewrapped;
pub use staging::{StagedFrame, Staging};

use super::{Source, Tier, TierCopy, locked};
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{Address, Buffer, Clock, FrameId, Head, Level, Seal, Version};
use crate::store::{Batch, File, Fs, Store};

/// Discarded frames that one round of [`DiskTier::collect`] unlinks.
const COLLECT_FRAMES_MAX: usize = 1024;

/// Level 2 of a container.
pub struct DiskTier {
    fs: Arc<dyn Fs>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    layout: Arc<Layout>,
    quarantined: Quarantined,
    /// Whether what is not found may have been lost.
    incomplete: AtomicBool,
    /// Whether anything of another container's is known.
    others: AtomicBool,
    /// Whether a commit may have left frames to unlink.
    owed: AtomicBool,
    collecting: Mutex<()>,
    /// Frame files of commits that failed: a crash may still bring their records back, until another commit is
    /// durable.
    abandoned: Mutex<Vec<FrameId>>,
    /// Frame files without a record that the start left where they are, because the record may be among what the
    /// store lost: the store may still be put back.
    unowned: Mutex<Vec<FrameId>>,
    /// Sealed bytes of objects and of old versions, as last committed.
    sealed: AtomicU64,
    hits: AtomicU64,
    evictions: AtomicU64,
    misses: AtomicU64,
}

/// What opening found left over from the last life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Frames that were still being written.
    pub unfinished: usize,
    /// Frames that no record names: their commit never happened.
    pub orphans: usize,
    /// Frames that no record names either, left in their place because the store lost records.
    pub unowned: usize,
    /// Discarded frames that were still there.
    pub discarded: usize,
}

/// What the disk holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Objects, old versions among them.
    pub objects: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Objects whose bytes failed their check.
    pub quarantined: u64,
    /// Frames that wait to be unlinked.
    pub discards: u64,
    /// Reads that were answered.
    pub hits: u64,
    /// Objects that left for the cloud to make room.
    pub evictions: u64,
    /// Reads that were not.
    pub misses: u64,
}

/// The sealed bytes of one version: readable to the end, whatever happens to the object meanwhile.
#[derive(Clone)]
pub enum FrameReader {
    /// It rests in the store.
    Inline(Bytes),
    /// It is a file of its own.
    File(Arc<dyn File>, u64),
}

impl Source for FrameReader {
    fn len(&self) -> u64 {
        match self {
            FrameReader::Inline(bytes) => bytes.len() as u64,
            FrameReader::File(_, len) => *len,
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        match self {
            FrameReader::Inline(bytes) => Source::read(bytes, range),
            FrameReader::File(..) => Ok(self.load(range)?.freeze()),
        }
    }

    fn load(&self, range: Range<u64>) -> Result<Buffer> {
        match self {
            FrameReader::Inline(bytes) => Source::load(bytes, range),
            FrameReader::File(file, len) => {
                let outside = range.start > range.end || range.end > *len;
                if outside {
                    return Err(Error::corrupt("the frame is shorter than its footer says"));
                }
                let mut buffer = Buffer::of((range.end - range.start) as usize);
                file.read_exact_at(&mut buffer, range.start)
                    .map_err(|error| layout::io_error(error, "cannot read the frame"))?;
                Ok(buffer)
            }
        }
    }
}

impl DiskTier {
    /// Opens the folders of a container and clears what its last life left half-done.
    pub fn open(
        fs: Arc<dyn Fs>,
        layout_root: &std::path::Path,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovery)> {
        let layout = Arc::new(Layout::create(Arc::clone(&fs), layout_root)?);
        let sealed = AtomicU64::new(store.sealed_bytes()?);
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        let quarantined = Quarantined::open(&store)?;
        // A record of losses that cannot be read is one more of them.
        let incomplete =
            AtomicBool::new(store.salvage_record().map_or(true, |found| found.is_some_and(|found| found.incomplete)));
        let others = AtomicBool::new(store.entry_count()? > 0);
        let disk = DiskTier {
            fs,
            store,
            clock,
            layout,
            quarantined,
            incomplete,
            others,
            owed: AtomicBool::new(true),
            collecting: Mutex::default(),
            abandoned: Mutex::default(),
            unowned: Mutex::default(),
            sealed,
            hits,
            evictions: AtomicU64::new(0),
            misses,
        };
        let unfinished = disk.layout.clear_staging()?;
        let orphans = disk.remove_orphans()?;
        let discarded = disk.collect()?;
        let unowned = locked(&disk.unowned).len();
        if unowned > 0 {
            tracing::warn!(
                frames = unowned,
                folder = %disk.layout.frames().display(),
                "sealed files without a record are left in their place: put a good store.redb back, or accept the losses with `meshstore admin repair`, which removes them"
            );
        }
        Ok((disk, Recovery { unfinished, orphans, unowned, discarded }))
    }

    /// The records.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Starts writing a frame; nothing shows until it is committed.
    pub fn stage(&self, frame: FrameId) -> Staging {
        // A frame may come back from another copy under its old name; from here on it is wanted again.
        locked(&self.abandoned).retain(|abandoned| *abandoned != frame);
        locked(&self.unowned).retain(|unowned| *unowned != frame);
        Staging::new(Arc::clone(&self.layout), Arc::clone(&self.store), frame)
    }

    /// The newest thing known at an address.
    pub fn head(&self, address: &Address) -> Result<Option<Head>> {
        self.store.head(address)
    }

    /// Opens the sealed bytes of a manifest.
    ///
    /// `not_found` when the frame was discarded meanwhile: read the head again. `corrupt` when it is
    /// missing or in quarantine although its record still names it.
    pub fn reader(&self, address: &Address, version: Version, seal: &Seal) -> Result<FrameReader> {
        if self.is_quarantined(seal.frame) {
            return Err(self.missing(address, version));
        }
        if seal.inline {
            let frame = self.store.inline(version)?;
            return frame.map(FrameReader::Inline).ok_or_else(|| self.missing(address, version));
        }
        let opened = self.fs.open(&self.layout.frame(seal.frame));
        match opened {
            Ok(file) => {
                let len = file.len().map_err(|error| layout::io_error(error, "cannot read the frame's length"))?;
                Ok(FrameReader::File(file, len.min(seal.bytes)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(self.missing(address, version)),
            Err(error) => Err(layout::io_error(error, "cannot open the frame").with("address", address)),
        }
    }

    /// Why a frame that a head named is not where it should be.
    fn missing(&self, address: &Address, version: Version) -> Error {
        match self.is_named(address, version) {
            Ok(true) => DiskTier::damaged(address, version),
            Ok(false) => Error::not_found("this version of the object has just been replaced").with("address", address),
            Err(error) => error,
        }
    }

    /// Makes a version ceiling durable.
    pub(super) fn raise_ceiling(&self, ceiling: u64) -> Result<()> {
        let mut batch = Batch::new();
        batch.raise_ceiling(ceiling);
        self.store.commit(&batch)
    }

    /// Sealed bytes of objects and of old versions, as last committed.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed.load(Ordering::Acquire)
    }

    /// Takes note of a commit that failed, and of the frame files that were to be its own.
    fn abandon(&self, frames: &[StagedFrame]) {
        locked(&self.abandoned).extend(frames.iter().map(StagedFrame::frame));
    }

    /// Takes note of a commit that is durable: no record of one that failed before it comes back, so the files
    /// of those go. On a full disk they would be the next to fill it.
    fn clear_abandoned(&self) {
        // Held to the end, so that nobody puts a frame of the same name in its place meanwhile.
        let mut abandoned = locked(&self.abandoned);
        for frame in abandoned.drain(..) {
            // Best effort: the next start removes frames that no record names.
            let _ = self.layout.unlink(frame);
        }
    }

    /// Unlinks discarded frames. Returns how many; fewer than are owed when there are very many.
    pub fn collect(&self) -> Result<usize> {
        self.store.regain_room();
        // One at a time, so that whoever waits for the turn finds what was owed before unlinked.
        let _turn = locked(&self.collecting);
        if !self.owed.swap(false, Ordering::AcqRel) {
            return Ok(0);
        }
        let frames = self.store.discards(COLLECT_FRAMES_MAX)?;
        let done = frames.len();
        for frame in &frames {
            self.layout.unlink(*frame)?;
        }
        if done > 0 {
            let mut batch = Batch::new();
            frames.iter().for_each(|frame| batch.discarded(*frame));
            self.store.commit(&batch)?;
        }
        if done == COLLECT_FRAMES_MAX {
            self.owed.store(true, Ordering::Release);
        }
        Ok(done)
    }

    /// What the disk holds.
    pub fn usage(&self) -> Result<DiskUsage> {
        let counts = self.store.counts()?;
        Ok(DiskUsage {
            objects: counts.objects(),
            bytes: self.sealed.load(Ordering::Acquire),
            quarantined: counts.quarantined,
            discards: counts.discards,
            evictions: self.evictions.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        })
    }

    /// Counts objects that left for the cloud to make room.
    pub fn count_evictions(&self, objects: u64) {
        self.evictions.fetch_add(objects, Ordering::Relaxed);
    }

    /// Counts a read that looked here.
    pub fn count_read(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame is renamed into place before the commit that names it, so a crash in between leaves
    /// a file without an owner.
    fn remove_orphans(&self) -> Result<usize> {
        let mut orphans = 0;
        self.layout.each_frame(|frame| {
            if self.store.owns(frame)? || self.store.is_discarded(frame)? {
                return Ok(());
            }
            if self.is_incomplete() {
                // Its record may be among what was lost; once the losses are accepted, it goes.
                locked(&self.unowned).push(frame);
            } else {
                self.layout.unlink(frame)?;
                orphans += 1;
            }
            Ok(())
        })?;
        Ok(orphans)
    }
}

/// Level 2 as a [`Tier`]: copies are sealed, and their manifests carry the seal.
impl Tier for DiskTier {
    fn level(&self) -> Level {
        Level::Disk
    }

    fn put(&self, address: &Address, copy: TierCopy) -> Result<bool> {
        let mut manifest = (*copy.manifest).clone();
        let seal = manifest
            .seal
            .as_mut()
            .ok_or_else(|| Error::internal("a copy for the disk must be sealed").with("address", address))?;
        let mut plan = Plan::new(self);
        if plan.head(address)?.is_some_and(|head| head.version() >= manifest.version) {
            return Ok(false);
        }
        let mut staging = self.stage(seal.frame);
        let len = copy.bytes.len();
        let mut at = 0;
        while at < len {
            let next = (at + CHUNK_BYTES as u64).min(len);
            staging.write(&copy.bytes.read(at..next)?)?;
            at = next;
        }
        let frame = staging.finish()?;
        seal.inline = frame.is_inline();
        plan.store(address, manifest, frame, Fate::default())?;
        plan.commit()?;
        Ok(true)
    }

    fn get(&self, address: &Address) -> Result<Option<TierCopy>> {
        let Some(Head::Object(manifest)) = self.head(address)? else { return Ok(None) };
        let seal =
            manifest.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
        let bytes = Arc::new(self.reader(address, manifest.version, seal)?);
        Ok(Some(TierCopy { manifest: Arc::new(manifest), bytes }))
    }

    fn drop_copy(&self, address: &Address, version: Version) -> Result<bool> {
        let mut plan = Plan::new(self);
        if plan.head(address)?.is_none_or(|head| head.object().is_none() || head.version() != version) {
            return Ok(false);
        }
        plan.forget(address)?;
        plan.commit()?;
        Ok(true)
    }

    fn objects(&self) -> Result<u64> {
        Ok(self.store.counts()?.objects())
    }
}

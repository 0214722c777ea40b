//! Keeps memory and disk in step: one order of changes, decided in one place.
//!
//! Everything durable goes through [`Keeper::commit`], called by one thread at a time. It gives out
//! versions, commits a group of changes at once, and only then changes what memory shows. Objects of
//! class `ram` are given their version under the lock of their entry in memory ([`Keeper::hold`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::disk::Plan;
use super::memory::Reservation;
use super::sequencer::Stamp;
use super::{DiskTier, MemoryTier, Resident, Sequencer, StagedFrame, locked};
use crate::error::{Error, Result};
use crate::model::{
    Address, Chunks, Digest, Durability, Head, Manifest, NfrSpec, Seal, Tombstone, Version, WrappedKey,
};

/// Attempts to show an object in memory while others keep changing the same address.
const HOLD_ATTEMPTS_MAX: usize = 64;

/// Wraps the data key of a frame for the object and version that it turned out to be.
pub type Binding = Box<dyn FnOnce(&Address, Version, u64, &Seal) -> Result<Option<WrappedKey>> + Send>;

/// What is known of an object before it gets its version.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Plain bytes.
    pub size: u64,
    /// Of the plain bytes.
    pub digest: Digest,
    /// As the pusher named it.
    pub content_type: Option<String>,
    /// The pusher's own metadata.
    pub meta: BTreeMap<String, String>,
    /// How it is or will be sealed.
    pub nfr: NfrSpec,
}

/// A change on its way to the disk.
// Most changes are the large one.
#[allow(clippy::large_enum_variant)]
pub enum Change {
    /// A new version of an object.
    Store {
        /// What it is.
        draft: Draft,
        /// How its frame is made; the key is still missing.
        seal: Seal,
        /// The frame, written and synced.
        frame: StagedFrame,
        /// Called once the version is known.
        bind: Binding,
    },
    /// A version that has been acknowledged in memory already.
    Adopt {
        /// What it is, with its seal.
        manifest: Box<Manifest>,
        /// The frame, written and synced.
        frame: StagedFrame,
    },
    /// The end of an object.
    Delete,
}

/// Plain bytes to show in memory once the change is committed.
pub struct Show {
    /// The bytes.
    pub chunks: Chunks,
    /// Their place in the budget.
    pub room: Reservation,
}

/// One change of a group.
pub struct Job {
    /// Where.
    pub address: Address,
    /// What.
    pub change: Change,
    /// What memory shows afterwards; without it, what was there leaves.
    pub show: Option<Show>,
}

/// What became of a change.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The object is durable.
    Stored {
        /// As committed.
        manifest: Arc<Manifest>,
        /// Whether the address held nothing before.
        created: bool,
    },
    /// Nothing is there any more; the version is that of the delete, if there was something.
    Deleted(Option<Version>),
    /// Something newer was there already; the change is void.
    Superseded,
}

/// Where the newest version of an object is.
#[derive(Clone, Debug)]
pub enum Located {
    /// In memory.
    Ram(Arc<Resident>),
    /// On disk.
    Disk(Arc<Manifest>),
}

/// Memory and disk of one container, and the order of changes over both.
pub struct Keeper {
    memory: Arc<MemoryTier>,
    disk: DiskTier,
    sequencer: Sequencer,
    /// Held while a group is committed, so that groups become visible one after the other.
    order: Mutex<()>,
}

impl Keeper {
    /// Puts the two levels together.
    pub fn new(memory: Arc<MemoryTier>, disk: DiskTier, sequencer: Sequencer) -> Self {
        Keeper { memory, disk, sequencer, order: Mutex::default() }
    }

    /// Level 1.
    pub fn memory(&self) -> &Arc<MemoryTier> {
        &self.memory
    }

    /// Level 2.
    pub fn disk(&self) -> &DiskTier {
        &self.disk
    }

    /// The newest version of an object, wherever it is. Memory is asked first: an entry leaves it
    /// only after the disk has it.
    pub fn find(&self, address: &Address) -> Result<Option<Located>> {
        if let Some(resident) = self.memory.get(address) {
            return Ok(Some(Located::Ram(resident)));
        }
        Ok(match self.disk.head(address)? {
            Some(Head::Object(manifest)) => Some(Located::Disk(Arc::new(manifest))),
            Some(Head::Deleted(_)) | None => None,
        })
    }

    /// Acknowledges an object in memory alone. Returns its manifest and whether it was created;
    /// `None` when others kept changing the address.
    pub fn hold(
        &self,
        address: &Address,
        draft: &Draft,
        chunks: &Chunks,
        mut room: Reservation,
    ) -> Result<(Arc<Manifest>, bool)> {
        for _ in 0..HOLD_ATTEMPTS_MAX {
            self.ensure_ceiling(1)?;
            let ticket = self.memory.ticket(address);
            let known = Known::of(self.disk.head(address)?.as_ref(), self.memory.peek(address).as_deref());
            let stamp = || {
                let stamp = self.sequencer.stamp()?;
                Some(Arc::new(draft.clone().manifest(stamp, known.version, Durability::Ram, None)))
            };
            if let Some(manifest) = self.memory.publish_dirty(ticket, address, chunks.clone(), &mut room, stamp) {
                return Ok((manifest, !known.live));
            }
        }
        Err(Error::busy("too many others change this object at the same time; try again").with("address", address))
    }

    /// Commits a group of changes: durable when this returns, and memory shows them. The answers
    /// come in the order of the jobs.
    pub fn commit(&self, jobs: Vec<Job>) -> Vec<Result<Outcome>> {
        let _order = locked(&self.order);
        if let Err(error) = self.ensure_ceiling(jobs.len() as u64) {
            return jobs.iter().map(|_| Err(error.duplicate())).collect();
        }
        let mut plan = Plan::new(&self.disk);
        let mut planned = Vec::with_capacity(jobs.len());
        for Job { address, change, show } in jobs {
            let outcome = self.plan(&mut plan, &address, change);
            planned.push((address, show, outcome));
        }
        let committed = plan.commit();
        planned.into_iter().map(|(address, show, outcome)| self.settle(&committed, &address, show, outcome)).collect()
    }

    /// Decides one change: its version, what it replaces, whether it is void.
    fn plan(&self, plan: &mut Plan<'_>, address: &Address, change: Change) -> Result<Outcome> {
        let head = plan.head(address)?;
        let known = Known::of(head.as_ref(), self.memory.peek(address).as_deref());
        match change {
            Change::Store { draft, mut seal, frame, bind } => {
                let stamp = self.stamp()?;
                seal.inline = frame.is_inline();
                seal.key = bind(address, stamp.version, draft.size, &seal)?;
                let manifest = draft.manifest(stamp, known.version, Durability::Disk, Some(seal));
                plan.store(address, manifest.clone(), frame)?;
                Ok(Outcome::Stored { manifest: Arc::new(manifest), created: !known.live })
            }
            Change::Adopt { mut manifest, frame } => {
                if head.is_some_and(|head| head.version() >= manifest.version) {
                    return Ok(Outcome::Superseded);
                }
                if let Some(seal) = &mut manifest.seal {
                    seal.inline = frame.is_inline();
                }
                plan.store(address, (*manifest).clone(), frame)?;
                Ok(Outcome::Stored { manifest: Arc::new(*manifest), created: false })
            }
            Change::Delete if !known.live => Ok(Outcome::Deleted(None)),
            Change::Delete => {
                let Stamp { version, dot, now_ms } = self.stamp()?;
                plan.delete(address, Tombstone { version, dot, replaces: known.version, deleted_ms: now_ms })?;
                Ok(Outcome::Deleted(Some(version)))
            }
        }
    }

    /// Shows in memory what was committed, in the order of the commits.
    fn settle(
        &self,
        committed: &Result<()>,
        address: &Address,
        show: Option<Show>,
        outcome: Result<Outcome>,
    ) -> Result<Outcome> {
        let outcome = outcome?;
        if let Err(error) = committed {
            // The store decides what is visible after a failed commit; memory must not contradict it.
            self.memory.evict_clean(address);
            return Err(error.duplicate());
        }
        match (&outcome, show) {
            (Outcome::Stored { manifest, .. }, Some(Show { chunks, mut room })) => {
                self.memory.publish(address, Arc::clone(manifest), chunks, &mut room);
            }
            (Outcome::Stored { manifest, .. }, None) if manifest.durability == Durability::Ram => {
                self.memory.settle(address, manifest.version);
            }
            (Outcome::Stored { manifest, .. }, None) => self.memory.supersede(address, manifest.version),
            (Outcome::Deleted(Some(version)), _) => self.memory.supersede(address, *version),
            (Outcome::Deleted(None) | Outcome::Superseded, _) => {}
        }
        Ok(outcome)
    }

    fn stamp(&self) -> Result<Stamp> {
        // `commit` raised the ceiling far enough for the whole group; only a clock that leapt ahead
        // in between can pass it.
        self.sequencer.stamp().ok_or_else(|| Error::busy("the clock leapt ahead; try again"))
    }

    /// A ceiling is a commit of its own, so that no version is ever given above a durable one.
    fn ensure_ceiling(&self, count: u64) -> Result<()> {
        if let Some(ceiling) = self.sequencer.ceiling_needed(count) {
            self.disk.raise_ceiling(ceiling)?;
            self.sequencer.raise_ceiling(ceiling);
        }
        Ok(())
    }
}

/// What both levels know of an address together.
struct Known {
    /// The newest version or delete.
    version: Option<Version>,
    /// Whether there is an object now.
    live: bool,
}

impl Known {
    fn of(head: Option<&Head>, resident: Option<&Resident>) -> Self {
        let on_disk = head.map(|head| (head.version(), head.object().is_some()));
        let in_memory = resident.map(|resident| (resident.manifest.version, true));
        let newest = on_disk.max(in_memory);
        Known { version: newest.map(|(version, _)| version), live: newest.is_some_and(|(_, live)| live) }
    }
}

impl Draft {
    fn manifest(self, stamp: Stamp, replaces: Option<Version>, durability: Durability, seal: Option<Seal>) -> Manifest {
        Manifest {
            version: stamp.version,
            dot: stamp.dot,
            replaces,
            size: self.size,
            digest: self.digest,
            content_type: self.content_type,
            meta: self.meta,
            modified_ms: stamp.now_ms,
            nfr: self.nfr,
            durability,
            seal,
        }
    }
}

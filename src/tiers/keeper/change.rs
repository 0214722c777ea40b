//! The words of the keeper: what a change is, and what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::model::{
    Address, Chunks, Condition, ContainerId, Digest, Durability, Manifest, NfrSpec, Seal, Version, WrappedKey,
};
use crate::tiers::memory::Reservation;
use crate::tiers::sequencer::Stamp;
use crate::tiers::{Decision, Resident, StagedFrame};

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
    /// How long it lives from its commit, in milliseconds.
    pub ttl_ms: Option<u64>,
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
        /// What must hold for it.
        condition: Condition,
    },
    /// A version that has been acknowledged in memory already.
    Adopt {
        /// What it is, with its seal.
        manifest: Box<Manifest>,
        /// The frame, written and synced.
        frame: StagedFrame,
    },
    /// Another frame for a version whose own failed its check.
    Mend {
        /// What it is, with its new seal.
        manifest: Box<Manifest>,
        /// The frame, written and synced.
        frame: StagedFrame,
    },
    /// A version that another container keeps, and has this one keep from now on.
    TakeOver {
        /// Who kept it so far.
        from: ContainerId,
        /// As that one kept it.
        manifest: Box<Manifest>,
        /// The very frame, written and synced.
        frame: StagedFrame,
    },
    /// The end of an object.
    Delete {
        /// What must hold for it.
        condition: Condition,
        /// Leaves its trace also where nothing is known: who cannot be asked may hold what is meant.
        unseen: bool,
    },
}

impl Change {
    /// Whether it brings bytes to the disk. One that does not must be possible on a full disk.
    pub(super) fn brings_bytes(&self) -> bool {
        !matches!(self, Change::Delete { .. })
    }

    /// The same change for another try, if it has nothing that can be used only once.
    pub(super) fn again(&self) -> Option<Change> {
        match self {
            Change::Delete { condition, unseen } => {
                Some(Change::Delete { condition: condition.clone(), unseen: *unseen })
            }
            Change::Store { .. } | Change::Adopt { .. } | Change::Mend { .. } | Change::TakeOver { .. } => None,
        }
    }

    /// What must hold for it.
    pub(super) fn condition(&self) -> &Condition {
        match self {
            Change::Store { condition, .. } | Change::Delete { condition, .. } => condition,
            Change::Adopt { .. } | Change::Mend { .. } | Change::TakeOver { .. } => &Condition::Always,
        }
    }
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
    /// What allows deciding its condition, where that is shared with others.
    pub decision: Option<Decision>,
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
    /// Nothing is there any more; the stamp's version and dot are those of the delete, if there was something.
    Deleted(Option<Stamp>),
    /// The version has good bytes again; nothing else changed.
    Mended,
    /// Something newer was there already; the change is void.
    Superseded,
}

/// Where a version of an object is.
#[derive(Clone, Debug)]
pub enum Located {
    /// In memory.
    Ram(Arc<Resident>),
    /// On disk.
    Disk(Arc<Manifest>),
    /// At another container of the site.
    Peer(Arc<Manifest>, ContainerId),
}

impl Located {
    /// What it is.
    pub fn manifest(&self) -> &Arc<Manifest> {
        match self {
            Located::Ram(resident) => &resident.manifest,
            Located::Disk(manifest) | Located::Peer(manifest, _) => manifest,
        }
    }
}

impl Draft {
    pub(super) fn manifest(
        self,
        stamp: Stamp,
        replaces: Option<Version>,
        durability: Durability,
        seal: Option<Seal>,
    ) -> Manifest {
        Manifest {
            version: stamp.version,
            dot: stamp.dot,
            replaces,
            size: self.size,
            digest: self.digest,
            content_type: self.content_type,
            meta: self.meta,
            modified_ms: stamp.now_ms,
            expires_ms: self.ttl_ms.map(|ttl| stamp.now_ms.saturating_add(ttl)),
            nfr: self.nfr,
            durability,
            seal,
            moves: 0,
        }
    }
}

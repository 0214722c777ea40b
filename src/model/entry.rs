//! What a container knows of an address whose newest version another container of the site keeps.

use serde::{Deserialize, Serialize};

use super::manifest::{Head, Manifest, Rest};
use super::version::{ContainerId, Version};

/// An entry of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose copy is the durable one.
    pub keeper: ContainerId,
    /// The object as its keeper told of it, or the trace of its delete. Where its bytes rest now, the keeper knows.
    pub head: Head,
}

impl Entry {
    /// The version of the object or of its delete.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// Which of two entries of one version counts: the one of who took it over last.
    pub fn rank(&self) -> (Version, u32, ContainerId) {
        (self.version(), self.object().map_or(0, |manifest| manifest.moves), self.keeper)
    }

    /// The entry as other sites are told of it: what opens the object is asked for by itself, and where this site's copies
    /// rest is its own affair.
    pub fn for_others(&self) -> Self {
        let mut entry = self.clone();
        if let Head::Object(Manifest { seal: Some(seal), .. }) = &mut entry.head {
            seal.key = None;
            seal.rest = Rest::Disk;
        }
        entry
    }

    /// The manifest, unless it was deleted.
    pub fn object(&self) -> Option<&Manifest> {
        self.head.object()
    }
}

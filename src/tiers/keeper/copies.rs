//! Which copies of an object this container has, for whoever asks where it is.

use super::super::FrameReader;
use super::Keeper;
use crate::error::Result;
use crate::limits::LOCATE_VERSIONS_MAX;
use crate::model::{Address, CopyState, Entry, Head, Held, Holds, Level, Manifest, Newest, Version};

impl Keeper {
    /// A copy of a version that another container keeps, and what is known of it, where that opens it.
    pub fn copy_of(&self, address: &Address, version: Version) -> Result<Option<(Entry, FrameReader)>> {
        let known = self.disk.entry(address)?.filter(|entry| entry.version() == version);
        Ok(known.and_then(|entry| {
            let manifest = entry.object().filter(|manifest| self.lives(manifest) && !manifest.lacks_key())?;
            let seal = manifest.seal.as_ref()?;
            let copy = self.copies.get()?.reader(address, seal.frame, seal.bytes)?;
            Some((entry, copy))
        }))
    }

    /// What is here of an address, newest first, and what is known of it.
    pub fn holds(&self, address: &Address) -> Result<Holds> {
        // Memory first: an entry leaves it only after the disk has it.
        let resident = self.memory.peek(address).filter(|resident| self.lives(&resident.manifest));
        let mut copies = Vec::new();
        if let Some(Head::Object(manifest)) = self.disk.head(address)?
            && self.lives(&manifest)
        {
            let owed = self.disk.store().owed(manifest.version)?.is_some();
            self.rest(&manifest, if owed { CopyState::Owed } else { CopyState::Kept }, &mut copies);
        }
        if let Some(other) = self.disk.entry(address)?
            && let Some(seal) = other.object().and_then(|manifest| manifest.seal.as_ref())
            && self.copies.get().is_some_and(|copies| copies.has(address, seal.frame))
        {
            copies.push(Held { version: other.version(), level: Level::Disk, state: CopyState::Cached });
        }
        let newest = self.newest(address)?;
        for manifest in self.disk.store().latest_versions(address, LOCATE_VERSIONS_MAX)? {
            if self.lives(&manifest) {
                // The newest one is no longer this container's to keep, where another one took it over.
                let state = if newest == Some(manifest.version) { CopyState::Cached } else { CopyState::Old };
                self.rest(&manifest, state, &mut copies);
            }
        }
        if let Some(resident) = resident {
            let version = resident.manifest.version;
            // What was dirty a moment ago may have been written out meanwhile.
            let is_durable = copies.iter().any(|copy| copy.version == version);
            let state = if resident.dirty && !is_durable { CopyState::Dirty } else { CopyState::Cached };
            copies.insert(0, Held { version, level: Level::Ram, state });
        }
        copies.sort_by(|a, b| b.version.cmp(&a.version).then(a.level.cmp(&b.level)));
        let newest = self.newest_entry(address)?.map(|entry| self.newest_of(&entry));
        Ok(Holds { copies, newest })
    }

    /// The copies of one version on disk and in the cloud.
    fn rest(&self, manifest: &Manifest, state: CopyState, copies: &mut Vec<Held>) {
        let Some(seal) = &manifest.seal else { return };
        let version = manifest.version;
        if seal.rest.on_disk() {
            let state = if self.disk.is_quarantined(seal.frame) { CopyState::Quarantined } else { state };
            copies.push(Held { version, level: Level::Disk, state });
        }
        if seal.rest.receipt().is_some() {
            copies.push(Held { version, level: Level::Cloud, state });
        }
    }

    fn newest_of(&self, entry: &Entry) -> Newest {
        let manifest = entry.object().filter(|manifest| self.lives(manifest));
        let level = manifest.map(|manifest| match manifest.seal {
            None => Level::Ram,
            Some(_) => manifest.level(),
        });
        Newest { version: entry.version(), keeper: entry.keeper, level }
    }
}

//! Where the versions of an object are.

use std::sync::{Arc, PoisonError};

use super::{Keeper, Located};
use crate::error::Result;
use crate::model::{Address, Dot, Entry, Head, Manifest, Session, Usage, Version};
use crate::store::{WalkPlace, WalkStretch};
use crate::tiers::Resident;

/// What a client has seen and is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// All of it is.
    Nothing,
    /// The version of the object that it knows, or a newer one.
    Version,
    /// These changes, as far as they are of what is asked for.
    Dots(Vec<Dot>),
}

impl Keeper {
    /// Wall-clock milliseconds since 1970, by the clock that decides what has ended.
    pub fn now_ms(&self) -> u64 {
        self.sequencer.now_ms()
    }

    /// Whether a collection holds nothing, here or at another container of the site.
    pub fn is_empty(&self, collection: &str) -> Result<bool> {
        if self.usage_of(collection) != Usage::default() {
            return Ok(false);
        }
        let others = || self.disk.store().list_entries((collection, "", None), 1, self.now_ms());
        if !self.disk.knows_others() {
            return Ok(true);
        }
        let others = others()?;
        Ok(others.found.is_empty() && others.cut.is_none())
    }

    /// A hit in memory: counts as a use.
    pub fn hit(&self, address: &Address) -> Option<Arc<Resident>> {
        self.memory.get(address).filter(|resident| self.lives(&resident.manifest))
    }

    /// A version of an object, the newest when none is named, wherever it is. Memory is asked first: an
    /// entry leaves it only after the disk has it.
    pub fn find(&self, address: &Address, version: Option<Version>) -> Result<Option<Located>> {
        let fits = |manifest: &Manifest| version.is_none_or(|version| version == manifest.version);
        if let Some(resident) = self.memory.peek(address) {
            // What memory shows is the newest there is; only a version that is named may be elsewhere.
            if fits(&resident.manifest) {
                return Ok(Some(Located::Ram(resident)).filter(|found| self.lives(found.manifest())));
            }
        }
        let here = self.durable(address, version)?;
        Ok(match self.disk.entry(address)? {
            Some(Entry { keeper, head: Head::Object(manifest) })
                if here.is_none() && fits(&manifest) && self.lives(&manifest) =>
            {
                Some(Located::Peer(Arc::new(manifest), keeper))
            }
            _ => here.map(Located::Disk),
        })
    }

    /// The same, on disk alone.
    pub fn durable(&self, address: &Address, version: Option<Version>) -> Result<Option<Arc<Manifest>>> {
        let found = match (self.disk.head(address)?, version) {
            (Some(Head::Object(manifest)), None) => Some(manifest),
            (Some(Head::Object(manifest)), Some(version)) if manifest.version == version => Some(manifest),
            (_, None) => None,
            (_, Some(version)) => self.disk.store().old_version(address, version)?,
        };
        Ok(found.filter(|manifest| self.lives(manifest)).map(Arc::new))
    }

    /// A stretch of the walk through the objects that this container keeps on its disk or in its cloud.
    pub fn kept(&self, place: Option<&WalkPlace>, limit: usize) -> Result<WalkStretch> {
        let mut stretch = self.disk.store().walk(place, limit)?;
        stretch.found.retain(|(place, ..)| !place.is_old());
        stretch.next = stretch.next.filter(|place| !place.is_old());
        Ok(stretch)
    }

    /// The version of the newest object or delete at an address, whether or not it has ended.
    pub fn newest(&self, address: &Address) -> Result<Option<Version>> {
        let in_memory = self.memory.peek(address).map(|resident| resident.manifest.version);
        let on_disk = self.disk.head(address)?.map(|head| head.version());
        let elsewhere = self.disk.entry(address)?.map(|entry| entry.version());
        Ok(in_memory.max(on_disk).max(elsewhere))
    }

    /// Whether a change is among those that were made or learnt here.
    pub fn has_seen(&self, Dot { incarnation, seq }: Dot) -> bool {
        let own = self.sequencer.last();
        let seen = || self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&incarnation).copied();
        let last = if own.incarnation == incarnation { Some(own.seq) } else { seen() };
        last.is_some_and(|last| seq <= last)
    }

    /// What a client has seen of an object, or of anything when none is named, and is not here.
    pub fn lacks(&self, address: Option<&Address>, session: &Session) -> Result<Lacks> {
        let unseen = |dots: &mut dyn Iterator<Item = Dot>| match dots.filter(|dot| !self.has_seen(*dot)).collect() {
            dots if Vec::is_empty(&dots) => Lacks::Nothing,
            dots => Lacks::Dots(dots),
        };
        Ok(match address.and_then(|address| Some((address, session.wants(address)?))) {
            Some((address, wanted)) if self.newest(address)? >= Some(wanted) => Lacks::Nothing,
            Some(_) => Lacks::Version,
            None if address.is_some() => unseen(&mut session.dots()),
            None => unseen(&mut session.all_dots()),
        })
    }

    pub(super) fn lives(&self, manifest: &Manifest) -> bool {
        // Asking the clock costs more than the rest of a hit; few objects have an end.
        manifest.expires_ms.is_none() || !manifest.is_expired(self.now_ms())
    }
}

//! The collections of a container: who they are and what they ask for.
//!
//! The truth is the store's; a copy in memory answers at once. A policy is changed as a whole, each change
//! is durable before it holds, and holds for what comes after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use crate::error::{Error, Kind, Result};
use crate::limits::{COLLECTIONS_MAX, TOMBSTONE_MS};
use crate::model::{Clock, CollectionPolicy, Name};
use crate::store::{Batch, CollectionRecord, Store};

/// A collection as it was last set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Its name.
    pub name: Name,
    /// What it asks for.
    pub policy: CollectionPolicy,
    /// One more with each change, from 1.
    pub revision: u64,
    /// Wall-clock milliseconds since 1970 when it was made.
    pub created_ms: u64,
    /// The same when it was last changed.
    pub changed_ms: u64,
}

/// Every collection of a container.
pub struct Collections {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    /// `None` for one whose record is damaged: what it asks for is unknown, so nothing may be pushed to it.
    known: RwLock<HashMap<String, Option<Arc<Collection>>>>,
    /// Those that were removed: at which revision, and when. One that is made again goes on from there.
    removed: RwLock<HashMap<String, (u64, u64)>>,
    /// Rung when something was changed here.
    changed: Arc<Notify>,
    /// How many there may be.
    most: usize,
    /// Held by the one who changes a policy.
    changing: Mutex<()>,
}

impl Collections {
    /// Reads them from the store.
    pub fn open(store: Arc<Store>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut known = HashMap::new();
        for (name, record) in store.collections()? {
            if record.is_none() {
                tracing::error!(collection = %name, "the policy of a collection is damaged; create it again to push to it");
            }
            let collection = record.and_then(|record| Some(Arc::new(of_record(name.parse().ok()?, record))));
            known.insert(name, collection);
        }
        let removed = RwLock::new(store.removed_collections()?.into_iter().collect());
        let known = RwLock::new(known);
        let changed = Arc::<Notify>::default();
        Ok(Collections { store, clock, known, removed, changed, most: COLLECTIONS_MAX, changing: Mutex::default() })
    }

    /// A collection, if there is one of this name.
    pub fn get(&self, name: &str) -> Result<Option<Arc<Collection>>> {
        match self.read().get(name) {
            None => Ok(None),
            Some(Some(collection)) => Ok(Some(Arc::clone(collection))),
            Some(None) => Err(Error::corrupt(
                "the collection's policy is damaged; give it one again with `meshstore collection create`, objects can still be pulled",
            )
            .with("collection", name)),
        }
    }

    /// A collection, or why there is none.
    pub fn need(&self, name: &Name) -> Result<Arc<Collection>> {
        self.get(name.as_str())?.ok_or_else(|| {
            Error::not_found("there is no such collection; the first push makes it, or `meshstore collection create`")
                .with("collection", name)
        })
    }

    /// A collection and whether it is new: one that is not there yet is made with the default policy. May
    /// write to the disk.
    pub fn ensure(&self, name: &Name) -> Result<(Arc<Collection>, bool)> {
        if let Some(collection) = self.get(name.as_str())? {
            return Ok((collection, false));
        }
        let _changing = self.change();
        match self.get(name.as_str())? {
            Some(collection) => Ok((collection, false)),
            None => Ok((self.write(name, CollectionPolicy::default(), None)?, true)),
        }
    }

    /// Every collection that can be read, by name.
    pub fn list(&self) -> Vec<Arc<Collection>> {
        let mut all: Vec<_> = self.read().values().flatten().cloned().collect();
        all.sort_by(|one, two| one.name.cmp(&two.name));
        all
    }

    /// Sets a policy. `expected` names the revision that it replaces: 0 when there must be none yet.
    /// Returns the collection and whether it is new.
    pub fn put(&self, name: &Name, policy: CollectionPolicy, expected: Option<u64>) -> Result<(Arc<Collection>, bool)> {
        let _changing = self.change();
        let now = self.read().get(name.as_str()).cloned().flatten();
        check_revision(now.as_deref(), expected)?;
        let created = now.is_none();
        Ok((self.write(name, policy, now.as_deref())?, created))
    }

    /// Removes a collection that `is_empty`. Returns whether there was one.
    pub fn remove(&self, name: &Name, expected: Option<u64>, is_empty: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let _changing = self.change();
        let now = self.read().get(name.as_str()).cloned();
        check_revision(now.clone().flatten().as_deref(), expected)?;
        if now.is_none() {
            return Ok(false);
        }
        if !is_empty()? {
            let why = "the collection holds objects; delete them first, or use `meshstore collection rm --recursive`";
            return Err(Error::new(Kind::PreconditionFailed, why).with("collection", name));
        }
        let revision = now.flatten().map_or(0, |now| now.revision) + 1;
        self.forget(name, revision, self.clock.now_ms())?;
        self.changed.notify_one();
        Ok(true)
    }

    fn forget(&self, name: &Name, revision: u64, at_ms: u64) -> Result<()> {
        let mut batch = Batch::new();
        batch.remove_collection(name);
        batch.put_removed_collection(name, revision, at_ms);
        self.store.commit(&batch)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name.as_str());
        self.gone().insert(name.as_str().to_owned(), (revision, at_ms));
        Ok(())
    }

    /// Rung when something was changed here.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Those that were removed not long ago: at which revision, and when.
    pub fn removed(&self) -> Vec<(String, u64, u64)> {
        let oldest = self.clock.now_ms().saturating_sub(TOMBSTONE_MS);
        let removed = self.gone().clone().into_iter().filter(|(_, (_, at_ms))| *at_ms >= oldest);
        removed.map(|(name, (revision, at_ms))| (name, revision, at_ms)).collect()
    }

    /// Takes over a collection as another container has it, if that is newer.
    pub fn adopt(&self, name: &Name, record: CollectionRecord) -> Result<bool> {
        let _changing = self.change();
        let known = self.read().get(name.as_str()).cloned().flatten();
        // One that a push made by default loses against one that somebody asked for.
        let age = |record: &CollectionRecord| {
            let is_asked_for = record.policy != CollectionPolicy::default();
            (record.revision, is_asked_for, record.changed_ms, format!("{:?}", record.policy))
        };
        let is_known = known.is_some_and(|known| age(&to_record(&known)) >= age(&record));
        let is_removed = self.gone().get(name.as_str()).is_some_and(|(revision, _)| *revision >= record.revision);
        if is_known || is_removed {
            return Ok(false);
        }
        self.keep(name, record)?;
        Ok(true)
    }

    /// Takes over that another container removed it. One that holds something here stays, and says so to the others.
    pub fn adopt_removal(
        &self,
        name: &Name,
        revision: u64,
        at_ms: u64,
        is_empty: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let _changing = self.change();
        let known = self.read().get(name.as_str()).cloned().flatten();
        if self.gone().get(name.as_str()).is_some_and(|(removed, _)| *removed >= revision) {
            return Ok(false);
        }
        match known {
            Some(known) if known.revision >= revision => return Ok(false),
            Some(known) if !is_empty()? => {
                self.keep(name, CollectionRecord { revision: revision + 1, ..to_record(&known) })?;
                self.changed.notify_one();
            }
            _ => self.forget(name, revision, at_ms)?,
        }
        Ok(true)
    }

    fn gone(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, (u64, u64)>> {
        self.removed.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, name: &Name, policy: CollectionPolicy, old: Option<&Collection>) -> Result<Arc<Collection>> {
        // One whose record is damaged has its place already.
        if !self.read().contains_key(name.as_str()) && self.read().len() >= self.most {
            let why = "there are as many collections as a container takes; remove one, or use prefixes of keys";
            return Err(Error::too_large(why).with("collection", name).with("limit", self.most));
        }
        let now_ms = self.clock.now_ms();
        let removed = self.gone().get(name.as_str()).map_or(0, |(revision, _)| *revision);
        let record = CollectionRecord {
            policy,
            revision: old.map_or(0, |old| old.revision).max(removed) + 1,
            created_ms: old.map_or(now_ms, |old| old.created_ms),
            changed_ms: now_ms,
        };
        let collection = self.keep(name, record)?;
        self.changed.notify_one();
        Ok(collection)
    }

    fn keep(&self, name: &Name, record: CollectionRecord) -> Result<Arc<Collection>> {
        let mut batch = Batch::new();
        batch.put_collection(name, &record);
        self.store.commit(&batch)?;
        let collection = Arc::new(of_record(name.clone(), record));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.as_str().to_owned(), Some(Arc::clone(&collection)));
        Ok(collection)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Option<Arc<Collection>>>> {
        // Every change of the map is one insertion or removal, so what a panicking holder left is whole.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_record(name: Name, record: CollectionRecord) -> Collection {
    let CollectionRecord { policy, revision, created_ms, changed_ms } = record;
    Collection { name, policy, revision, created_ms, changed_ms }
}

/// A collection as its record has it.
pub fn to_record(collection: &Collection) -> CollectionRecord {
    let Collection { policy, revision, created_ms, changed_ms, .. } = collection.clone();
    CollectionRecord { policy, revision, created_ms, changed_ms }
}

fn check_revision(now: Option<&Collection>, expected: Option<u64>) -> Result<()> {
    let current = now.map_or(0, |now| now.revision);
    match expected {
        None => Ok(()),
        Some(expected) if expected == current => Ok(()),
        Some(0) => {
            Err(Error::new(Kind::AlreadyExists, "there is a collection of this name already; change it with set")
                .with("revision", current))
        }
        Some(expected) => Err(Error::new(
            Kind::PreconditionFailed,
            "the collection was changed meanwhile; read it again and decide anew",
        )
        .with("expected", expected)
        .with("revision", current)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{ManualClock, SeededRng};
    use crate::store::{Fs, SimFs, StoreOptions};

    fn open(file: &Arc<dyn crate::store::File>) -> Collections {
        let options = StoreOptions { cache_bytes: 1 << 20 };
        let store = Store::open(Arc::clone(file), options, &SeededRng::new(1)).unwrap();
        Collections::open(Arc::new(store), Arc::new(ManualClock::at(1000))).unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_policy_is_versioned_and_found_again() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let all = open(&file);
        assert_eq!(all.need(&name("meteo")).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(all.ensure(&name("meteo")).unwrap().0.revision, 1);
        let policy = CollectionPolicy { retention_s: 7, ..CollectionPolicy::default() };
        let (set, created) = all.put(&name("meteo"), policy.clone(), Some(1)).unwrap();
        assert_eq!((set.revision, created), (2, false));
        assert_eq!(all.put(&name("meteo"), policy.clone(), Some(1)).unwrap_err().kind(), Kind::PreconditionFailed);
        assert_eq!(all.put(&name("meteo"), policy.clone(), Some(0)).unwrap_err().kind(), Kind::AlreadyExists);
        drop(all);
        let again = open(&file);
        assert_eq!(again.need(&name("meteo")).unwrap().policy, policy);
    }

    #[test]
    fn no_more_collections_than_the_limit_are_made_not_even_by_a_push() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let all = Collections { most: 2, ..open(&file) };
        all.ensure(&name("a")).unwrap();
        all.put(&name("b"), CollectionPolicy::default(), None).unwrap();
        assert_eq!(all.ensure(&name("c")).unwrap_err().kind(), Kind::TooLarge);
        assert_eq!(all.put(&name("c"), CollectionPolicy::default(), None).unwrap_err().kind(), Kind::TooLarge);
        // Those that are there can still be used and changed, and one that goes makes room.
        all.ensure(&name("a")).unwrap();
        all.put(&name("b"), CollectionPolicy::default(), Some(1)).unwrap();
        assert!(all.remove(&name("a"), None, || Ok(true)).unwrap());
        all.ensure(&name("c")).unwrap();
    }

    #[test]
    fn two_containers_come_to_the_same_collections() {
        let open = || open(&SimFs::new(0).create(Path::new("/store")).unwrap());
        let (one, two) = (open(), open());
        let policy = CollectionPolicy { retention_s: 7, ..CollectionPolicy::default() };
        one.put(&name("a"), policy.clone(), None).unwrap();
        two.ensure(&name("a")).unwrap();
        let (of_one, of_two) = (to_record(&one.need(&name("a")).unwrap()), to_record(&two.need(&name("a")).unwrap()));
        let changed = [one.adopt(&name("a"), of_two).unwrap(), two.adopt(&name("a"), of_one).unwrap()];
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "one of them wins at both");
        assert_eq!(one.need(&name("a")).unwrap().policy, two.need(&name("a")).unwrap().policy);
        // What is removed at one goes at the other where it is empty, and comes back where it is not.
        one.remove(&name("a"), None, || Ok(true)).unwrap();
        let (_, revision, at_ms) = one.removed().remove(0);
        assert!(two.adopt_removal(&name("a"), revision, at_ms, || Ok(false)).unwrap());
        let kept = to_record(&two.need(&name("a")).unwrap());
        assert!(kept.revision > revision && one.adopt(&name("a"), kept.clone()).unwrap());
        one.remove(&name("a"), None, || Ok(true)).unwrap();
        let (_, revision, at_ms) = one.removed().remove(0);
        assert!(two.adopt_removal(&name("a"), revision, at_ms, || Ok(true)).unwrap());
        assert!(!two.adopt(&name("a"), kept).unwrap(), "an older record brings nothing back");
        assert_eq!(two.ensure(&name("a")).unwrap().0.revision, revision + 1, "made again, it goes on from there");
    }

    #[test]
    fn only_an_empty_collection_is_removed() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let all = open(&file);
        all.ensure(&name("a")).unwrap();
        all.ensure(&name("b")).unwrap();
        assert_eq!(all.remove(&name("a"), None, || Ok(false)).unwrap_err().kind(), Kind::PreconditionFailed);
        assert!(all.remove(&name("a"), Some(1), || Ok(true)).unwrap());
        assert!(!all.remove(&name("a"), None, || Ok(true)).unwrap());
        drop(all);
        let names: Vec<String> = open(&file).list().iter().map(|c| c.name.to_string()).collect();
        assert_eq!(names, ["b"]);
    }
}

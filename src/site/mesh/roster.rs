//! The sites of the mesh, which all hold alike. A site that is on it may let others in. Whose keys are known stays known by
//! them: of two that claim a name, each site keeps to the one that it heard of first, and says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

use super::super::{locked, wire};
use crate::error::Result;
use crate::limits::SITES_MAX;
use crate::model::{Name, SiteKeys, SiteRecord, fingerprint, mix};
use crate::store::Batch;
use crate::tiers::Keeper;

/// The sites that this container knows.
pub struct Roster {
    keeper: Arc<Keeper>,
    own: Name,
    known: RwLock<BTreeMap<Name, SiteRecord>>,
    /// Held by who changes it, while it waits for the disk; readers do not.
    order: Mutex<()>,
    sum: AtomicU64,
    changed: Arc<Notify>,
}

impl Roster {
    /// What the store has of them. The own site is on it from the start.
    pub fn open(keeper: Arc<Keeper>, own: Name, keys: SiteKeys) -> Result<Arc<Self>> {
        let since_ms = keeper.now_ms();
        let mut known: BTreeMap<Name, SiteRecord> =
            keeper.disk().store().sites()?.into_iter().map(|record| (record.name.clone(), record)).collect();
        // The keyring says what this site's keys are.
        if known.get(&own).is_none_or(|record| record.keys != keys) {
            known.insert(own.clone(), SiteRecord { name: own.clone(), keys, since_ms });
        }
        let (sum, changed) = (AtomicU64::new(sum(&known)), Arc::default());
        let (known, order) = (RwLock::new(known), Mutex::default());
        Ok(Arc::new(Roster { keeper, own, known, order, sum, changed }))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Name, SiteRecord>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The own site.
    pub fn own(&self) -> &Name {
        &self.own
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<SiteRecord> {
        self.read().values().cloned().collect()
    }

    /// One of them.
    pub fn get(&self, name: &Name) -> Option<SiteRecord> {
        self.read().get(name).cloned()
    }

    /// Whether there are others than the own one.
    pub fn has_others(&self) -> bool {
        self.read().len() > 1
    }

    /// The others, by name.
    pub fn others(&self) -> Vec<Name> {
        self.read().keys().filter(|name| **name != self.own).cloned().collect()
    }

    /// A number that all who know the same have alike, and hardly anybody else.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Acquire)
    }

    /// Rung when it was changed here.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Takes in what others know. It waits for the disk.
    pub fn adopt(&self, records: Vec<SiteRecord>) -> Result<()> {
        let _order = locked(&self.order);
        let mut known = self.read().clone();
        let (mut batch, before) = (Batch::new(), known.len());
        for record in records {
            let counts = match known.get(&record.name) {
                // Whose keys are known is known by them: nobody else says otherwise.
                Some(mine) if record.keys != mine.keys => {
                    let site = &record.name;
                    tracing::error!(%site, "another site of the mesh knows this one by other keys, which do not count here");
                    false
                }
                Some(mine) => record.since_ms < mine.since_ms,
                None => known.len() < SITES_MAX,
            };
            if counts {
                batch.put_site(&record);
                known.insert(record.name.clone(), record);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        if before == 1 {
            known.values().for_each(|record| batch.put_site(record));
        }
        self.keeper.disk().store().commit(&batch)?;
        self.sum.store(sum(&known), Ordering::Release);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        self.changed.notify_one();
        Ok(())
    }
}

fn sum(known: &BTreeMap<Name, SiteRecord>) -> u64 {
    let one = |record| mix(fingerprint(&wire::plain(record).unwrap_or_default()));
    known.values().fold(0, |sum, record: &SiteRecord| sum.wrapping_add(one(record)))
}

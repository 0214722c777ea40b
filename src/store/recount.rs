//! Sums and deadlines whose own rows are damaged: found again from what they are about, so that one bad row
//! neither stops a start nor holds up all others.

use std::collections::BTreeMap;

use super::batch::{Batch, HOLDING_PREFIX, SEALED_KEY, SEEN_PREFIX, Table, deadline_of, head_key};
use super::records::{self, Ending};
use super::typed::Store;
use crate::error::{Kind, Result};
use crate::limits::RETENTION_S_DEFAULT;
use crate::model::{Head, Holding, Incarnation, Manifest, Usage};

/// What was to end by now.
#[derive(Debug, Default)]
pub struct Due {
    /// What ends, and when it was to, earliest first.
    pub endings: Vec<(u64, Ending)>,
    /// Deadlines that fail their check.
    pub damaged: Vec<DamagedDeadline>,
}

/// A deadline that fails its check.
#[derive(Debug)]
pub struct DamagedDeadline {
    key: Vec<u8>,
    what: Option<Ending>,
}

impl Batch {
    /// Puts a sound deadline in the place of a damaged one. When the thing was to end is in doubt, so it ends
    /// after the usual time from now; what cannot even be named never ends by itself.
    pub fn renew_deadline(&mut self, damaged: &DamagedDeadline, now_ms: u64) {
        tracing::error!(key = %damaged.key.escape_ascii(), what = ?damaged.what, "a damaged deadline is set anew");
        self.remove(Table::Deadlines, damaged.key.clone());
        if let Some(what) = &damaged.what {
            self.end_at(now_ms.saturating_add(RETENTION_S_DEFAULT * 1000), what);
        }
    }
}

impl Store {
    /// Up to `limit` things that were to end at or before `now_ms`.
    pub fn due(&self, now_ms: u64, limit: usize) -> Result<Due> {
        let mut due = Due::default();
        self.rows.scan(Table::Deadlines, &[], &mut |key, row| {
            let at_ms = key.first_chunk().map(|at| u64::from_be_bytes(*at)).unwrap_or_default();
            if due.endings.len() + due.damaged.len() >= limit || at_ms > now_ms {
                return Ok(false);
            }
            match records::decode(Table::Deadlines, key, row.to_vec()) {
                Ok(ending) => due.endings.push((at_ms, ending)),
                Err(_) => due.damaged.push(DamagedDeadline { key: key.to_vec(), what: deadline_of(key) }),
            }
            Ok(true)
        })?;
        Ok(due)
    }

    /// What each collection holds durably, and what it owes.
    pub fn holdings(&self) -> Result<BTreeMap<String, Holding>> {
        let (mut found, mut damaged) = (BTreeMap::new(), Vec::new());
        self.rows.scan(Table::Meta, HOLDING_PREFIX, &mut |key, row| {
            let Some(name) = key.strip_prefix(HOLDING_PREFIX) else { return Ok(false) };
            let name = String::from_utf8_lossy(name).into_owned();
            match records::decode(Table::Meta, key, row.to_vec()) {
                Ok(holding) => drop(found.insert(name, holding)),
                Err(_) => damaged.push(name),
            }
            Ok(true)
        })?;
        for collection in damaged {
            let holding = self.recount(&collection)?;
            tracing::error!(collection, ?holding, "the record of what a collection holds is damaged; it was recounted");
            found.insert(collection, holding);
        }
        Ok(found)
    }

    /// What the objects and debts of a collection come to. Those whose own records are damaged do not count.
    fn recount(&self, collection: &str) -> Result<Holding> {
        let (stem, mut holding) = (head_key(collection, ""), Holding::default());
        self.rows.scan(Table::Heads, &stem, &mut |key, row| {
            if !key.starts_with(&stem) {
                return Ok(false);
            }
            if let Ok(Head::Object(manifest)) = records::decode(Table::Heads, key, row.to_vec()) {
                holding.usage = holding.usage.plus(Usage::of(manifest.size));
                if let Some(receipt) = manifest.seal.as_ref().and_then(|seal| seal.rest.receipt()) {
                    holding.cloud = holding.cloud.plus(Usage::of(receipt.bytes));
                }
            }
            Ok(true)
        })?;
        let mine = |_, owed: &super::Owed| owed.address.collection() == collection;
        for (_, owed) in self.owed_page(None, usize::MAX, &mine)? {
            holding.owed = holding.owed.plus(Usage::of(owed.bytes));
        }
        Ok(holding)
    }

    /// How far the changes of each incarnation are here. One whose record is damaged is unknown: who has seen
    /// its changes is told to wait, never shown something older.
    pub fn seen(&self) -> Result<BTreeMap<Incarnation, u64>> {
        let mut found = BTreeMap::new();
        self.rows.scan(Table::Meta, SEEN_PREFIX, &mut |key, row| {
            let Some(name) = key.strip_prefix(SEEN_PREFIX) else { return Ok(false) };
            match (name.try_into(), records::decode(Table::Meta, key, row.to_vec())) {
                (Ok(name), Ok(seq)) => drop(found.insert(Incarnation(u64::from_be_bytes(name)), seq)),
                _ => tracing::error!(key = %key.escape_ascii(), "the record of a former life is damaged; passed over"),
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// Sealed bytes on disk, as last committed.
    pub fn sealed_bytes(&self) -> Result<u64> {
        match self.number(SEALED_KEY) {
            Err(error) if error.kind() == Kind::Corrupt => {
                let sealed = self.recount_sealed()?;
                tracing::error!(sealed, "the record of the bytes on disk is damaged; they were recounted");
                Ok(sealed)
            }
            found => Ok(found?.unwrap_or_default()),
        }
    }

    fn recount_sealed(&self) -> Result<u64> {
        let mut sealed = 0u64;
        let mut count = |manifest: &Manifest| {
            let here = manifest.seal.as_ref().filter(|seal| seal.rest.on_disk());
            sealed = sealed.saturating_add(here.map_or(0, |seal| seal.bytes));
        };
        self.rows.scan(Table::Heads, &[], &mut |key, row| {
            if let Ok(Head::Object(manifest)) = records::decode(Table::Heads, key, row.to_vec()) {
                count(&manifest);
            }
            Ok(true)
        })?;
        self.rows.scan(Table::Versions, &[], &mut |key, row| {
            if let Ok(manifest) = records::decode(Table::Versions, key, row.to_vec()) {
                count(&manifest);
            }
            Ok(true)
        })?;
        Ok(sealed)
    }
}

#[cfg(test)]
impl Store {
    /// Damages every row of what this module can do without; returns how many.
    pub(crate) fn damage_what_follows(&self) -> usize {
        let mut keys = Vec::new();
        for table in [Table::Meta, Table::Deadlines, Table::Frames] {
            let mut note = |key: &[u8], _: &[u8]| keys.push((table, key.to_vec()));
            self.scan_raw(table, &mut note).unwrap();
        }
        let derived = |key: &[u8]| key.starts_with(HOLDING_PREFIX) || key.starts_with(SEEN_PREFIX) || key == SEALED_KEY;
        keys.retain(|(table, key)| *table != Table::Meta || derived(key));
        let count = keys.len();
        keys.into_iter()
            .for_each(|(table, key)| self.commit_raw(super::batch::Op::Put(table, key, vec![0; 40])).unwrap());
        count
    }
}

//! What the store knows beside objects: old versions, collections, and what is owed to the cloud.

use serde::de::DeserializeOwned;

use super::batch::{REMOVED_PREFIX, Table, head_key, version_key};
use super::records::{self, Chore, CollectionRecord, Owed};
use super::typed::Store;
use crate::error::Result;
use crate::limits::LIST_SCAN_MAX;
use crate::model::{Address, Head, KeyId, Manifest, Rest, Version};

/// A stretch of the objects of all collections.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// What was looked for and found.
    pub found: Vec<(Address, Manifest)>,
    /// Behind which address to go on; `None` at the end.
    pub next: Option<Address>,
}

impl Store {
    /// An old version that is still kept.
    pub fn old_version(&self, address: &Address, version: Version) -> Result<Option<Manifest>> {
        let key = version_key(address, version);
        let row = self.rows.get(Table::Versions, &key)?;
        row.map(|row| records::decode(Table::Versions, &key, row)).transpose()
    }

    /// Up to `limit` old versions of an object that are still kept, oldest first.
    pub fn old_versions(&self, address: &Address, limit: usize) -> Result<Vec<Manifest>> {
        let first = version_key(address, Version::from_be_bytes([0; 16]));
        let stem = first.get(..first.len() - 16).unwrap_or_default().to_vec();
        let mut found = Vec::new();
        self.rows.scan(Table::Versions, &first, &mut |key, row| {
            if found.len() >= limit || !key.starts_with(&stem) {
                return Ok(false);
            }
            found.push(records::decode(Table::Versions, key, row.to_vec())?);
            Ok(true)
        })?;
        Ok(found)
    }

    /// The newest old versions of an object that are still kept, newest first.
    pub fn latest_versions(&self, address: &Address, limit: usize) -> Result<Vec<Manifest>> {
        let [first, last] = [[0; 16], [u8::MAX; 16]].map(|bytes| version_key(address, Version::from_be_bytes(bytes)));
        let rows = self.rows.last(Table::Versions, &first, &last, limit)?;
        // A damaged row must not hide the others; `verify` names it.
        Ok(rows.into_iter().filter_map(|(key, row)| records::decode(Table::Versions, &key, row).ok()).collect())
    }

    /// Every collection by name. One whose row is damaged comes without its record.
    pub fn collections(&self) -> Result<Vec<(String, Option<CollectionRecord>)>> {
        let mut found = Vec::new();
        self.rows.scan(Table::Collections, &[], &mut |key, row| {
            let name = String::from_utf8_lossy(key).into_owned();
            found.push((name, records::decode(Table::Collections, key, row.to_vec()).ok()));
            Ok(true)
        })?;
        Ok(found)
    }

    /// Collections that were removed: name, revision and moment.
    pub fn removed_collections(&self) -> Result<Vec<(String, (u64, u64))>> {
        let mut found = Vec::new();
        self.rows.scan(Table::Meta, REMOVED_PREFIX, &mut |key, row| {
            let Some(name) = key.strip_prefix(REMOVED_PREFIX) else { return Ok(false) };
            if let Ok(removed) = records::decode(Table::Meta, key, row.to_vec()) {
                found.push((String::from_utf8_lossy(name).into_owned(), removed));
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// The key of the keyring that sealed one of the objects here, if a look at some of them finds one.
    pub fn sealing_key(&self) -> Result<Option<KeyId>> {
        let (mut found, mut seen) = (None, 0);
        self.rows.scan(Table::Heads, &[], &mut |key, row| {
            seen += 1;
            if let Ok(Head::Object(manifest)) = records::decode(Table::Heads, key, row.to_vec()) {
                found = manifest.seal.and_then(|seal| seal.key).map(|key| key.key);
            }
            Ok(found.is_none() && seen < LIST_SCAN_MAX)
        })?;
        Ok(found)
    }

    /// Whether the cloud is to get this version.
    pub fn owed(&self, version: Version) -> Result<Option<Owed>> {
        let key = version.to_be_bytes();
        let row = self.rows.get(Table::Owed, &key)?;
        row.map(|row| records::decode(Table::Owed, &key, row)).transpose()
    }

    /// Up to `limit` versions behind `after` that the cloud is to get and `wanted` takes, oldest first.
    pub fn owed_page(
        &self,
        after: Option<Version>,
        limit: usize,
        wanted: &dyn Fn(Version, &Owed) -> bool,
    ) -> Result<Vec<(Version, Owed)>> {
        self.debts(Table::Owed, after, limit, wanted)
    }

    /// What the cloud is to forget of this version.
    pub fn chore(&self, version: Version) -> Result<Option<Chore>> {
        let key = version.to_be_bytes();
        let row = self.rows.get(Table::Chores, &key)?;
        row.map(|row| records::decode(Table::Chores, &key, row)).transpose()
    }

    /// Up to `limit` things that the cloud is to forget and `wanted` takes, oldest first.
    pub fn chores(&self, limit: usize, wanted: &dyn Fn(Version, &Chore) -> bool) -> Result<Vec<(Version, Chore)>> {
        self.debts(Table::Chores, None, limit, wanted)
    }

    fn debts<T: DeserializeOwned>(
        &self,
        table: Table,
        after: Option<Version>,
        limit: usize,
        wanted: &dyn Fn(Version, &T) -> bool,
    ) -> Result<Vec<(Version, T)>> {
        let from = after.map(|after| [&after.to_be_bytes()[..], &[0]].concat()).unwrap_or_default();
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.rows.scan(table, &from, &mut |key, row| {
            let version = key.try_into().map(Version::from_be_bytes).map_err(|_| records::damaged(table, key))?;
            // A damaged row must not hold up the others; `verify` names it.
            if let Ok(debt) = records::decode(table, key, row.to_vec())
                && wanted(version, &debt)
            {
                found.push((version, debt));
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// A stretch of the objects of all collections that lie on disk and in the cloud: up to `limit` of those
    /// that `wanted` takes, among the next `scan` behind `after`. Says where to go on; `None` at the end.
    pub fn both_levels(
        &self,
        after: Option<&Address>,
        limit: usize,
        scan: usize,
        wanted: &dyn Fn(&Address, &Manifest) -> bool,
    ) -> Result<Stretch> {
        let from = after.map(|after| [&head_key(after.collection(), after.key())[..], &[0]].concat());
        let (mut found, mut seen, mut last) = (Vec::new(), 0, None);
        self.rows.scan(Table::Heads, &from.unwrap_or_default(), &mut |key, row| {
            let text = String::from_utf8_lossy(key).replacen('\0', "/", 1);
            let address: Address = text.parse().map_err(|_| records::damaged(Table::Heads, key))?;
            seen += 1;
            // A damaged row must not hold up the others; `verify` names it.
            if let Ok(Head::Object(manifest)) = records::decode(Table::Heads, key, row.to_vec())
                && manifest.seal.as_ref().is_some_and(|seal| matches!(seal.rest, Rest::Both(_)))
                && wanted(&address, &manifest)
            {
                found.push((address.clone(), manifest));
            }
            let more = seen < scan && found.len() < limit;
            last = (!more).then_some(address);
            Ok(more)
        })?;
        Ok(Stretch { found, next: last })
    }
}

//! What the store knows beside objects: old versions, what ends by itself, collections and what they hold.

use std::collections::BTreeMap;

use super::batch::{SEALED_KEY, SEEN_PREFIX, Table, USAGE_PREFIX, version_key};
use super::records::{self, CollectionRecord, Ending};
use super::typed::Store;
use crate::error::Result;
use crate::model::{Address, Incarnation, Manifest, Usage, Version};

impl Store {
    /// An old version that is still kept.
    pub fn old_version(&self, address: &Address, version: Version) -> Result<Option<Manifest>> {
        let key = version_key(address, version);
        let row = self.db.get(Table::Versions, &key)?;
        row.map(|row| records::decode(Table::Versions, &key, row)).transpose()
    }

    /// Up to `limit` old versions of an object that are still kept, oldest first.
    pub fn old_versions(&self, address: &Address, limit: usize) -> Result<Vec<Manifest>> {
        let first = version_key(address, Version::from_be_bytes([0; 16]));
        let stem = first.get(..first.len() - 16).unwrap_or_default().to_vec();
        let mut found = Vec::new();
        self.db.scan(Table::Versions, &first, &mut |key, row| {
            if found.len() >= limit || !key.starts_with(&stem) {
                return Ok(false);
            }
            found.push(records::decode(Table::Versions, key, row.to_vec())?);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Up to `limit` things that were to end at or before `now_ms`, earliest first.
    pub fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<(u64, Ending)>> {
        let mut found = Vec::new();
        self.db.scan(Table::Deadlines, &[], &mut |key, row| {
            let at_ms = key.first_chunk().map(|at| u64::from_be_bytes(*at)).unwrap_or_default();
            if found.len() >= limit || at_ms > now_ms {
                return Ok(false);
            }
            found.push((at_ms, records::decode(Table::Deadlines, key, row.to_vec())?));
            Ok(true)
        })?;
        Ok(found)
    }

    /// Every collection by name. One whose row is damaged comes without its record.
    pub fn collections(&self) -> Result<Vec<(String, Option<CollectionRecord>)>> {
        let mut found = Vec::new();
        self.db.scan(Table::Collections, &[], &mut |key, row| {
            let name = String::from_utf8_lossy(key).into_owned();
            found.push((name, records::decode(Table::Collections, key, row.to_vec()).ok()));
            Ok(true)
        })?;
        Ok(found)
    }

    /// What the durable objects of each collection come to.
    pub fn usages(&self) -> Result<BTreeMap<String, Usage>> {
        let mut found = BTreeMap::new();
        self.db.scan(Table::Meta, USAGE_PREFIX, &mut |key, row| {
            let Some(name) = key.strip_prefix(USAGE_PREFIX) else { return Ok(false) };
            let usage = records::decode(Table::Meta, key, row.to_vec())?;
            found.insert(String::from_utf8_lossy(name).into_owned(), usage);
            Ok(true)
        })?;
        Ok(found)
    }

    /// How far the changes of each incarnation are here.
    pub fn seen(&self) -> Result<BTreeMap<Incarnation, u64>> {
        let mut found = BTreeMap::new();
        self.db.scan(Table::Meta, SEEN_PREFIX, &mut |key, row| {
            let Some(name) = key.strip_prefix(SEEN_PREFIX) else { return Ok(false) };
            let name: [u8; 8] = name.try_into().map_err(|_| records::damaged(Table::Meta, key))?;
            let seq = records::decode(Table::Meta, key, row.to_vec())?;
            found.insert(Incarnation(u64::from_be_bytes(name)), seq);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Sealed bytes on disk, as last committed.
    pub fn sealed_bytes(&self) -> Result<u64> {
        Ok(self.number(SEALED_KEY)?.unwrap_or_default())
    }
}

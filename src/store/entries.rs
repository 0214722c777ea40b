//! Every object of the store in order, over all collections: for whoever inspects a container.

use super::batch::Table;
use super::records;
use super::typed::Store;
use crate::error::Result;
use crate::model::{Address, Head, Manifest};

impl Store {
    /// Up to `limit` objects whose addresses start with `prefix` and come after `after`, by the bytes
    /// of collection and key. Tombstones are passed over.
    pub fn entries(&self, prefix: &str, after: Option<&Address>, limit: usize) -> Result<Vec<(Address, Manifest)>> {
        let stem = row_key(prefix);
        let behind = after.map(|after| [row_key(after.as_str()), vec![0]].concat()).unwrap_or_default();
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.each(stem.clone().max(behind), |key, address, manifest| {
            if !key.starts_with(&stem) {
                return false;
            }
            found.push((address, manifest));
            found.len() < limit
        })?;
        Ok(found)
    }

    fn each(&self, from: Vec<u8>, mut visit: impl FnMut(&[u8], Address, Manifest) -> bool + Send) -> Result<()> {
        self.rows.scan(Table::Heads, &from, &mut |key, row| {
            let head: Head = records::decode(Table::Heads, key, row.to_vec())?;
            let Head::Object(manifest) = head else { return Ok(true) };
            let text = std::str::from_utf8(key).ok().map(|text| text.replacen('\0', "/", 1));
            let address = text.and_then(|text| text.parse().ok());
            Ok(visit(key, address.ok_or_else(|| records::damaged(Table::Heads, key))?, manifest))
        })
    }
}

/// An address, or the start of one, as rows spell it.
fn row_key(address: &str) -> Vec<u8> {
    address.replacen('/', "\0", 1).into_bytes()
}

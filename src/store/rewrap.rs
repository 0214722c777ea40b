//! What a rewrap remembers over restarts: which key wraps from now on, and how far the walk is.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Table};
use super::records;
use super::typed::Store;
use super::walk::WalkPlace;
use crate::error::Result;
use crate::model::KeyId;

/// Meta: what the rewrap remembers.
const REWRAP_KEY: &[u8] = b"rewrap";

/// The last rewrap: under way, or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapRecord {
    /// The key that wraps.
    pub key: KeyId,
    /// How far the walk is; `None` at its beginning.
    pub place: Option<WalkPlace>,
    /// Data keys that were wrapped anew.
    pub rewrapped: u64,
    /// Of those, how many since the walk began: it ends when a whole walk finds none, so that what was
    /// committed while the key changed is met as well.
    pub this_walk: u64,
    /// Those that could not be, in this walk.
    pub failed: u64,
    /// Why the last of those could not be.
    pub last_error: Option<String>,
    /// Wall-clock milliseconds since 1970 when it began.
    pub started_ms: u64,
    /// The same when it ended.
    pub ended_ms: Option<u64>,
}

impl RewrapRecord {
    /// A rewrap that begins now.
    pub fn begin(key: KeyId, now_ms: u64) -> Self {
        RewrapRecord {
            key,
            place: None,
            rewrapped: 0,
            this_walk: 0,
            failed: 0,
            last_error: None,
            started_ms: now_ms,
            ended_ms: None,
        }
    }

    /// The walk is at this place; at none it is over, and another one begins unless this one met nothing
    /// to do.
    pub fn walked(&mut self, place: Option<WalkPlace>, now_ms: u64) {
        if place.is_none() {
            if self.this_walk == 0 {
                self.ended_ms = Some(now_ms);
            } else {
                self.failed = 0;
            }
            self.this_walk = 0;
        }
        self.place = place;
    }
}

impl Batch {
    /// Remembers how far the rewrap is.
    pub fn put_rewrap(&mut self, record: &RewrapRecord) {
        self.put(Table::Meta, REWRAP_KEY.to_vec(), records::encode(REWRAP_KEY, record));
    }
}

impl Store {
    /// What the rewrap remembers. A record that is damaged is as good as none: the walk begins anew.
    pub fn rewrap_record(&self) -> Result<Option<RewrapRecord>> {
        let row = self.rows.get(Table::Meta, REWRAP_KEY)?;
        Ok(row.and_then(|row| records::decode(Table::Meta, REWRAP_KEY, row).ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Fs, SimFs, StoreOptions};
    use super::*;
    use crate::model::SeededRng;

    #[test]
    fn it_ends_with_a_walk_that_finds_nothing_and_is_remembered() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
        assert_eq!(store.rewrap_record().unwrap(), None);
        let mut record = RewrapRecord::begin(KeyId([1; 8]), 5);
        (record.rewrapped, record.this_walk, record.failed) = (3, 3, 1);
        record.walked(None, 6);
        assert_eq!((record.ended_ms, record.this_walk, record.failed), (None, 0, 0));
        record.failed = 1;
        record.walked(None, 7);
        assert_eq!((record.ended_ms, record.rewrapped, record.failed), (Some(7), 3, 1));
        let mut batch = Batch::new();
        batch.put_rewrap(&record);
        store.commit(&batch).unwrap();
        assert_eq!(store.rewrap_record().unwrap(), Some(record));
    }
}

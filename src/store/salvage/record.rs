//! What is remembered of a salvage, until its losses are accepted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::COMMIT_CHANGES_MAX;
use crate::model::{Address, FrameId, Head};
use crate::store::batch::{Batch, Table};
use crate::store::records;
use crate::store::typed::Store;
use crate::store::walk::address_of;

/// Meta: what is remembered of the last salvage.
const SALVAGE_KEY: &[u8] = b"salvage";

/// Names that are kept of what is missing.
pub(super) const MISSING_MAX: usize = 1000;

/// What became of a damaged store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageRecord {
    /// Wall-clock milliseconds since 1970.
    pub at_ms: u64,
    /// The file in the data folder that holds the damaged store.
    pub damaged: String,
    /// What was wrong with it.
    pub why: String,
    /// Rows that could be read.
    pub rows: u64,
    /// Pages that could not.
    pub lost_pages: u64,
    /// Rows that were seen and could not be read; those on lost pages cannot be counted.
    pub lost_rows: u64,
    /// The tables that lost something.
    pub tables: Vec<String>,
    /// Addresses known to have held something that is lost; there may be others.
    pub missing: Vec<String>,
    /// Whether what is not found may have been lost. Until somebody accepts that, nobody is told that an
    /// object does not exist.
    pub incomplete: bool,
}

impl Batch {
    /// Remembers a salvage.
    pub(super) fn put_salvage(&mut self, record: &SalvageRecord) {
        self.put(Table::Meta, SALVAGE_KEY.to_vec(), records::encode(SALVAGE_KEY, record));
    }
}

impl Store {
    /// What is remembered of the last salvage, if there was one.
    pub fn salvage_record(&self) -> Result<Option<SalvageRecord>> {
        let row = self.rows.get(Table::Meta, SALVAGE_KEY)?;
        row.map(|row| records::decode(Table::Meta, SALVAGE_KEY, row)).transpose()
    }

    /// Accepts what a salvage lost: what is not found from now on does not exist. Frames whose object is lost
    /// are let go. Returns how many those were.
    pub fn accept_losses(&self) -> Result<u64> {
        let Some(record) = self.salvage_record()? else { return Ok(0) };
        let mut unnamed = Vec::new();
        self.rows.scan(Table::Frames, &[], &mut |key, row| {
            if let (Ok(frame), Ok(owner)) = (key.try_into(), records::unwrap(Table::Frames, key, row.to_vec())) {
                unnamed.push((FrameId(frame), owner));
            }
            Ok(true)
        })?;
        let mut named = BTreeSet::new();
        self.each_seal(&mut |frame| {
            named.insert(frame);
            Ok(())
        })?;
        unnamed.retain(|(frame, _)| !named.contains(frame));
        for part in unnamed.chunks(COMMIT_CHANGES_MAX) {
            let mut batch = Batch::new();
            part.iter().for_each(|(frame, _)| batch.discard_frame(*frame));
            self.commit(&batch)?;
        }
        let mut batch = Batch::new();
        batch.put_salvage(&SalvageRecord { incomplete: false, ..record });
        self.commit(&batch)?;
        Ok(unnamed.len() as u64)
    }

    /// Shows the frame of every head and old version that can be read.
    pub(super) fn each_seal(&self, see: &mut dyn FnMut(FrameId) -> Result<()>) -> Result<()> {
        self.rows.scan(Table::Heads, &[], &mut |key, row| {
            if let Ok(Head::Object(manifest)) = records::decode(Table::Heads, key, row.to_vec()) {
                manifest.seal.iter().try_for_each(|seal| see(seal.frame))?;
            }
            Ok(true)
        })?;
        self.rows.scan(Table::Versions, &[], &mut |key, row| {
            if let Ok(manifest) = records::decode::<crate::model::Manifest>(Table::Versions, key, row.to_vec()) {
                manifest.seal.iter().try_for_each(|seal| see(seal.frame))?;
            }
            Ok(true)
        })
    }

    /// Addresses that own a frame and have no head.
    pub(super) fn headless(&self, most: usize) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        self.rows.scan(Table::Frames, &[], &mut |key, row| {
            let owner = records::unwrap(Table::Frames, key, row.to_vec()).ok();
            let owner = owner.and_then(|owner| std::str::from_utf8(&owner).ok()?.parse::<Address>().ok());
            if let Some(owner) = owner.filter(|owner| matches!(self.head(owner), Ok(None))) {
                found.insert(owner.to_string());
            }
            Ok(found.len() < most)
        })?;
        Ok(found)
    }
}

/// The address that a lost key of this table named.
pub(super) fn named(table: Table, key: &[u8]) -> Option<String> {
    matches!(table, Table::Heads | Table::Versions)
        .then(|| address_of(key))
        .flatten()
        .map(|address| address.to_string())
}

/// What a read that finds nothing is told in a store with losses.
pub fn lost(address: &Address) -> Error {
    Error::corrupt(
        "the store was damaged and salvaged with losses, and whether this object was among them is not known; push it again, restore it, or accept the losses with `meshstore admin repair`",
    )
    .with("address", address)
}

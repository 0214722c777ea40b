//! The readers of rows and of the database's pages, for the fuzz targets (docs/fuzzing.md): a build without tests
//! and without `cfg(fuzzing)` has no such module.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Table, deadline_of};
use super::journal::{self, Mark};
use super::records::{self, Chore, CollectionRecord, Ending, Owed, QuarantineRecord};
use super::{FaultFs, Fs, RewrapRecord, SalvageRecord, ScrubRecord, SimFs};
use crate::error::Result;
use crate::model::{Head, Holding, Manifest, TokenRecord};

/// Reads a row as the record of this number and writes what was read again.
type Again = fn(&[u8], Vec<u8>) -> Result<Vec<u8>>;

/// Every record that a row may hold.
pub const RECORDS: [Again; 11] = [
    again::<Head>,
    again::<Manifest>,
    again::<CollectionRecord>,
    again::<Ending>,
    again::<Owed>,
    again::<Chore>,
    again::<QuarantineRecord>,
    again::<TokenRecord>,
    again::<ScrubRecord>,
    again::<RewrapRecord>,
    again::<SalvageRecord>,
];

fn again<T: Serialize + DeserializeOwned>(key: &[u8], row: Vec<u8>) -> Result<Vec<u8>> {
    records::decode::<T>(Table::Meta, key, row).map(|record| records::encode(key, &record))
}

/// The row of any bytes, with the checksum that lets them in.
pub fn row(key: &[u8], value: &[u8]) -> Vec<u8> {
    records::wrap(key, value.to_vec())
}

/// The bytes of a row, once checked.
pub fn value(key: &[u8], row: Vec<u8>) -> Result<Vec<u8>> {
    records::unwrap(Table::Inline, key, row).map(Into::into)
}

/// What the key of a deadline says.
pub fn deadline(key: &[u8]) -> Option<Ending> {
    deadline_of(key)
}

/// What a holding's row says.
pub fn holding(key: &[u8], row: Vec<u8>) -> Result<Holding> {
    records::decode(Table::Meta, key, row)
}

/// A record of the journal: its journal, generation and number, up to where all was synced before it, and any bytes
/// as its changes.
pub fn journal_record([journal, generation, record]: [u64; 3], synced: u64, changes: &[u8]) -> Vec<u8> {
    journal::record_of(&Mark { journal, generation, record }, synced, changes)
}

/// What was read of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JournalRead {
    /// Table, key, and the row unless it was taken away.
    pub rows: Vec<(u8, Vec<u8>, Option<Vec<u8>>)>,
    /// What is missing.
    pub damage: Option<&'static str>,
}

/// Reads a journal of these files, of which some bytes are bad sectors, from a record on.
pub fn read_journal(files: [&[u8]; 2], bad: &[(usize, u64)], from: Option<[u64; 3]>) -> io::Result<JournalRead> {
    let names = [Path::new("/0"), Path::new("/1")];
    let fs = FaultFs::new(Arc::new(SimFs::new(0)));
    for (name, bytes) in names.into_iter().zip(files) {
        fs.create(name)?.write_all_at(bytes, 0)?;
    }
    for (name, at) in bad.iter().filter_map(|(file, at)| Some((names.get(*file)?, *at))) {
        fs.ruin(name, at..at.saturating_add(1));
    }
    let [even, odd] = names.map(|name| fs.open(name));
    let from = from.map(|[journal, generation, record]| Mark { journal, generation, record });
    let left = journal::read(&[even?, odd?], from)?;
    let held = left.rows.hold();
    let rows = held.rows().map(|(table, key, row)| (table as u8, key.to_vec(), row.map(<[u8]>::to_vec)));
    Ok(JournalRead { rows: rows.collect(), damage: left.damage })
}

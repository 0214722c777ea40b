//! The readers of rows and of the database's pages, for the fuzz targets (docs/fuzzing.md): a build without tests
//! and without `cfg(fuzzing)` has no such module.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Table, deadline_of};
use super::records::{self, Chore, CollectionRecord, Ending, Owed, QuarantineRecord};
use super::{RewrapRecord, SalvageRecord, ScrubRecord};
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

//! How a row is written: its value, then a checksum over key and value, so that a damaged or
//! misplaced row is told from a good one whatever the database believes.

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::batch::Table;
use crate::error::{Error, Result};
use crate::model::{Address, CollectionPolicy, FrameId, Version};

/// Why a frame is not to be read any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// The object it held.
    #[serde(serialize_with = "address_to_text", deserialize_with = "address_from_text")]
    pub address: Address,
    /// The version it held.
    pub version: Version,
    /// What was wrong with it.
    pub why: String,
    /// Wall-clock milliseconds since 1970.
    pub at_ms: u64,
}

/// A collection as it was last set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionRecord {
    /// What it asks for.
    pub policy: CollectionPolicy,
    /// One more with each change.
    pub revision: u64,
    /// Wall-clock milliseconds since 1970 when it was made.
    pub created_ms: u64,
    /// The same when it was last changed.
    pub changed_ms: u64,
}

/// What ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// An old version is no longer kept.
    Version(#[serde(serialize_with = "address_to_text", deserialize_with = "address_from_text")] Address, Version),
    /// An object has lived as long as it was to.
    Life(#[serde(serialize_with = "address_to_text", deserialize_with = "address_from_text")] Address, Version),
    /// Everybody has heard of a delete.
    Tombstone(#[serde(serialize_with = "address_to_text", deserialize_with = "address_from_text")] Address, Version),
}

/// A copy that the cloud is to get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The object, at the version that the row is named by.
    #[serde(serialize_with = "address_to_text", deserialize_with = "address_from_text")]
    pub address: Address,
    /// Sealed bytes.
    pub bytes: u64,
    /// Whether an attempt was made: then the cloud may hold something for which there is no receipt.
    pub begun: bool,
    /// Whether the cloud may have an older version as the newest.
    pub behind: bool,
}

/// What the cloud is to forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chore {
    /// The object whose head goes, at the version that the row is named by and below.
    #[serde(serialize_with = "address_to_text", deserialize_with = "address_from_text")]
    pub address: Address,
    /// The frame that goes with it; without one the frame stays for the readers of an old version.
    pub frame: Option<FrameId>,
}

fn address_to_text<S: Serializer>(address: &Address, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(address.as_str())
}

fn address_from_text<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Address, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// What a row has behind what was put into it.
pub const ROW_CHECK_BYTES: usize = 4;

/// Room for a usual record, so that its row is not moved while it is written.
const ROW_BYTES: usize = 256;

fn checksum(key: &[u8], value: &[u8]) -> [u8; ROW_CHECK_BYTES] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize().to_le_bytes()
}

/// The row of plain bytes.
pub(super) fn wrap(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = checksum(key, &value);
    value.extend_from_slice(&crc);
    value
}

/// The row of a record.
pub(super) fn encode<T: Serialize + ?Sized>(key: &[u8], record: &T) -> Vec<u8> {
    // Records are plain structs without maps of unknown length, which postcard can always write;
    // were that ever wrong, the empty row would fail its check at the first read.
    wrap(key, postcard::to_extend(record, Vec::with_capacity(ROW_BYTES)).unwrap_or_default())
}

/// The plain bytes of a row, once checked.
pub(super) fn unwrap(table: Table, key: &[u8], row: impl Into<Bytes>) -> Result<Bytes> {
    let mut row = row.into();
    let length = row.len().checked_sub(ROW_CHECK_BYTES).ok_or_else(|| damaged(table, key))?;
    let (value, crc) = row.split_at(length);
    if checksum(key, value) != crc {
        return Err(damaged(table, key));
    }
    row.truncate(length);
    Ok(row)
}

/// The record of a row, once checked.
pub(super) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], row: impl Into<Bytes>) -> Result<T> {
    let value = unwrap(table, key, row)?;
    postcard::from_bytes(&value).map_err(|error| damaged(table, key).because(error))
}

/// The error for a row that fails its check.
pub(super) fn damaged(table: Table, key: &[u8]) -> Error {
    Error::corrupt("a record of the store fails its check; restore the object from another copy")
        .with("table", table.name())
        .with("key", key.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_row_round_trips_under_its_own_key_only() {
        let row = encode(b"key", &(7u64, "text"));
        assert_eq!(decode::<(u64, String)>(Table::Meta, b"key", row.clone()).unwrap(), (7, "text".to_owned()));
        let error = decode::<(u64, String)>(Table::Meta, b"kez", row).unwrap_err();
        assert_eq!(
            (error.kind(), error.context("table"), error.context("key")),
            (Kind::Corrupt, Some("meta"), Some("kez"))
        );
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let row = wrap(b"key", b"some value".to_vec());
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap(Table::Inline, b"key", bad).unwrap_err().kind(), Kind::Corrupt);
        }
        for length in 0..row.len() {
            assert!(unwrap(Table::Inline, b"key", row[..length].to_vec()).is_err());
        }
    }
}

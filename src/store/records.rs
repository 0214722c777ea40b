//! The tables, their keys, and records with a checksum each: a damaged one is an error, never data.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Address, Version};

/// The number of this format. A store with a higher one was written by a newer version.
pub const FORMAT: u64 = 1;

/// Keys of the `meta` table.
pub const FORMAT_KEY: &[u8] = b"format";
/// The container's identity.
pub const CONTAINER: &[u8] = b"container";
/// No version above it has been given out.
pub const CEILING: &[u8] = b"ceiling";

const CHECKSUM_BYTES: usize = 4;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `collection 0 key` -> the newest thing known there.
    Heads,
    /// Version -> a small frame.
    Inline,
    /// Frame id of a file -> whose it is.
    Frames,
    /// Frame id of a file that is owed an unlink.
    Discards,
    /// Frame id -> why it is in quarantine.
    Quarantine,
    /// Single values.
    Meta,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 6] =
        [Table::Heads, Table::Inline, Table::Frames, Table::Discards, Table::Quarantine, Table::Meta];

    /// The table's name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Heads => "heads",
            Table::Inline => "inline",
            Table::Frames => "frames",
            Table::Discards => "discards",
            Table::Quarantine => "quarantine",
            Table::Meta => "meta",
        }
    }
}

/// Why a frame is in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// `collection/key` of the object whose bytes it held.
    pub address: String,
    /// Of that object.
    pub version: Version,
    /// What failed.
    pub why: String,
    /// Wall-clock milliseconds since 1970 when it was found.
    pub at_ms: u64,
}

/// Heads sort by collection, then by key; 0 sorts before every byte of a name.
pub fn head_key(collection: &str, key: &str) -> Vec<u8> {
    [collection.as_bytes(), &[0], key.as_bytes()].concat()
}

/// The key part of a head's key.
pub fn key_of(head_key: &[u8]) -> Result<String> {
    let key = head_key.iter().position(|byte| *byte == 0).and_then(|zero| head_key.get(zero + 1..));
    let text = key.and_then(|key| std::str::from_utf8(key).ok());
    text.map(str::to_owned).ok_or_else(|| damaged(Table::Heads, head_key))
}

/// A record of a value.
pub fn encode(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    // Serialising our own plain types into a growing vector cannot fail.
    checked(postcard::to_stdvec(value).unwrap_or_default())
}

/// A record of bytes.
pub fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The bytes of a record whose checksum holds.
pub fn check<'a>(table: Table, key: &[u8], record: &'a [u8]) -> Result<&'a [u8]> {
    let split = record.len().checked_sub(CHECKSUM_BYTES).and_then(|at| record.split_at_checked(at));
    let whole = split.filter(|(bytes, sum)| crc32fast::hash(bytes).to_le_bytes() == *sum);
    whole.map(|(bytes, _)| bytes).ok_or_else(|| damaged(table, key))
}

/// The value of a record.
pub fn decode<T: DeserializeOwned>(table: Table, key: &[u8], record: &[u8]) -> Result<T> {
    postcard::from_bytes(check(table, key, record)?).map_err(|error| damaged(table, key).because(error))
}

/// The address in a frame's record.
pub fn address_of(table: Table, key: &[u8], record: &[u8]) -> Result<Address> {
    decode::<String>(table, key, record)?.parse()
}

fn damaged(table: Table, key: &[u8]) -> Error {
    Error::corrupt("a record of the store is damaged").with("table", table.name()).with("key", key.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_of_a_record_is_an_error() {
        let record = encode(&(7_u64, "text"));
        assert_eq!(decode::<(u64, String)>(Table::Meta, b"k", &record).unwrap(), (7, "text".to_owned()));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = decode::<(u64, String)>(Table::Meta, b"k", &bad).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Corrupt);
        }
        for cut in 0..record.len() {
            assert!(check(Table::Meta, b"k", &record[..cut]).is_err());
        }
    }

    #[test]
    fn head_keys_sort_as_collection_then_key() {
        assert!(head_key("a", "z") < head_key("a-b", "a"));
        assert_eq!(key_of(&head_key("a", "x/y")).unwrap(), "x/y");
    }
}

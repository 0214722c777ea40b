//! Typed changes of the records that become durable together.

use bytes::Bytes;

use super::records::{self, QuarantineRecord, Table};
use crate::model::{Address, FrameId, Head, Version};

/// An ordered set of changes; [`Store::commit`](super::Store::commit) makes all of them durable or none.
#[derive(Default)]
pub struct Batch {
    pub(super) changes: Vec<(Table, Vec<u8>, Option<Record>)>,
    bytes: usize,
}

/// The bytes of a record, with its checksum.
pub(super) struct Record(pub(super) Vec<u8>);

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and records.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What an address holds from now on.
    pub fn put_head(&mut self, address: &Address, head: &Head) {
        self.put(Table::Heads, records::head_key(address.collection(), address.key()), records::encode(head));
    }

    /// An address is unknown from now on.
    pub fn remove_head(&mut self, address: &Address) {
        self.remove(Table::Heads, records::head_key(address.collection(), address.key()));
    }

    /// The frame of this version rests in the store.
    pub fn put_inline(&mut self, version: Version, frame: Bytes) {
        self.put(Table::Inline, version.to_be_bytes().to_vec(), records::checked(frame.to_vec()));
    }

    /// The frame of this version is dropped.
    pub fn remove_inline(&mut self, version: Version) {
        self.remove(Table::Inline, version.to_be_bytes().to_vec());
    }

    /// A frame file belongs to this address.
    pub fn own_frame(&mut self, frame: FrameId, address: &Address) {
        self.put(Table::Frames, frame.0.to_vec(), records::encode(address.as_str()));
    }

    /// A frame file belongs to nobody any more, and is owed an unlink.
    pub fn discard_frame(&mut self, frame: FrameId) {
        self.remove(Table::Frames, frame.0.to_vec());
        self.release_quarantine(frame);
        self.put(Table::Discards, frame.0.to_vec(), records::encode(&()));
    }

    /// A discarded frame file has been unlinked.
    pub fn discarded(&mut self, frame: FrameId) {
        self.remove(Table::Discards, frame.0.to_vec());
    }

    /// A frame failed its check.
    pub fn quarantine(&mut self, frame: FrameId, record: &QuarantineRecord) {
        self.put(Table::Quarantine, frame.0.to_vec(), records::encode(record));
    }

    /// A frame that failed its check is of no interest any more.
    pub fn release_quarantine(&mut self, frame: FrameId) {
        self.remove(Table::Quarantine, frame.0.to_vec());
    }

    /// No version above this has been given out.
    pub fn raise_ceiling(&mut self, ceiling: u64) {
        self.put(Table::Meta, records::CEILING.to_vec(), records::encode(&ceiling));
    }

    pub(super) fn put_meta(&mut self, name: &[u8], value: &u64) {
        self.put(Table::Meta, name.to_vec(), records::encode(value));
    }

    fn put(&mut self, table: Table, key: Vec<u8>, record: Vec<u8>) {
        self.bytes += key.len() + record.len();
        self.changes.push((table, key, Some(Record(record))));
    }

    fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.bytes += key.len();
        self.changes.push((table, key, None));
    }
}

//! What one commit changes, in typed steps. A batch knows nothing of the database beneath.

use bytes::Bytes;

use super::records::{self, QuarantineRecord};
use crate::model::{Address, FrameId, Head, Version};

/// The tables of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Collection, 0, key: the head.
    Heads,
    /// Version, sorted as versions are and so appended: the sealed bytes of a small object.
    Inline,
    /// Frame: the address of the head that owns its file.
    Frames,
    /// Frame: nothing; its file is to be unlinked.
    Discards,
    /// Frame: why it is not to be read.
    Quarantine,
    /// What holds for the whole store.
    Meta,
}

impl Table {
    pub(super) const ALL: [Table; 6] =
        [Table::Heads, Table::Inline, Table::Frames, Table::Discards, Table::Quarantine, Table::Meta];

    pub(super) const fn name(self) -> &'static str {
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

/// Meta: the number of the store's format.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Meta: the container's identity.
pub(super) const CONTAINER_KEY: &[u8] = b"container";
/// Meta: below this, versions may have been given.
pub(super) const CEILING_KEY: &[u8] = b"ceiling";

pub(super) fn head_key(collection: &str, key: &str) -> Vec<u8> {
    // Neither part can hold a 0, so collections never run into each other.
    [collection.as_bytes(), &[0], key.as_bytes()].concat()
}

pub(super) enum Op {
    Put(Table, Vec<u8>, Vec<u8>),
    Remove(Table, Vec<u8>),
    /// Sets a number of the meta table unless it is higher already.
    Raise(&'static [u8], u64),
}

/// Changes that become durable together or not at all, in the order they were added.
#[derive(Default)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Makes this the head at the address.
    pub fn put_head(&mut self, address: &Address, head: &Head) {
        let key = head_key(address.collection(), address.key());
        let row = records::encode(&key, head);
        self.put(Table::Heads, key, row);
    }

    /// Forgets the address altogether, once its tombstone has served.
    pub fn remove_head(&mut self, address: &Address) {
        self.remove(Table::Heads, head_key(address.collection(), address.key()));
    }

    /// Keeps the sealed bytes of a small object.
    pub fn put_inline(&mut self, version: Version, frame: Bytes) {
        let key = version.to_be_bytes().to_vec();
        let row = records::wrap(&key, frame.into());
        self.put(Table::Inline, key, row);
    }

    /// Drops the sealed bytes of a small object.
    pub fn remove_inline(&mut self, version: Version) {
        self.remove(Table::Inline, version.to_be_bytes().to_vec());
    }

    /// Notes that the frame's file belongs to the head at this address.
    pub fn own_frame(&mut self, frame: FrameId, address: &Address) {
        let key = frame.0.to_vec();
        let row = records::wrap(&key, address.as_str().into());
        self.put(Table::Frames, key, row);
    }

    /// Ends the ownership of the frame's file and notes that the file is to be unlinked.
    pub fn discard_frame(&mut self, frame: FrameId) {
        self.remove(Table::Frames, frame.0.to_vec());
        self.release_quarantine(frame);
        let row = records::wrap(&frame.0, Vec::new());
        self.put(Table::Discards, frame.0.to_vec(), row);
    }

    /// Notes that the discarded frame's file is gone.
    pub fn discarded(&mut self, frame: FrameId) {
        self.remove(Table::Discards, frame.0.to_vec());
    }

    /// Notes that the frame is damaged and kept for a look only.
    pub fn quarantine(&mut self, frame: FrameId, record: &QuarantineRecord) {
        let row = records::encode(&frame.0, record);
        self.put(Table::Quarantine, frame.0.to_vec(), row);
    }

    /// Notes that a damaged frame is of no interest any more: its object was replaced.
    pub fn release_quarantine(&mut self, frame: FrameId) {
        self.remove(Table::Quarantine, frame.0.to_vec());
    }

    /// Reserves versions up to this one; a lower ceiling than the store's own changes nothing.
    pub fn raise_ceiling(&mut self, ceiling: u64) {
        self.bytes += CEILING_KEY.len() + size_of::<u64>();
        self.ops.push(Op::Raise(CEILING_KEY, ceiling));
    }

    /// Bytes of keys and rows in the batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn put_number(&mut self, key: &[u8], number: u64) {
        self.put(Table::Meta, key.to_vec(), records::encode(key, &number));
    }

    pub(super) fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether the batch takes rows away, and so may make room.
    pub(super) fn removes(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Remove(..)))
    }

    fn put(&mut self, table: Table, key: Vec<u8>, row: Vec<u8>) {
        self.bytes += key.len() + row.len();
        self.ops.push(Op::Put(table, key, row));
    }

    fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.bytes += key.len();
        self.ops.push(Op::Remove(table, key));
    }
}

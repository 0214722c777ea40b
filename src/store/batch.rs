//! What one commit changes, in typed steps. A batch knows nothing of the database beneath.

use super::records::{self, Chore, CollectionRecord, Ending, Owed, QuarantineRecord};
use crate::model::{Address, FrameId, Head, Holding, Incarnation, Manifest, Name, Version};

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
    /// Collection, 0, key, 0, version: an object's old version that is still kept.
    Versions,
    /// Milliseconds, kind, and what it is about: what ends by itself then.
    Deadlines,
    /// Name: the collection's policy.
    Collections,
    /// Version: the object that the cloud is to get at it.
    Owed,
    /// Version: what the cloud is to forget of it.
    Chores,
    /// Token: who bears it and what it allows.
    Tokens,
    /// Collection, 0, key: what another container of the site keeps there.
    Catalog,
    /// What holds for the whole store.
    Meta,
    /// What is known of other sites: which there are, who is of them, how far their news were heard.
    Mesh,
}

impl Table {
    pub(super) const ALL: [Table; 14] = [
        Table::Heads,
        Table::Inline,
        Table::Frames,
        Table::Discards,
        Table::Quarantine,
        Table::Versions,
        Table::Deadlines,
        Table::Collections,
        Table::Owed,
        Table::Chores,
        Table::Tokens,
        Table::Catalog,
        Table::Meta,
        Table::Mesh,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Table::Heads => "heads",
            Table::Inline => "inline",
            Table::Frames => "frames",
            Table::Discards => "discards",
            Table::Quarantine => "quarantine",
            Table::Versions => "versions",
            Table::Deadlines => "deadlines",
            Table::Collections => "collections",
            Table::Owed => "owed",
            Table::Chores => "chores",
            Table::Tokens => "tokens",
            Table::Catalog => "catalog",
            Table::Meta => "meta",
            Table::Mesh => "mesh",
        }
    }
}

/// Meta: the number of the store's format.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Meta: from where on the journal has what the database lacks.
pub(super) const JOURNAL_KEY: &[u8] = b"journal";
/// Meta: the container's identity.
pub(super) const CONTAINER_KEY: &[u8] = b"container";
/// Meta: below this, versions may have been given.
pub(super) const CEILING_KEY: &[u8] = b"ceiling";

pub(super) fn head_key(collection: &str, key: &str) -> Vec<u8> {
    // Neither part can hold a 0, so collections never run into each other.
    [collection.as_bytes(), &[0], key.as_bytes()].concat()
}

/// Behind the head's key a 0 and the version's bytes: no key holds a 0, so no object's versions run into
/// another's.
pub(super) fn version_key(address: &Address, version: Version) -> Vec<u8> {
    [&head_key(address.collection(), address.key()), &[0][..], &version.to_be_bytes()].concat()
}

/// Sorted by time. The rest only makes the key unique; the row says what it is about.
fn deadline_key(at_ms: u64, what: &Ending) -> Vec<u8> {
    let (kind, address, version) = match what {
        Ending::Version(address, version) => (0, address, version),
        Ending::Life(address, version) => (1, address, version),
        Ending::Tombstone(address, version) => (2, address, version),
    };
    [&at_ms.to_be_bytes()[..], &[kind], &version.to_be_bytes(), address.as_str().as_bytes()].concat()
}

/// What a deadline's key says it is about, should its row be damaged.
pub(super) fn deadline_of(key: &[u8]) -> Option<Ending> {
    let (_, rest) = key.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (version, address) = rest.split_first_chunk()?;
    let version = Version::from_be_bytes(*version);
    let address = std::str::from_utf8(address).ok()?.parse().ok()?;
    match kind {
        0 => Some(Ending::Version(address, version)),
        1 => Some(Ending::Life(address, version)),
        2 => Some(Ending::Tombstone(address, version)),
        _ => None,
    }
}

/// Meta: sealed bytes on disk.
pub(super) const SEALED_KEY: &[u8] = b"sealed";
/// Meta: before a collection's name, what it holds and owes.
pub(super) const HOLDING_PREFIX: &[u8] = b"holding:";
/// Meta: before a collection's name, at which revision and when it was removed.
pub(super) const REMOVED_PREFIX: &[u8] = b"removed:";
/// Meta: before an incarnation, how far its changes are here.
pub(super) const SEEN_PREFIX: &[u8] = b"seen:";

fn holding_key(collection: &str) -> Vec<u8> {
    [HOLDING_PREFIX, collection.as_bytes()].concat()
}

fn seen_key(incarnation: Incarnation) -> Vec<u8> {
    [SEEN_PREFIX, &incarnation.0.to_be_bytes()].concat()
}

/// A row that is put under a key, or taken away.
pub(super) type Change<'a> = (Table, &'a [u8], Option<&'a [u8]>);

pub(super) enum Op {
    Put(Table, Vec<u8>, Vec<u8>),
    Remove(Table, Vec<u8>),
    /// Sets a number of the meta table unless it is higher already.
    Raise(&'static [u8], u64),
}

impl Op {
    /// What it does to a row, unless that depends on what is there.
    pub(super) fn change(&self) -> Option<Change<'_>> {
        match self {
            Op::Put(table, key, row) => Some((*table, key, Some(row))),
            Op::Remove(table, key) => Some((*table, key, None)),
            Op::Raise(..) => None,
        }
    }
}

/// Changes that become durable together or not at all, in the order they were added.
#[derive(Default)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
    grows: bool,
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
    pub fn put_inline(&mut self, version: Version, frame: impl Into<Vec<u8>>) {
        let key = version.to_be_bytes().to_vec();
        let row = records::wrap(&key, frame.into());
        self.grows = true;
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
        self.grows = true;
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

    /// No version above this one was given, and none will be in this life.
    pub fn settle_ceiling(&mut self, ceiling: u64) {
        self.put_number(CEILING_KEY, ceiling);
    }

    /// Bytes of keys and rows in the batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Keeps an old version readable.
    pub fn retain_version(&mut self, address: &Address, manifest: &Manifest) {
        let key = version_key(address, manifest.version);
        let row = records::encode(&key, manifest);
        self.put(Table::Versions, key, row);
    }

    /// Ends an old version; its bytes are dropped apart from this.
    pub fn forget_version(&mut self, address: &Address, version: Version) {
        self.remove(Table::Versions, version_key(address, version));
    }

    /// Notes what ends by itself, and when.
    pub fn end_at(&mut self, at_ms: u64, what: &Ending) {
        let key = deadline_key(at_ms, what);
        let row = records::encode(&key, what);
        self.put(Table::Deadlines, key, row);
    }

    /// Notes that what was to end has ended.
    pub fn ended(&mut self, at_ms: u64, what: &Ending) {
        self.remove(Table::Deadlines, deadline_key(at_ms, what));
    }

    /// Makes this the collection's policy.
    pub fn put_collection(&mut self, name: &Name, record: &CollectionRecord) {
        let key = name.as_str().as_bytes().to_vec();
        let row = records::encode(&key, record);
        // A new one is there to be filled.
        self.grows |= record.revision <= 1;
        self.put(Table::Collections, key, row);
    }

    /// Forgets the collection's policy and what it held.
    pub fn remove_collection(&mut self, name: &Name) {
        self.remove(Table::Collections, name.as_str().as_bytes().to_vec());
        self.remove(Table::Meta, holding_key(name.as_str()));
    }

    /// Notes that the collection was removed, for those who hear of it late.
    pub fn put_removed_collection(&mut self, name: &Name, revision: u64, at_ms: u64) {
        let key = [REMOVED_PREFIX, name.as_str().as_bytes()].concat();
        let row = records::encode(&key, &(revision, at_ms));
        self.put(Table::Meta, key, row);
    }

    /// What the collection's durable objects come to, and what it owes.
    pub fn put_holding(&mut self, collection: &str, holding: Holding) {
        let key = holding_key(collection);
        let row = records::encode(&key, &holding);
        self.put(Table::Meta, key, row);
    }

    /// Notes that the cloud is to get this version.
    pub fn owe(&mut self, version: Version, owed: &Owed) {
        let key = version.to_be_bytes().to_vec();
        let row = records::encode(&key, owed);
        self.put(Table::Owed, key, row);
    }

    /// Notes that the cloud has it, or is not to get it any more.
    pub fn settle(&mut self, version: Version) {
        self.remove(Table::Owed, version.to_be_bytes().to_vec());
    }

    /// Notes what the cloud is to forget of this version.
    pub fn put_chore(&mut self, version: Version, chore: &Chore) {
        let key = version.to_be_bytes().to_vec();
        let row = records::encode(&key, chore);
        self.put(Table::Chores, key, row);
    }

    /// Notes that the cloud has forgotten it.
    pub fn end_chore(&mut self, version: Version) {
        self.remove(Table::Chores, version.to_be_bytes().to_vec());
    }

    /// What all sealed bytes on disk come to.
    pub fn put_sealed_bytes(&mut self, bytes: u64) {
        self.put_number(SEALED_KEY, bytes);
    }

    /// How far the changes of an incarnation are in this store.
    pub fn put_seen(&mut self, incarnation: Incarnation, seq: u64) {
        self.put_number(&seen_key(incarnation), seq);
    }

    pub(super) fn put_number(&mut self, key: &[u8], number: u64) {
        self.put(Table::Meta, key.to_vec(), records::encode(key, &number));
    }

    pub(super) fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether the batch adds bytes of objects, or a place for them: a full disk does not take it.
    pub(super) fn grows(&self) -> bool {
        self.grows
    }

    /// Whether the batch takes rows away, and so may make room.
    pub(super) fn removes(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Remove(..)))
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, row: Vec<u8>) {
        self.bytes += key.len() + row.len();
        self.ops.push(Op::Put(table, key, row));
    }

    pub(super) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.bytes += key.len();
        self.ops.push(Op::Remove(table, key));
    }
}

//! The store in the words of the mesh: heads, small objects, frames, and who this container is.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::batch::{Batch, CEILING_KEY, CONTAINER_KEY, FORMAT_KEY, Table, head_key};
use super::fs::File;
use super::records::{self, QuarantineRecord};
use super::reserve::Reserve;
use super::rows::{Rows, Urgency};
use crate::error::{Error, Result};
use crate::limits::LIST_SCAN_MAX;
use crate::model::{Address, ContainerId, FrameId, Head, Rng, Version};

/// Raised whenever an older binary could misread what a newer one wrote.
pub(super) const FORMAT: u64 = 4;

/// The format before it, whose stores had no journal: one of them is taken on as it is.
const FORMAT_BEFORE: u64 = 3;

/// What a store is opened with.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for pages of the database.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { cache_bytes: 64 << 20 }
    }
}

/// Who this container is, as its store remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the store was made.
    pub container: ContainerId,
    /// Below this, versions may have been given.
    pub ceiling: u64,
}

/// How many rows the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Addresses, tombstones among them.
    pub heads: u64,
    /// Small objects kept in the store itself.
    pub inline: u64,
    /// Frame files owned by heads.
    pub frames: u64,
    /// Frame files to be unlinked.
    pub discards: u64,
    /// Frames kept for a look only.
    pub quarantined: u64,
}

impl Counts {
    /// Objects that are here: each has one small frame or owns one frame file.
    pub fn objects(&self) -> u64 {
        self.inline + self.frames
    }
}

/// What a look at every row found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Rows looked at.
    pub rows: u64,
    /// Rows that fail their check, as `table: key`; at most a thousand are named.
    pub damaged: Vec<String>,
    /// Rows that fail their check.
    pub damaged_rows: u64,
}

/// A stretch of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Keys and what is there, in byte order.
    pub found: Vec<(String, Head)>,
    /// The last key looked at, when so much had to be passed over that the look ended early.
    pub cut: Option<String>,
}

/// What was acknowledged, durably. Threads may share it; reads never wait for a commit.
pub struct Store {
    pub(super) rows: Rows,
    pub(super) reserve: Option<Reserve>,
}

impl Store {
    /// Opens the store in this file, or makes it in an empty one. Nobody else may have it open.
    pub fn open(file: Arc<dyn File>, options: StoreOptions, rng: &dyn Rng) -> Result<Self> {
        let store = Store::over(Rows::open(file, options.cache_bytes)?);
        match store.number(FORMAT_KEY)? {
            None => {
                let mut batch = Batch::new();
                batch.put_number(FORMAT_KEY, FORMAT);
                batch.put_number(CONTAINER_KEY, rng.u64());
                batch.put_number(CEILING_KEY, 0);
                store.commit(&batch)?;
            }
            Some(FORMAT) => {}
            Some(FORMAT_BEFORE) => {
                let mut batch = Batch::new();
                batch.put_number(FORMAT_KEY, FORMAT);
                store.commit(&batch)?;
            }
            Some(other) => {
                let why = if other < FORMAT {
                    "this store was written by an early meshstore whose format is no longer read; start on an empty folder"
                } else {
                    "this store was written by a newer meshstore; start that version or a later one"
                };
                return Err(Error::invalid(why).with("format", other).with("known_format", FORMAT));
            }
        }
        Ok(store)
    }

    pub(super) fn over(rows: Rows) -> Self {
        Store { rows, reserve: None }
    }

    /// Ends the store in order; nothing can be read or changed after that. The next start need not look
    /// for what a crash left.
    pub fn close(&self) {
        self.rows.close();
    }

    /// Makes the batch durable, whole; after an error nothing of it is visible.
    ///
    /// A crash between an error and the next commit may still show it, as the outcome of a commit
    /// that a crash interrupts is open: files it names may be unlinked only after a later commit.
    ///
    /// On a full disk a batch that adds no bytes of objects is committed all the same, in the room that is kept.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        self.commit_as(batch, Urgency::Durable)
    }

    /// Makes the batch visible at once, and durable with the next one that is committed. A crash before that undoes
    /// it: for what can be had again.
    pub fn commit_lazily(&self, batch: &Batch) -> Result<()> {
        self.commit_as(batch, Urgency::Lazy)
    }

    fn commit_as(&self, batch: &Batch, urgency: Urgency) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let commit = |makes_room| self.rows.commit(batch.ops(), urgency, makes_room);
        match &self.reserve {
            None => commit(batch.removes()),
            Some(reserve) if batch.grows() => reserve.growing(|| commit(false)),
            Some(reserve) => reserve.needed(|| commit(true), || self.rows.is_full()),
        }
    }

    /// Whether the journal has rows for [`Store::settle`].
    pub fn must_settle(&self) -> bool {
        self.rows.must_settle()
    }

    /// Brings what the journal has gathered into the database, while commits go on. Where nobody calls it a commit
    /// does it once the journal is full.
    pub fn settle(&self) -> Result<()> {
        self.rows.settle(false)
    }

    /// The newest thing known at the address.
    pub fn head(&self, address: &Address) -> Result<Option<Head>> {
        let key = head_key(address.collection(), address.key());
        let row = self.rows.get(Table::Heads, &key)?;
        row.map(|row| records::decode(Table::Heads, &key, row)).transpose()
    }

    /// The sealed bytes of a small object.
    pub fn inline(&self, version: Version) -> Result<Option<Bytes>> {
        let key = version.to_be_bytes();
        let row = self.rows.get(Table::Inline, &key)?;
        row.map(|row| records::unwrap(Table::Inline, &key, row)).transpose()
    }

    /// Up to `limit` objects of a collection whose keys start with `prefix` and come behind
    /// `after`, by the bytes of their keys. Tombstones and what has ended by `now_ms` are passed over.
    pub fn list(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Listing> {
        self.list_in(Table::Heads, |head: Head| head, (collection, prefix, after), limit, now_ms)
    }

    /// The same of one table, whose rows hold a head each.
    pub(super) fn list_in<T: DeserializeOwned>(
        &self,
        table: Table,
        head_of: impl Fn(T) -> Head,
        (collection, prefix, after): (&str, &str, Option<&str>),
        limit: usize,
        now_ms: u64,
    ) -> Result<Listing> {
        let stem = head_key(collection, prefix);
        let base = head_key(collection, "");
        let behind = after.map(|after| [&base, after.as_bytes(), &[0]].concat()).unwrap_or_default();
        let (mut found, mut seen, mut cut) = (Vec::new(), 0, None);
        if limit == 0 {
            return Ok(Listing { found, cut });
        }
        self.rows.scan(table, stem.as_slice().max(&behind), &mut |key, row| {
            if !key.starts_with(&stem) {
                return Ok(false);
            }
            let head = match records::decode(table, key, row.to_vec()) {
                // An entry of another container's is asked for again; it hides nothing that is here.
                Err(_) if table == Table::Catalog => return Ok(true),
                row => head_of(row?),
            };
            let name = key.get(base.len()..).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or_else(|| records::damaged(table, key))?;
            seen += 1;
            if head.object().is_some_and(|manifest| !manifest.is_expired(now_ms)) {
                found.push((name.to_owned(), head));
            } else if seen >= LIST_SCAN_MAX {
                cut = Some(name.to_owned());
            }
            Ok(found.len() < limit && cut.is_none())
        })?;
        Ok(Listing { found, cut })
    }

    /// Whether a head owns this frame's file.
    pub fn owns(&self, frame: FrameId) -> Result<bool> {
        // The key alone says so. A damaged row must not make an orphan of the file, nor stop a start.
        Ok(self.rows.get(Table::Frames, &frame.0)?.is_some())
    }

    /// Whether this frame's file is to be unlinked.
    pub fn is_discarded(&self, frame: FrameId) -> Result<bool> {
        Ok(self.rows.get(Table::Discards, &frame.0)?.is_some())
    }

    /// Up to `limit` frames whose files are to be unlinked.
    pub fn discards(&self, limit: usize) -> Result<Vec<FrameId>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.rows.scan(Table::Discards, &[], &mut |key, row| {
            let Ok(frame) = frame_of(Table::Discards, key) else { return Ok(true) };
            // A damaged row holds nothing up, but what some head owns is not unlinked on its word.
            if records::unwrap(Table::Discards, key, row.to_vec()).is_ok() || !self.owns(frame)? {
                found.push(frame);
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Up to `limit` of the frames kept for a look only.
    pub fn quarantined(&self, limit: usize) -> Result<Vec<(FrameId, QuarantineRecord)>> {
        let mut found = Vec::new();
        self.rows.scan(Table::Quarantine, &[], &mut |key, row| {
            if found.len() >= limit {
                return Ok(false);
            }
            found.push((frame_of(Table::Quarantine, key)?, records::decode(Table::Quarantine, key, row.to_vec())?));
            Ok(true)
        })?;
        Ok(found)
    }

    /// Which frames those are. A record that is damaged itself still names its frame.
    pub fn quarantined_frames(&self) -> Result<Vec<FrameId>> {
        let mut found = Vec::new();
        self.rows.scan(Table::Quarantine, &[], &mut |key, _| {
            found.extend(frame_of(Table::Quarantine, key));
            Ok(true)
        })?;
        Ok(found)
    }

    /// Who this container is.
    pub fn identity(&self) -> Result<Identity> {
        let need = |key| self.number(key)?.ok_or_else(|| records::damaged(Table::Meta, key));
        Ok(Identity { container: ContainerId(need(CONTAINER_KEY)?), ceiling: need(CEILING_KEY)? })
    }

    /// How many rows there are.
    pub fn counts(&self) -> Result<Counts> {
        Ok(Counts {
            heads: self.rows.count(Table::Heads)?,
            inline: self.rows.count(Table::Inline)?,
            frames: self.rows.count(Table::Frames)?,
            discards: self.rows.count(Table::Discards)?,
            quarantined: self.rows.count(Table::Quarantine)?,
        })
    }

    /// Reads every row and checks it.
    pub fn verify(&self) -> Result<Verification> {
        const NAMED_MAX: usize = 1000;
        let mut found = Verification::default();
        for table in Table::ALL {
            self.rows.scan(table, &[], &mut |key, row| {
                found.rows += 1;
                if records::unwrap(table, key, row.to_vec()).is_err() {
                    found.damaged_rows += 1;
                    if found.damaged.len() < NAMED_MAX {
                        found.damaged.push(format!("{}: {}", table.name(), key.escape_ascii()));
                    }
                }
                Ok(true)
            })?;
        }
        Ok(found)
    }

    pub(super) fn number(&self, key: &[u8]) -> Result<Option<u64>> {
        let row = self.rows.get(Table::Meta, key)?;
        row.map(|row| records::decode(Table::Meta, key, row)).transpose()
    }
}

fn frame_of(table: Table, key: &[u8]) -> Result<FrameId> {
    key.try_into().map(FrameId).map_err(|_| records::damaged(table, key))
}

#[cfg(test)]
impl Store {
    pub(super) fn commit_raw(&self, op: super::batch::Op) -> Result<()> {
        self.rows.commit(&[op], Urgency::Durable, false)
    }

    pub(super) fn scan_raw(&self, table: Table, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        self.rows.scan(table, &[], &mut |key, row| {
            see(key, row);
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::batch::Op;
    use super::super::{Fs, SimFs};
    use super::*;
    use crate::error::Kind;
    use crate::model::{Digest, DigestKind, Dot, Durability, Incarnation, Manifest, NfrSpec, SeededRng, Tombstone};

    const FRAME: FrameId = FrameId([7; 16]);

    fn file() -> Arc<dyn File> {
        SimFs::new(0).create(Path::new("/store")).unwrap()
    }

    fn open(file: &Arc<dyn File>, seed: u64) -> Result<Store> {
        Store::open(file.clone(), StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(seed))
    }

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn version(time: u64) -> Version {
        Version { time, container: ContainerId(3) }
    }

    fn dot(seq: u64) -> Dot {
        Dot { incarnation: Incarnation(9), seq }
    }

    fn object(time: u64) -> Head {
        Head::Object(Manifest {
            version: version(time),
            dot: dot(time),
            replaces: None,
            size: 5,
            digest: Digest { kind: DigestKind::Blake3, bytes: [1; 32] },
            content_type: Some("text/plain".into()),
            meta: BTreeMap::from([("a".into(), "b".into())]),
            modified_ms: 12,
            expires_ms: None,
            nfr: NfrSpec::default(),
            durability: Durability::Disk,
            seal: None,
            moves: 0,
        })
    }

    fn tombstone(time: u64) -> Head {
        Head::Deleted(Tombstone { version: version(time), dot: dot(time), replaces: Some(version(1)), deleted_ms: 4 })
    }

    fn keys(store: &Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        store.list("c", prefix, after, limit, 0).unwrap().found.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn what_is_put_is_read_back_until_removed_also_after_reopening() {
        let file = file();
        let store = open(&file, 1).unwrap();
        let record = QuarantineRecord { address: at("c/k"), version: version(2), why: "tag".into(), at_ms: 5 };
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        batch.put_head(&at("c/k"), &object(2));
        batch.put_head(&at("c/gone"), &tombstone(3));
        batch.put_inline(version(2), Bytes::from_static(b"sealed"));
        batch.own_frame(FRAME, &at("c/k"));
        batch.quarantine(FrameId([8; 16]), &record);
        assert!(batch.bytes() > 6 && !batch.is_empty());
        store.commit(&batch).unwrap();
        drop(store);

        let store = open(&file, 2).unwrap();
        assert_eq!(store.head(&at("c/k")).unwrap(), Some(object(2)));
        assert_eq!(store.head(&at("c/gone")).unwrap(), Some(tombstone(3)));
        assert_eq!(store.head(&at("c/none")).unwrap(), None);
        assert_eq!(store.inline(version(2)).unwrap().unwrap(), b"sealed"[..]);
        assert!(store.owns(FRAME).unwrap());
        assert_eq!(store.quarantined(9).unwrap(), [(FrameId([8; 16]), record)]);
        assert_eq!(store.counts().unwrap(), Counts { heads: 2, inline: 1, frames: 1, discards: 0, quarantined: 1 });

        let mut batch = Batch::new();
        batch.remove_head(&at("c/gone"));
        batch.remove_inline(version(2));
        batch.discard_frame(FRAME);
        store.commit(&batch).unwrap();
        assert_eq!((store.head(&at("c/gone")).unwrap(), store.inline(version(2)).unwrap()), (None, None));
        assert!(!store.owns(FRAME).unwrap());
        assert_eq!((store.discards(9).unwrap(), store.discards(0).unwrap()), (vec![FRAME], vec![]));
        let mut batch = Batch::new();
        batch.discarded(FRAME);
        store.commit(&batch).unwrap();
        assert_eq!(store.discards(9).unwrap(), []);
    }

    #[test]
    fn lists_are_in_byte_order_within_collection_prefix_page_and_skip_tombstones() {
        let store = open(&file(), 1).unwrap();
        let mut batch = Batch::new();
        for address in ["b/z", "c/a", "c/a/1", "c/a/2", "c/ab", "c/b", "c/é", "c-d/a", "d/a"] {
            batch.put_head(&at(address), &object(1));
        }
        batch.put_head(&at("c/a/15"), &tombstone(1));
        store.commit(&batch).unwrap();
        assert_eq!(keys(&store, "", None, 99), ["a", "a/1", "a/2", "ab", "b", "é"]);
        assert_eq!(keys(&store, "a/", None, 99), ["a/1", "a/2"]);
        assert_eq!(keys(&store, "a", Some("a/1"), 99), ["a/2", "ab"]);
        assert_eq!(keys(&store, "", Some("a/1"), 2), ["a/2", "ab"]);
        assert_eq!(keys(&store, "a/", Some("A"), 1), ["a/1"]);
        assert_eq!(keys(&store, "a/", Some("b"), 9), [""; 0]);
        assert_eq!(keys(&store, "", None, 0), [""; 0]);
    }

    #[test]
    fn an_identity_is_drawn_once_and_its_ceiling_never_sinks() {
        let file = file();
        let store = open(&file, 1).unwrap();
        let first = store.identity().unwrap();
        assert_eq!(first.ceiling, 0);
        for (raise, reads) in [(50, 50), (20, 50), (51, 51)] {
            let mut batch = Batch::new();
            batch.raise_ceiling(raise);
            store.commit(&batch).unwrap();
            assert_eq!(store.identity().unwrap().ceiling, reads);
        }
        drop(store);
        assert_eq!(open(&file, 2).unwrap().identity().unwrap(), Identity { ceiling: 51, ..first });
        assert_ne!(open(&self::file(), 2).unwrap().identity().unwrap().container, first.container);
    }

    #[test]
    fn a_store_of_a_newer_format_is_refused() {
        let file = file();
        let store = open(&file, 1).unwrap();
        let mut batch = Batch::new();
        batch.put_number(FORMAT_KEY, FORMAT + 1);
        store.commit(&batch).unwrap();
        drop(store);
        let error = open(&file, 1).err().unwrap();
        assert_eq!((error.kind(), error.context("format")), (Kind::Invalid, Some("5")));
    }

    #[test]
    fn a_store_of_the_format_before_is_taken_on_as_it_is() {
        let file = file();
        let store = open(&file, 1).unwrap();
        let mut batch = Batch::new();
        batch.put_number(FORMAT_KEY, FORMAT_BEFORE);
        batch.put_head(&at("c/k"), &object(2));
        store.commit(&batch).unwrap();
        drop(store);
        let store = open(&file, 1).unwrap();
        assert_eq!(store.head(&at("c/k")).unwrap(), Some(object(2)));
        assert_eq!(store.number(FORMAT_KEY).unwrap(), Some(FORMAT));
    }

    #[test]
    fn a_damaged_row_is_named_and_spares_the_others() {
        let store = open(&file(), 1).unwrap();
        let mut batch = Batch::new();
        batch.put_head(&at("c/bad"), &object(1));
        batch.put_head(&at("c/good"), &object(1));
        store.commit(&batch).unwrap();
        store.commit_raw(Op::Put(Table::Heads, head_key("c", "bad"), vec![0; 90])).unwrap();
        let error = store.head(&at("c/bad")).unwrap_err();
        assert_eq!((error.kind(), error.context("key")), (Kind::Corrupt, Some("c\\x00bad")));
        assert!(store.head(&at("c/good")).unwrap().is_some());
        assert_eq!(store.list("c", "", None, 9, 0).unwrap_err().kind(), Kind::Corrupt);
        let found = store.verify().unwrap();
        assert_eq!((found.rows, found.damaged_rows, found.damaged), (5, 1, vec!["heads: c\\x00bad".to_owned()]));
    }
}

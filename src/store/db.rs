//! The embedded database: the only file that names redb.
//!
//! It runs on our own [`File`], so on the real disk and on the simulated one alike. After a failed
//! write redb refuses to go on; the store then opens the file anew, which takes it back to the last
//! commit that is durable, so a fault that passes needs no restart.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, StorageBackend, TableDefinition};

use super::batch::Batch;
use super::fs::File;
use super::io_error;
use super::records::{self, FORMAT, QuarantineRecord, Table};
use crate::error::{Error, Result};
use crate::model::{Address, ContainerId, FrameId, Head, Rng, Version};

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

const fn rows(table: Table) -> Rows {
    TableDefinition::new(table.name())
}

/// What a user may set.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for pages of the database.
    pub cache_bytes: usize,
}

/// Who a container is and how far its versions have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the store was made.
    pub container: ContainerId,
    /// No version above it has been given out.
    pub ceiling: u64,
}

/// The records of a container.
pub struct Store {
    file: Arc<dyn File>,
    options: StoreOptions,
    /// Empty after a fault until the file could be opened again.
    database: RwLock<Option<Database>>,
}

impl Store {
    /// Opens the store in a file, or makes it there when the file is empty.
    pub fn open(file: Arc<dyn File>, options: StoreOptions, rng: &dyn Rng) -> Result<Self> {
        let database = open_database(&file, options)?;
        let store = Store { file, options, database: RwLock::new(Some(database)) };
        match store.meta(records::FORMAT_KEY)? {
            Some(FORMAT) => {}
            Some(newer) => {
                return Err(Error::invalid(
                    "the store was written by another version; use that version, or another data folder",
                )
                .with("found", newer)
                .with("supported", FORMAT));
            }
            None => store.found(rng)?,
        }
        Ok(store)
    }

    /// Writes what a new store starts with.
    fn found(&self, rng: &dyn Rng) -> Result<()> {
        let mut batch = Batch::new();
        batch.put_meta(records::FORMAT_KEY, &FORMAT);
        batch.put_meta(records::CONTAINER, &rng.u64());
        batch.raise_ceiling(0);
        self.commit(&batch)
    }

    /// Makes all changes of a batch durable at once. After an error nothing of it is acknowledged;
    /// what is visible is what the disk holds.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        let result = self.read()?.with(|database| write(database, batch));
        if result.is_err() {
            self.reopen();
        }
        result
    }

    /// Who this container is.
    pub fn identity(&self) -> Result<Identity> {
        let missing = || Error::corrupt("the store does not say whose it is");
        let container = self.meta(records::CONTAINER)?.ok_or_else(missing)?;
        let ceiling = self.meta(records::CEILING)?.ok_or_else(missing)?;
        Ok(Identity { container: ContainerId(container), ceiling })
    }

    /// The newest thing known at an address.
    pub fn head(&self, address: &Address) -> Result<Option<Head>> {
        let key = records::head_key(address.collection(), address.key());
        self.get(Table::Heads, &key, |record| records::decode(Table::Heads, &key, record))
    }

    /// The small frame of a version.
    pub fn inline(&self, version: Version) -> Result<Option<Bytes>> {
        let key = version.to_be_bytes();
        self.get(Table::Inline, &key, |record| records::check(Table::Inline, &key, record).map(Bytes::copy_from_slice))
    }

    /// Up to `limit` objects of a collection whose keys start with `prefix` and come after `after`,
    /// in byte order. Deleted ones are passed over.
    pub fn list(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Head)>> {
        let first = records::head_key(collection, prefix);
        let from = match after {
            // The successor of a key in byte order is the key with a 0 behind it.
            Some(after) => first.clone().max([&records::head_key(collection, after)[..], &[0]].concat()),
            None => first.clone(),
        };
        let mut out = Vec::new();
        self.scan(Table::Heads, &from, |key, record| {
            if out.len() == limit || !key.starts_with(&first) {
                return Ok(false);
            }
            let head: Head = records::decode(Table::Heads, key, record)?;
            if head.object().is_some() {
                out.push((records::key_of(key)?, head));
            }
            Ok(true)
        })?;
        Ok(out)
    }

    /// Whether a record names this frame file as its own.
    pub fn owns(&self, frame: FrameId) -> Result<bool> {
        let found = self.get(Table::Frames, &frame.0, |record| records::address_of(Table::Frames, &frame.0, record))?;
        Ok(found.is_some())
    }

    /// Whether this frame file is owed an unlink.
    pub fn is_discarded(&self, frame: FrameId) -> Result<bool> {
        Ok(self.get(Table::Discards, &frame.0, |_| Ok(()))?.is_some())
    }

    /// Up to `limit` frame files that are owed an unlink.
    pub fn discards(&self, limit: usize) -> Result<Vec<FrameId>> {
        let mut out = Vec::new();
        self.scan(Table::Discards, &[], |key, _| {
            out.extend(key.try_into().ok().map(FrameId));
            Ok(out.len() < limit)
        })?;
        Ok(out)
    }

    /// Every frame in quarantine.
    pub fn quarantined(&self) -> Result<Vec<(FrameId, QuarantineRecord)>> {
        let mut out = Vec::new();
        self.scan(Table::Quarantine, &[], |key, record| {
            let record = records::decode(Table::Quarantine, key, record)?;
            out.extend(key.try_into().ok().map(|frame| (FrameId(frame), record)));
            Ok(true)
        })?;
        Ok(out)
    }

    /// Objects that are here: each has one small frame or owns one frame file.
    pub fn object_count(&self) -> Result<u64> {
        let count = |table| {
            self.read()?.with(|database| {
                let read = database.begin_read().map_err(failed)?;
                read.open_table(rows(table)).map_err(failed)?.len().map_err(failed)
            })
        };
        Ok(count(Table::Inline)? + count(Table::Frames)?)
    }

    fn meta(&self, name: &[u8]) -> Result<Option<u64>> {
        self.get(Table::Meta, name, |record| records::decode(Table::Meta, name, record))
    }

    fn get<T>(&self, table: Table, key: &[u8], value: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        self.read()?.with(|database| {
            let read = database.begin_read().map_err(failed)?;
            let open = read.open_table(rows(table)).map_err(failed)?;
            let found = open.get(key).map_err(failed)?;
            found.map(|guard| value(guard.value())).transpose()
        })
    }

    /// Visits rows from a key on, in order, until the visitor says no.
    fn scan(&self, table: Table, from: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        self.read()?.with(|database| {
            let read = database.begin_read().map_err(failed)?;
            let open = read.open_table(rows(table)).map_err(failed)?;
            for row in open.range::<&[u8]>(from..).map_err(failed)? {
                let (key, record) = row.map_err(failed)?;
                if !visit(key.value(), record.value())? {
                    break;
                }
            }
            Ok(())
        })
    }

    fn read(&self) -> Result<Opened<'_>> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() {
            return Ok(Opened(guard));
        }
        drop(guard);
        self.reopen();
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let open = guard.is_some();
        open.then_some(Opened(guard)).ok_or_else(|| Error::unavailable("the store cannot be opened after a disk fault"))
    }

    /// Goes back to what is durable.
    fn reopen(&self) {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one must be gone before the file is opened again.
        drop(guard.take());
        *guard = open_database(&self.file, self.options)
            .inspect_err(|error| tracing::error!(%error, "cannot reopen the store"))
            .ok();
    }
}

/// The database while it is open.
struct Opened<'a>(RwLockReadGuard<'a, Option<Database>>);

impl Opened<'_> {
    fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        self.0.as_ref().map_or_else(|| Err(Error::unavailable("the store is closed")), run)
    }
}

fn open_database(file: &Arc<dyn File>, options: StoreOptions) -> Result<Database> {
    let backend = Backend(Arc::clone(file));
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    let database = builder.create_with_backend(backend).map_err(failed)?;
    // Reads may then take every table for granted.
    let write = database.begin_write().map_err(failed)?;
    for table in Table::ALL {
        write.open_table(rows(table)).map_err(failed)?;
    }
    write.commit().map_err(failed)?;
    Ok(database)
}

fn write(database: &Database, batch: &Batch) -> Result<()> {
    let mut write = database.begin_write().map_err(failed)?;
    write.set_durability(Durability::Immediate).map_err(|error| Error::internal("cannot commit").because(error))?;
    for table in Table::ALL {
        let mut changes = batch.changes.iter().filter(|(of, _, _)| *of == table).peekable();
        if changes.peek().is_none() {
            continue;
        }
        let mut open = write.open_table(rows(table)).map_err(failed)?;
        for (_, key, record) in changes {
            match record {
                Some(record) => open.insert(&key[..], &record.0[..]).map_err(failed)?,
                None => open.remove(&key[..]).map_err(failed)?,
            };
        }
    }
    write.commit().map_err(failed)
}

/// A failure of the database in our terms.
fn failed(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) => io_error(error, "the store cannot reach its file"),
        redb::Error::PreviousIo => Error::unavailable("the store is recovering from a disk fault; try again"),
        error @ redb::Error::Corrupted(_) => Error::corrupt("the store is damaged").because(error),
        error => Error::internal("the store failed").because(error),
    }
}

struct Backend(Arc<dyn File>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

//! The embedded database, named in this file alone: tables of bytes, atomic durable commits, and
//! recovery from passing faults of the disk without a restart.
//!
//! redb refuses everything after one I/O error until it is reopened; `renew` does that, after it
//! made sure that a commit which reported an error is not found later.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::backend::{self, Backend};
use super::batch::{Change, Table};
use super::fs::File;
use super::lock;
use super::overlay::Overlay;
use crate::error::{Error, Result};

/// What every redb file starts with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// Written behind the end of the file to see whether a full disk has room again.
const PROBE_BYTES: usize = 1 << 20;

/// Sees a row's key and bytes; says whether it wants the next one.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool> + 'a;

type Rows<'a> = redb::Table<'a, &'static [u8], &'static [u8]>;

type ReadRows = ReadOnlyTable<&'static [u8], &'static [u8]>;

const fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

pub(super) struct Db {
    file: Arc<dyn File>,
    cache_bytes: usize,
    state: Mutex<State>,
    /// Held by the one who commits or reopens.
    writer: Mutex<()>,
    /// The last commit found no room, so the next one looks for some first: a failed commit costs
    /// a reopening, and a full disk is asked again and again.
    full: AtomicBool,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    /// What to put back before the next opening.
    durable_header: Option<Vec<u8>>,
    /// Set at the end: it is not opened again.
    closed: bool,
}

struct Live {
    opened: RwLock<Opened>,
    database: Database,
    backend: Arc<Backend>,
    /// The durable header of the file, where the database is open over it in memory alone: the file cannot be
    /// written for now. It can be read from, and not committed to.
    detached: Option<Vec<u8>>,
}

/// Tables as the last commit left them. To open one for each row that is read costs more than to read it.
#[derive(Default)]
struct Opened {
    commits: u64,
    tables: BTreeMap<Table, Arc<ReadRows>>,
}

struct OnFile(Arc<Backend>);

impl fmt::Debug for OnFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store's file")
    }
}

impl redb::StorageBackend for OnFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

impl Db {
    pub(super) fn open(file: Arc<dyn File>, cache_bytes: usize) -> Result<Self> {
        reset_unfinished(&*file)?;
        let db =
            Db { file, cache_bytes, state: Mutex::default(), writer: Mutex::default(), full: AtomicBool::new(false) };
        db.live()?;
        Ok(db)
    }

    /// The open database; opens it again where the last one was given up.
    fn live(&self) -> Result<Arc<Live>> {
        let mut state = lock(&self.state);
        if let Some(live) = &state.live {
            return Ok(live.clone());
        }
        if state.closed {
            return Err(Error::unavailable("the store is closed; the container ends"));
        }
        let live = match (self.attach(state.durable_header.as_deref()), &state.durable_header) {
            // It was open before: what it held can be read although the file cannot be written.
            (Err(error), Some(header)) => self.detach(header).map_err(|_| error)?,
            (attached, _) => attached?,
        };
        *state = State { live: Some(live.clone()), ..State::default() };
        Ok(live)
    }

    /// Opens the database on the file, once the header is put back that the last commit made durable.
    fn attach(&self, durable: Option<&[u8]>) -> Result<Arc<Live>> {
        if let Some(header) = durable {
            backend::restore_header(&*self.file, header).map_err(disk_error)?;
        }
        self.open_on(self.file.clone(), durable, None)
    }

    /// Opens it over the file, in memory.
    fn detach(&self, durable: &[u8]) -> Result<Arc<Live>> {
        let over = Overlay::new(self.file.clone()).map_err(disk_error)?;
        over.write_all_at(durable, 0).map_err(disk_error)?;
        self.open_on(Arc::new(over), Some(durable), Some(durable.to_vec()))
    }

    fn open_on(&self, file: Arc<dyn File>, durable: Option<&[u8]>, detached: Option<Vec<u8>>) -> Result<Arc<Live>> {
        let backend = Arc::new(Backend::new(file, durable.map(<[u8]>::to_vec)).map_err(disk_error)?);
        let on_file = OnFile(backend.clone());
        let opened =
            shield(|| Ok(redb::Builder::new().set_cache_size(self.cache_bytes).create_with_backend(on_file)?));
        let database = opened.inspect_err(|_| backend.fence()).map_err(explain)?;
        Ok(Arc::new(Live { opened: RwLock::default(), database, backend, detached }))
    }

    /// The open database, on the file itself; the caller holds `writer`.
    fn attached(&self) -> Result<Arc<Live>> {
        let live = self.live()?;
        let Some(header) = &live.detached else { return Ok(live) };
        // While this fails the other one is read from.
        let attached = self.attach(Some(header))?;
        lock(&self.state).live = Some(attached.clone());
        live.backend.fence();
        Ok(attached)
    }

    /// Closes the database once nobody reads from it any more.
    pub(super) fn close(&self) {
        let _writer = lock(&self.writer);
        let mut state = lock(&self.state);
        state.closed = true;
        shielded_drop(state.live.take());
    }

    /// Gives up a database that met a fault and opens another; the caller holds `writer`.
    fn renew(&self, failed: &Arc<Live>) -> Result<()> {
        let mut state = lock(&self.state);
        if state.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, failed)) {
            failed.backend.fence();
            let durable = failed.detached.clone().unwrap_or_else(|| failed.backend.durable_header());
            *state = State { durable_header: Some(durable), ..State::default() };
        }
        drop(state);
        self.live().map(drop)
    }

    /// Makes all of the changes durable, or none; after an error none is visible.
    pub(super) fn commit<'a>(&self, changes: impl Iterator<Item = Change<'a>> + Clone, makes_room: bool) -> Result<()> {
        let _writer = lock(&self.writer);
        if self.full.load(Ordering::Relaxed) && !makes_room {
            self.probe().map_err(disk_error)?;
        }
        let mut fresh = false;
        loop {
            let live = self.attached()?;
            let before = live.backend.durable_header();
            let applied = shield(|| apply(&live.database, changes.clone()));
            live.close_tables();
            let Err(fault) = applied else {
                self.full.store(false, Ordering::Relaxed);
                return Ok(());
            };
            // The header changes durably at the commit alone; what failed after it was tidying.
            let landed = live.backend.durable_header() != before;
            let stale = fault.is_stale();
            let full = fault.is_full();
            let error = explain(fault);
            self.full.store(full, Ordering::Relaxed);
            let renewed = self.renew(&live);
            if landed {
                return Ok(());
            }
            if !stale || fresh {
                return Err(error);
            }
            renewed?;
            fresh = true;
        }
    }

    /// Whether the last commit found no room on the disk.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn probe(&self) -> io::Result<()> {
        let length = self.file.len()?;
        let room = self.file.write_all_at(&vec![0; PROBE_BYTES], length);
        self.file.set_len(length)?;
        room
    }

    /// Reads from a table, once more on a reopened database when the first try met a fault of the disk. A table that
    /// no commit has touched yet is an empty one.
    fn read<T: Default>(&self, table: Table, read: impl Fn(&ReadRows) -> Result<T, Fault>) -> Result<T> {
        let attempt = |live: &Live| shield(|| live.table(table)?.map_or_else(|| Ok(T::default()), |rows| read(&rows)));
        let live = self.live()?;
        match attempt(&live) {
            Err(fault) if fault.is_stale() || fault.is_io() => {
                let writer = lock(&self.writer);
                self.renew(&live)?;
                drop(writer);
                attempt(&*self.live()?).map_err(explain)
            }
            other => other.map_err(explain),
        }
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(table, |rows| Ok(rows.get(key)?.map(|row| row.value().to_vec())))
    }

    /// Shows rows from a key on, in order, until `visit` has seen enough.
    pub(super) fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let visit = Mutex::new(visit);
        let seen: Mutex<Option<Vec<u8>>> = Mutex::default();
        self.read(table, |rows| {
            // A second try goes on where the first one stopped.
            let start = lock(&seen).as_ref().map_or_else(|| from.to_vec(), |last| [last, &[0][..]].concat());
            for row in rows.range(start.as_slice()..)? {
                let (key, value) = row?;
                if !lock(&visit)(key.value(), value.value()).map_err(Fault::Ours)? {
                    break;
                }
                *lock(&seen) = Some(key.value().to_vec());
            }
            Ok(())
        })
    }

    /// The last rows from `from` to `to`, both counted in, at most `limit`; the last one first.
    pub(super) fn last(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.read(table, |rows| {
            let found = rows.range(from..=to)?.rev().take(limit).map(|row| {
                let (key, value) = row?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            });
            found.collect()
        })
    }

    pub(super) fn count(&self, table: Table) -> Result<u64> {
        self.read(table, |rows| Ok(rows.len()?))
    }
}

impl Live {
    /// A table as the last commit left it, if one has touched it.
    fn table(&self, table: Table) -> Result<Option<Arc<ReadRows>>, Fault> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = opened.tables.get(&table) {
            return Ok(Some(Arc::clone(rows)));
        }
        let commits = opened.commits;
        drop(opened);
        let rows = match self.database.begin_read()?.open_table(definition(table)) {
            Ok(rows) => Arc::new(rows),
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.commits == commits {
            opened.tables.insert(table, Arc::clone(&rows));
        }
        Ok(Some(rows))
    }

    /// Whoever reads from now on opens them anew: a commit may have changed them.
    fn close_tables(&self) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        *opened = Opened { commits: opened.commits + 1, ..Opened::default() };
    }
}

/// Empties a file whose making was cut short, so that it can be made again.
pub(super) fn reset_unfinished(file: &dyn File) -> Result<()> {
    backend::reset_unfinished(file, MAGIC).map_err(disk_error)
}

/// Lets something go that holds a database, which may stumble over damage once more while it closes.
pub(super) fn shielded_drop<T>(database: T) {
    let _ = shield(|| {
        drop(database);
        Ok(())
    });
}

fn apply<'a>(database: &Database, changes: impl Iterator<Item = Change<'a>>) -> Result<(), Fault> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let mut open: BTreeMap<Table, Rows<'_>> = BTreeMap::new();
    for (table, key, row) in changes {
        let rows = match open.entry(table) {
            Entry::Occupied(rows) => rows.into_mut(),
            Entry::Vacant(place) => place.insert(txn.open_table(definition(table))?),
        };
        match row {
            Some(row) => drop(rows.insert(key, row)?),
            None => drop(rows.remove(key)?),
        }
    }
    drop(open);
    Ok(txn.commit()?)
}

enum Fault {
    Theirs(redb::Error),
    Ours(Error),
    /// redb trusts the pages it reads, so damaged ones may make it panic.
    Panic,
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Theirs(error.into())
    }
}

impl Fault {
    fn is_io(&self) -> bool {
        matches!(self, Fault::Theirs(redb::Error::Io(_)))
    }

    fn is_full(&self) -> bool {
        matches!(self, Fault::Theirs(redb::Error::Io(error)) if is_full(error))
    }

    /// An earlier fault made the database refuse, before anything of this call was done.
    fn is_stale(&self) -> bool {
        matches!(
            self,
            Fault::Theirs(redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_))
        )
    }
}

fn shield<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Fault::Panic))
}

fn explain(fault: Fault) -> Error {
    let damaged = "the store's file is damaged; recover the container from its frames and other copies";
    match fault {
        Fault::Ours(error) => error,
        Fault::Panic => Error::corrupt(damaged),
        Fault::Theirs(redb::Error::Io(error)) => disk_error(error),
        Fault::Theirs(error @ redb::Error::Corrupted(_)) => Error::corrupt(damaged).because(error),
        Fault::Theirs(error) => Error::internal("the store cannot do this").because(error),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn disk_error(error: io::Error) -> Error {
    match error.kind() {
        _ if is_full(&error) => {
            Error::unavailable("the disk is full; make room in the data folder's file system, or delete objects")
                .because(error)
        }
        io::ErrorKind::InvalidData => Error::corrupt("the store's file is not a store").because(error),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            super::io_error(error, "the store's file cannot be written")
        }
        _ => Error::internal("the store's file cannot be read or written; check the disk").because(error),
    }
}

//! The rows of the store: the database, and over it what the journal has and the database lacks.
//!
//! A commit is one record of the journal, and visible once that is synced. When a generation of the journal has
//! grown enough, another one begins, and [`Rows::settle`] brings the rows of the former one into the database while
//! commits go on. Who calls that is not decided here; where nobody does, a commit that finds no room does it.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use super::batch::{Batch, Change, JOURNAL_KEY, Op, Table};
use super::db::{Db, Visit};
use super::fs::{File, Fs};
use super::journal::{self, Journal, Mark};
use super::recent::{Cursor, Layers};
use super::slabs::Slabs;
use super::{io_error, lock, records};
use crate::error::{Error, Result};
use crate::model::Rng;

/// Names of the journal's files in the data folder.
const FILES: [&str; 2] = ["journal.0", "journal.1"];

/// A generation of the journal ends at this part of the database's cache, at most `TURN_MAX`: what both generations
/// hold must find room in the reserve of a full disk.
const TURN_SHARE: usize = 16;
const TURN_MAX: u64 = 2 << 20;
/// Until the database has the former generation, one goes on growing up to so many times that.
const GROWN: u64 = 2;

/// Rows that are brought into the database at once where the disk has no room for all.
const PART_ROWS: usize = 256;

/// When a commit is to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Before it returns.
    Durable,
    /// Together with the next one that must be. A crash may undo it, and then all of it.
    Lazy,
}

pub(super) struct Rows {
    base: Db,
    layers: RwLock<Layers>,
    /// Held by who commits. There is none while the store is made or mended, and after the end.
    journal: Mutex<Option<Journal>>,
    /// What its rows lie in until the database has them; held by who commits.
    slabs: Mutex<Slabs>,
    /// Held by who brings rows into the database; where it begins that has them all then.
    settling: Mutex<Option<Mark>>,
    turn_bytes: u64,
}

impl Rows {
    pub(super) fn open(file: Arc<dyn File>, cache_bytes: usize) -> Result<Self> {
        Ok(Rows {
            base: Db::open(file, cache_bytes)?,
            layers: RwLock::default(),
            journal: Mutex::default(),
            slabs: Mutex::default(),
            settling: Mutex::default(),
            turn_bytes: (cache_bytes / TURN_SHARE) as u64,
        })
    }

    /// Takes in what the journal of this folder has, and goes on with it. Where some of it cannot be read,
    /// `damaged` says what else to take in.
    pub(super) fn begin_journal(
        &self,
        fs: &dyn Fs,
        root: &Path,
        rng: &dyn Rng,
        damaged: impl FnOnce(&'static str) -> Result<Batch>,
    ) -> Result<()> {
        let failed = |error| io_error(error, "cannot open the journal").with("path", root.display());
        let files = files(fs, root).map_err(failed)?;
        let mark = self.mark()?;
        let mut left = journal::read(&files, mark).map_err(failed)?;
        if mark.is_none() && self.base.get(Table::Meta, JOURNAL_KEY)?.is_some() {
            left.damage.get_or_insert("where the journal begins cannot be read");
        }
        if let Some(why) = left.damage {
            left.rows.take(&mut Slabs::default(), damaged(why)?.ops().iter().filter_map(Op::change));
        }
        let record = left.end.or(mark).map_or(0, |mark| mark.record);
        let next = Mark { journal: rng.u64(), generation: 0, record };
        let mut journal = Journal::new(files, next, GROWN * self.turn_bytes.min(TURN_MAX)).map_err(failed)?;
        self.set_layers(|layers| layers.older = Some(Arc::new(left.rows)));
        *lock(&self.settling) = Some(next);
        match self.settle(true) {
            Err(_) if self.base.is_full() => journal.shut(),
            // The system reads a block before it writes a part of it: what cannot be read has to go.
            Ok(()) if left.has_bad_sectors => journal.clear().map_err(failed)?,
            settled => settled?,
        }
        *lock(&self.journal) = Some(journal);
        Ok(())
    }

    /// Brings what the journal of this folder has into a database that is made anew. Returns what is missing of it.
    pub(super) fn absorb_journal(&self, fs: &dyn Fs, root: &Path) -> Result<Option<&'static str>> {
        let failed = |error| io_error(error, "cannot read the journal").with("path", root.display());
        let left = journal::read(&files(fs, root).map_err(failed)?, self.mark()?).map_err(failed)?;
        if let Some(end) = left.end {
            let end = records::encode(JOURNAL_KEY, &end);
            let end: Change<'_> = (Table::Meta, JOURNAL_KEY, Some(&end));
            self.base.commit(left.rows.hold().rows().chain(std::iter::once(end)), false)?;
        }
        Ok(left.damage)
    }

    /// From where on the journal has what the database lacks. Whoever made it anew may not know.
    fn mark(&self) -> Result<Option<Mark>> {
        let mark = self.base.get(Table::Meta, JOURNAL_KEY)?;
        Ok(mark.and_then(|row| records::decode(Table::Meta, JOURNAL_KEY, row).ok()))
    }

    fn layers(&self) -> Layers {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_layers<T>(&self, change: impl FnOnce(&mut Layers) -> T) -> T {
        change(&mut self.layers.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes all of the changes, or none; after an error none is visible.
    pub(super) fn commit(&self, ops: &[Op], urgency: Urgency, makes_room: bool) -> Result<()> {
        let mut journal = lock(&self.journal);
        let raised = self.raised(ops)?;
        let changes: Vec<Change<'_>> = ops.iter().chain(&raised).filter_map(Op::change).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let Some(journal) = journal.as_mut() else { return self.base.commit(changes.into_iter(), makes_room) };
        if self.base.is_full() && !makes_room {
            // Otherwise the journal would take on what the database has no room for.
            self.settle_all(journal, false)?;
        }
        if journal.bytes() >= self.turn_bytes.min(TURN_MAX) && !self.must_settle() && !journal.is_shut() {
            self.turn(journal)?;
        }
        let durable = urgency == Urgency::Durable;
        let append = |journal: &mut Journal| journal.append(&changes, durable).map_err(cannot_append);
        if !append(journal)? {
            self.settle_all(journal, makes_room)?;
            if !append(journal)? {
                // Nothing of the journal from before this is brought in over it.
                let mark = records::encode(JOURNAL_KEY, &journal.next());
                let mark: Change<'_> = (Table::Meta, JOURNAL_KEY, Some(&mark));
                return self.base.commit(changes.iter().copied().chain(std::iter::once(mark)), makes_room);
            }
        }
        self.layers().newer.take(&mut lock(&self.slabs), changes);
        Ok(())
    }

    /// The rows of numbers that are to be raised, and are lower yet.
    fn raised(&self, ops: &[Op]) -> Result<Vec<Op>> {
        let mut rows = Vec::new();
        for op in ops {
            let Op::Raise(key, number) = op else { continue };
            let present = self.get(Table::Meta, key)?;
            let present = present.map(|row| records::decode(Table::Meta, key, row)).transpose()?;
            if present < Some(*number) {
                rows.push(Op::Put(Table::Meta, key.to_vec(), records::encode(key, number)));
            }
        }
        Ok(rows)
    }

    /// Whether there are rows to bring into the database.
    pub(super) fn must_settle(&self) -> bool {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).older.is_some()
    }

    /// Begins another generation; the rows of this one are to be brought into the database.
    fn turn(&self, journal: &mut Journal) -> Result<()> {
        let mut settling = lock(&self.settling);
        *settling = Some(journal.turn().map_err(cannot_append)?);
        self.set_layers(|layers| {
            if !layers.newer.is_empty() {
                layers.older = Some(std::mem::take(&mut layers.newer));
            }
        });
        Ok(())
    }

    /// Brings the rows of the former generation into the database, if it lacks them. Commits go on meanwhile.
    pub(super) fn settle(&self, makes_room: bool) -> Result<()> {
        let settling = lock(&self.settling);
        let (Some(older), Some(next)) = (self.layers().older, *settling) else { return Ok(()) };
        let mark = records::encode(JOURNAL_KEY, &next);
        let held = older.hold();
        let mark: Change<'_> = (Table::Meta, JOURNAL_KEY, Some(&mark));
        let whole = self.base.commit(held.rows().chain(std::iter::once(mark)), makes_room);
        if whole.is_err() && !(makes_room && self.base.is_full()) {
            return whole;
        }
        if whole.is_err() {
            // Pages that one part replaces are room for the next ones. The journal has it all until the mark moves on,
            // so a crash in between is none.
            let rows: Vec<Change<'_>> = held.rows().collect();
            for part in rows.chunks(PART_ROWS) {
                self.base.commit(part.iter().copied(), true)?;
            }
            self.base.commit(std::iter::once(mark), true)?;
        }
        drop(held);
        // Many rows are dropped, and only after nobody is kept waiting by it.
        drop(self.set_layers(|layers| layers.older.take()));
        Ok(())
    }

    /// Brings all rows into the database, and begins the journal anew.
    fn settle_all(&self, journal: &mut Journal, makes_room: bool) -> Result<()> {
        self.settle(makes_room)?;
        self.turn(journal)?;
        self.settle(makes_room)?;
        journal.reopen();
        Ok(())
    }

    /// Ends it in order: the database has everything, and the journal nothing.
    pub(super) fn close(&self) {
        let mut journal = lock(&self.journal);
        if let Some(mut journal) = journal.take() {
            let settled = self.settle_all(&mut journal, true);
            let cleared = settled.and_then(|()| journal.clear().map_err(cannot_append));
            if let Err(error) = cleared {
                tracing::warn!(%error, "the store is closed before the database has everything; the journal keeps it");
            }
        }
        self.base.close();
    }

    /// Whether the database found no room on the disk.
    pub(super) fn is_full(&self) -> bool {
        self.base.is_full()
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        // The layers first: what leaves them is in the database by then.
        let recent = self.layers.read().unwrap_or_else(PoisonError::into_inner).get(table, key);
        recent.map_or_else(|| Ok(self.base.get(table, key)?.map(Bytes::from)), Ok)
    }

    /// Shows rows from a key on, in order, until `visit` has seen enough. Rows that are committed meanwhile may be
    /// shown or not.
    pub(super) fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let layers = self.layers();
        let mut recent = Cursor::new(&layers, table, from);
        let mut more = true;
        self.base.scan(table, from, &mut |key, row| {
            while let Some((before, left)) = recent.next_if(|recent| recent < key) {
                more = left.map_or(Ok(true), |row| visit(&before, &row))?;
                if !more {
                    return Ok(false);
                }
            }
            more = match recent.next_if(|recent| recent == key) {
                Some((_, left)) => left.map_or(Ok(true), |row| visit(key, &row))?,
                None => visit(key, row)?,
            };
            Ok(more)
        })?;
        while more && let Some((key, left)) = recent.next_if(|_| true) {
            more = left.map_or(Ok(true), |row| visit(&key, &row))?;
        }
        Ok(())
    }

    /// The last rows from `from` to `to`, both counted in, at most `limit`; the last one first.
    pub(super) fn last(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>> {
        let recent = self.layers().range(table, Bound::Included(from), Bound::Included(to), usize::MAX);
        let mut rows = recent.clone();
        // As many more as the journal may have taken away.
        for (key, row) in self.base.last(table, from, to, limit.saturating_add(recent.len()))? {
            rows.entry(key).or_insert_with(|| Some(row.into()));
        }
        let last = rows.into_iter().rev().filter_map(|(key, left)| Some((key, left?)));
        Ok(last.take(limit).collect())
    }

    pub(super) fn count(&self, table: Table) -> Result<u64> {
        let names = self.layers().names(table);
        let mut count = self.base.count(table)?;
        for (key, is_there) in names {
            match (self.base.get(table, &key)?.is_some(), is_there) {
                (false, true) => count += 1,
                (true, false) => count = count.saturating_sub(1),
                _ => {}
            }
        }
        Ok(count)
    }
}

/// The journal's files, made where they are missing.
fn files(fs: &dyn Fs, root: &Path) -> io::Result<[Arc<dyn File>; 2]> {
    let open = |name: &str| {
        let path = root.join(name);
        if fs.exists(&path)? { fs.open(&path) } else { fs.create(&path) }
    };
    let files = [open(FILES[0])?, open(FILES[1])?];
    fs.sync_dir(root)?;
    Ok(files)
}

fn cannot_append(error: io::Error) -> Error {
    io_error(error, "the journal cannot be written; check the disk")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::model::SeededRng;
    use crate::store::SimFs;

    #[test]
    fn whoever_reads_while_rows_go_into_the_database_sees_what_was_committed_last() {
        const LAST: u64 = 300;
        let fs = SimFs::new(0);
        let rows = Rows::open(fs.create(Path::new("/store")).unwrap(), 1 << 20).unwrap();
        rows.begin_journal(&fs, Path::new("/"), &SeededRng::new(0), |why| panic!("{why}")).unwrap();
        let told = AtomicU64::new(0);
        let number = || {
            let row = rows.get(Table::Heads, b"k").unwrap();
            row.map_or(0, |row| u64::from_be_bytes(row[..].try_into().unwrap()))
        };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    // So many and no more: a reader ends also where who writes has failed.
                    for _ in 0..200_000 {
                        let before = told.load(Ordering::SeqCst);
                        let found = number();
                        assert!(found >= before, "{found} after {before}");
                        if before == LAST {
                            break;
                        }
                    }
                });
            }
            for n in 1..=LAST {
                let op = Op::Put(Table::Heads, b"k".to_vec(), n.to_be_bytes().to_vec());
                rows.commit(&[op], Urgency::Durable, false).unwrap();
                told.store(n, Ordering::SeqCst);
                rows.turn(lock(&rows.journal).as_mut().unwrap()).unwrap();
                rows.settle(false).unwrap();
                assert_eq!(number(), n);
            }
        });
    }
}

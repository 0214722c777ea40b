//! Opens the store of a data folder, and makes a new one from what can be read where it is damaged.
//!
//! The database trusts its pages, so a clean file is checked page by page before it is opened. A damaged one
//! is never written to: what holds up is copied into a new store, and the old file is kept aside.

mod pages;
mod rebuild;
mod record;
mod walk;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use record::{SalvageRecord, lost};

use self::pages::Header;
use self::walk::{Stop, Tables, Walker};
use super::batch::{Batch, Table};
use super::fs::{File, Fs};
use super::rows::Rows;
use super::typed::{Store, StoreOptions};
use super::{db, io_error, records};
use crate::error::{Error, Kind, Result};
use crate::model::Rng;

const STORE_FILE: &str = "store.redb";
/// A new store that is complete, or still being made while the old one is in its place.
const FRESH_FILE: &str = "store.salvaged";
/// Says that there was a store: an empty or missing one is then a lost one.
const MARK_FILE: &str = "store.mark";
/// Damaged stores that are kept aside.
const DAMAGED_MAX: usize = 1000;

/// What was known of a store before the database was asked.
enum Verdict {
    /// There was none.
    New,
    /// As far as can be told the database may open it.
    Sound,
    /// It may not.
    Damaged(String),
}

impl Store {
    /// Opens the store of a data folder, or makes one. A damaged one is salvaged first.
    pub fn open_in(fs: &Arc<dyn Fs>, root: &Path, options: StoreOptions, rng: &dyn Rng, now_ms: u64) -> Result<Self> {
        let folder = Folder { fs, root };
        folder.end_interrupted()?;
        let file = folder.file()?;
        let why = match folder.look(&*file)? {
            Verdict::New => {
                let store = folder.open(file, options, rng)?;
                folder.mark()?;
                return folder.begin(store, rng, now_ms);
            }
            Verdict::Damaged(why) => why,
            Verdict::Sound => match folder.open(Arc::clone(&file), options, rng) {
                Ok(store) => match folder.look_again(&*file)? {
                    None => {
                        folder.mark()?;
                        return folder.begin(store, rng, now_ms);
                    }
                    Some(why) => {
                        // It may stumble over the damage once more while it closes.
                        db::shielded_drop(store);
                        why
                    }
                },
                Err(error) if error.kind() == Kind::Corrupt => error.to_string(),
                Err(error) => return Err(error),
            },
        };
        let record = folder.salvage(&*file, &why, options, rng, now_ms)?;
        tracing::error!(
            why,
            kept = record.damaged,
            rows = record.rows,
            lost_pages = record.lost_pages,
            lost_rows = record.lost_rows,
            missing = record.missing.len(),
            complete = !record.incomplete,
            "the store was damaged; a new one was made from what could be read"
        );
        folder.begin(folder.open(folder.file()?, options, rng)?, rng, now_ms)
    }
}

/// The data folder of a store.
struct Folder<'a> {
    fs: &'a Arc<dyn Fs>,
    root: &'a Path,
}

impl Folder<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn at(&self, name: &str, what: &str, error: std::io::Error) -> Error {
        io_error(error, what).with("path", self.path(name).display())
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.fs.exists(&self.path(name)).map_err(|error| self.at(name, "cannot look into the data folder", error))
    }

    fn sync(&self) -> Result<()> {
        self.fs.sync_dir(self.root).map_err(|error| self.at("", "cannot sync the data folder", error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let moved = self.fs.rename(&self.path(from), &self.path(to));
        moved.map_err(|error| self.at(to, "cannot put the store in its place", error))
    }

    /// A salvage that a crash cut short is ended, or its half is thrown away.
    fn end_interrupted(&self) -> Result<()> {
        if !self.has(FRESH_FILE)? {
            return Ok(());
        }
        if self.has(STORE_FILE)? {
            let removed = self.fs.remove(&self.path(FRESH_FILE));
            removed.map_err(|error| self.at(FRESH_FILE, "cannot remove a half-made store", error))
        } else {
            // The old one is moved away only once the new one is whole.
            self.rename(FRESH_FILE, STORE_FILE)?;
            self.sync()
        }
    }

    fn file(&self) -> Result<Arc<dyn File>> {
        let path = self.path(STORE_FILE);
        let file = if self.has(STORE_FILE)? { self.fs.open(&path) } else { self.fs.create(&path) };
        let file = file.map_err(|error| self.at(STORE_FILE, "cannot open the store", error))?;
        // The store's own name must be durable before anything in it is acknowledged.
        self.sync()?;
        Ok(file)
    }

    fn open(&self, file: Arc<dyn File>, options: StoreOptions, rng: &dyn Rng) -> Result<Store> {
        let store =
            Store::open(file, options, rng).map_err(|error| error.with("path", self.path(STORE_FILE).display()))?;
        store.identity()?;
        Ok(store)
    }

    /// Takes in what the journal has beside the store. What is missing of it may be anything.
    fn begin(&self, store: Store, rng: &dyn Rng, now_ms: u64) -> Result<Store> {
        let damaged = |why: &'static str| {
            tracing::error!(why, "changes were acknowledged that cannot be read any more");
            let before = store.salvage_record()?.unwrap_or_default();
            let mut batch = Batch::new();
            batch.put_salvage(&SalvageRecord { at_ms: now_ms, why: why.to_owned(), incomplete: true, ..before });
            Ok(batch)
        };
        store.rows.begin_journal(&**self.fs, self.root, rng, damaged)?;
        Ok(store)
    }

    /// Notes that there is a store in this folder.
    fn mark(&self) -> Result<()> {
        if self.has(MARK_FILE)? {
            return Ok(());
        }
        let file = self.fs.create(&self.path(MARK_FILE));
        file.map_err(|error| self.at(MARK_FILE, "cannot mark the data folder", error))?;
        self.sync()
    }

    /// Looks at a store that nobody has open.
    fn look(&self, file: &dyn File) -> Result<Verdict> {
        db::reset_unfinished(file)?;
        let bytes = file.len().map_err(|error| self.at(STORE_FILE, "cannot read the store", error))?;
        if bytes == 0 {
            return Ok(match self.has(MARK_FILE)? {
                true => Verdict::Damaged("the store is gone".to_owned()),
                false => Verdict::New,
            });
        }
        let header = self.header(file)?;
        let why = match &header {
            None => Some("the store is cut off".to_owned()),
            Some(header) if !header.sound || header.slots.iter().any(|slot| !slot.readable) => {
                Some("the store's header is damaged".to_owned())
            }
            // A crash may have torn what nobody was told of. The database goes back to the commit before.
            Some(header) if header.unclean => None,
            Some(header) => {
                let [newest, other] = header.slots;
                if !newest.sound || other.sound && newest.commit < other.commit {
                    Some("the store's header is damaged".to_owned())
                } else {
                    self.check(file, header)?
                }
            }
        };
        Ok(why.map_or(Verdict::Sound, Verdict::Damaged))
    }

    /// Looks at a store that the database has opened, if a crash kept it from being looked at before.
    fn look_again(&self, file: &dyn File) -> Result<Option<String>> {
        match self.header(file)? {
            Some(header) if header.sound => self.check(file, &header),
            _ => Ok(Some("the store's header is damaged".to_owned())),
        }
    }

    fn header(&self, file: &dyn File) -> Result<Option<Header>> {
        Header::read(file).map_err(|error| self.at(STORE_FILE, "cannot read the store", error))
    }

    /// Reads every page of the newest commit; says what is wrong.
    fn check(&self, file: &dyn File, header: &Header) -> Result<Option<String>> {
        let [newest, _] = header.slots;
        let walk = || -> Result<u64, Stop> {
            let walker = Walker::new(file)?;
            let tables = walker.tables(newest.root)?;
            let mut pages = tables.losses.pages;
            for (table, root) in &tables.roots {
                pages += walker.rows(*table, *root, &mut |_, _| Ok(()))?.pages;
            }
            Ok(pages)
        };
        match walk().map_err(|stop| self.stopped(stop))? {
            0 => Ok(None),
            pages => Ok(Some(format!("{pages} pages of the store are damaged"))),
        }
    }

    fn stopped(&self, stop: Stop) -> Error {
        match stop {
            Stop::Disk(error) => self.at(STORE_FILE, "cannot read the store", error),
            Stop::Seen(error) => error,
        }
    }

    /// Makes a new store from what can be read, and puts it in the place of the old one.
    fn salvage(
        &self,
        file: &dyn File,
        why: &str,
        options: StoreOptions,
        rng: &dyn Rng,
        now_ms: u64,
    ) -> Result<SalvageRecord> {
        let damaged = self.aside()?;
        let header = self.header(file)?;
        let fresh = self.fs.create(&self.path(FRESH_FILE));
        let fresh = fresh.map_err(|error| self.at(FRESH_FILE, "cannot make a new store", error))?;
        let record =
            SalvageRecord { at_ms: now_ms, damaged: damaged.clone(), why: why.to_owned(), ..Default::default() };
        let made = Walker::new(file).map_err(Stop::Disk).and_then(|walker| {
            let (tables, certain) = newest(&walker, header.as_ref())?;
            let folder = (&**self.fs, self.root);
            let fresh = Rows::open(fresh, options.cache_bytes).map(Store::over).map_err(Stop::Seen)?;
            rebuild::rebuild(&walker, tables, certain, &fresh, folder, rng, record).map_err(Stop::Seen)
        });
        let record = made.map_err(|stop| self.stopped(stop))?;
        self.sync()?;
        self.rename(STORE_FILE, &damaged)?;
        self.rename(FRESH_FILE, STORE_FILE)?;
        self.sync()?;
        self.mark()?;
        Ok(record)
    }

    /// A name that no damaged store has yet.
    fn aside(&self) -> Result<String> {
        for number in 1..=DAMAGED_MAX {
            let name = format!("store.damaged-{number}");
            if !self.has(&name)? {
                return Ok(name);
            }
        }
        Err(Error::unavailable("there are too many damaged stores in the data folder; remove the old ones")
            .with("path", self.root.display()))
    }
}

/// The newest commit that can be found, and whether it surely is the newest.
fn newest(walker: &Walker<'_>, header: Option<&Header>) -> Result<(Tables, bool), Stop> {
    let slots = header.map(|header| header.slots.to_vec()).unwrap_or_default();
    let named = slots.iter().filter(|slot| slot.sound).max_by_key(|slot| slot.commit);
    let mut best = match named {
        Some(slot) => Some(rated(walker, walker.tables(slot.root)?)?),
        None => None,
    };
    let certain = named.is_some() && slots.iter().all(|slot| slot.sound);
    if certain {
        return Ok((best.map(|best| best.tables).unwrap_or_default(), true));
    }
    let roots = slots.iter().filter(|slot| !slot.sound).map(|slot| walker.tables(slot.root));
    let others = roots.collect::<Result<Vec<_>, _>>()?.into_iter().chain(walker.candidates()?);
    for tables in others {
        let other = rated(walker, tables)?;
        let better = match &best {
            None => true,
            // Only who surely has everything can be told to be older.
            Some(best) => best.whole && other.whole && other.changes > best.changes,
        };
        if better || best.as_ref().is_some_and(|best| named.is_none() && other.rank() > best.rank()) {
            best = Some(other);
        }
    }
    Ok((best.map(|best| best.tables).unwrap_or_default(), false))
}

/// Tables, and how new they are.
struct Rated {
    tables: Tables,
    /// Changes that are known to be in it: they only ever become more.
    changes: u64,
    /// Whether that number is sure.
    whole: bool,
}

impl Rated {
    fn rank(&self) -> (usize, u64) {
        let lost = usize::try_from(self.tables.losses.pages).unwrap_or(usize::MAX);
        (self.tables.roots.len().saturating_sub(lost), self.changes)
    }
}

fn rated(walker: &Walker<'_>, tables: Tables) -> Result<Rated, Stop> {
    let mut changes = 0u64;
    let root = tables.roots.get(&Table::Meta).copied();
    let losses = walker.rows(Table::Meta, root.flatten(), &mut |key, row| {
        if key.starts_with(super::batch::SEEN_PREFIX)
            && let Ok(seq) = records::decode::<u64>(Table::Meta, key, row.to_vec())
        {
            changes = changes.saturating_add(seq);
        }
        Ok(())
    })?;
    Ok(Rated { whole: losses.is_none() && root.is_some(), tables, changes })
}

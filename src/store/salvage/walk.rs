//! A walk through the trees of the store's file that knows what it can vouch for.
//!
//! What is reached by matching checksums is exactly what was committed. In a page that fails its checksum,
//! rows whose own check holds are taken as well, as long as another row shows that the page was damaged in
//! place: a page that is whole in itself but not the one that was committed may be an old one.

use std::collections::BTreeMap;
use std::io;

use super::pages::{self, Entry, PAGE_BYTES, Page, Pointer, pointer_at};
use crate::store::batch::Table;
use crate::store::fs::File;
use crate::store::records;

/// No tree is deeper.
const DEPTH_MAX: usize = 64;

/// What a walk could not vouch for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Pages that are gone, or damaged.
    pub(super) pages: u64,
    /// Rows of those that could not be taken. How many were on pages that are gone nobody knows.
    pub(super) rows: u64,
    /// Keys of such rows, as far as they can be read; they may be wrong, too.
    pub(super) keys: Vec<Vec<u8>>,
}

/// Names that are kept of what is lost.
const KEYS_MAX: usize = 1000;

impl Losses {
    pub(super) fn is_none(&self) -> bool {
        self.pages == 0 && self.rows == 0
    }

    fn row(&mut self, key: Option<&[u8]>) {
        self.rows += 1;
        if self.keys.len() < KEYS_MAX {
            self.keys.extend(key.map(<[u8]>::to_vec));
        }
    }
}

/// Sees a key and its row.
pub(super) type See<'a> = dyn FnMut(&[u8], &[u8]) -> crate::Result<()> + 'a;

/// Gets a key, its row, and whether the page they are on is vouched for; says whether it took the row.
type Take<'a> = dyn FnMut(&[u8], &[u8], bool) -> Result<bool, Stop> + 'a;

/// The store's file, for reading.
pub(super) struct Walker<'a> {
    file: &'a dyn File,
    bytes: u64,
}

/// Where the trees of all tables begin, and what was lost on the way there.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) roots: BTreeMap<Table, Option<Pointer>>,
    pub(super) losses: Losses,
}

/// A walk that ended early: the disk, or whoever was shown a row.
pub(super) enum Stop {
    Disk(io::Error),
    Seen(crate::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Disk(error)
    }
}

impl<'a> Walker<'a> {
    pub(super) fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Walker { file, bytes: file.len()? })
    }

    /// The tables that a root names.
    pub(super) fn tables(&self, root: Option<Pointer>) -> Result<Tables, Stop> {
        let mut tables = Tables::default();
        let Some(root) = root else { return Ok(tables) };
        let (roots, losses) = (&mut tables.roots, &mut tables.losses);
        self.descend(root, true, 0, losses, &mut |key, definition, sound| {
            if let Some((table, root)) = table_of(key, definition) {
                // A definition that nobody vouches for counts only if its own pointer proves right.
                if sound || root.is_some_and(|root| self.proves(root).unwrap_or(false)) {
                    roots.insert(table, root);
                    return Ok(true);
                }
            }
            Ok(sound)
        })?;
        Ok(tables)
    }

    /// Shows every row of a table that can be vouched for.
    pub(super) fn rows(&self, table: Table, root: Option<Pointer>, see: &mut See<'_>) -> Result<Losses, Stop> {
        let mut losses = Losses::default();
        let Some(root) = root else { return Ok(losses) };
        self.descend(root, true, 0, &mut losses, &mut |key, row, sound| {
            // The committed page is shown as it is: a row in it that fails its check is known as damaged.
            let good = sound || records::unwrap(table, key, row.to_vec()).is_ok();
            if good {
                see(key, row).map_err(Stop::Seen)?;
            }
            Ok(good)
        })?;
        Ok(losses)
    }

    fn proves(&self, pointer: Pointer) -> io::Result<bool> {
        let bytes = pages::read(self.file, self.bytes, pointer.page)?;
        Ok(bytes.is_some_and(|bytes| Page::parse(&bytes, pointer.checksum).1))
    }

    /// Walks a tree. `vouched` says whether the pointer itself can be trusted.
    fn descend(
        &self,
        pointer: Pointer,
        vouched: bool,
        depth: usize,
        losses: &mut Losses,
        take: &mut Take<'_>,
    ) -> Result<(), Stop> {
        let bytes = pages::read(self.file, self.bytes, pointer.page)?;
        let Some(bytes) = bytes.filter(|_| depth < DEPTH_MAX) else {
            losses.pages += 1;
            return Ok(());
        };
        let (page, sound) = Page::parse(&bytes, pointer.checksum);
        if !sound {
            losses.pages += 1;
            if !vouched {
                return Ok(());
            }
        }
        match page {
            Page::Branch(children) => {
                for child in children {
                    self.descend(child, sound, depth + 1, losses, take)?;
                }
            }
            Page::Leaf(entries) if sound => {
                for (key, row) in entries.into_iter().flatten() {
                    let (Some(key), Some(row)) = (bytes.get(key), bytes.get(row)) else { continue };
                    take(key, row, true)?;
                }
            }
            Page::Leaf(entries) => self.leaf_in_pieces(&bytes, &entries, losses, take)?,
        }
        Ok(())
    }

    /// Takes the rows of a damaged leaf that hold up by themselves.
    fn leaf_in_pieces(
        &self,
        bytes: &[u8],
        entries: &[Option<Entry>],
        losses: &mut Losses,
        take: &mut Take<'_>,
    ) -> Result<(), Stop> {
        let parts = |entry: &Option<Entry>| {
            let (key, row) = entry.clone()?;
            Some((bytes.get(key)?, bytes.get(row)?))
        };
        let holds_up = |entry: &Option<Entry>| {
            parts(entry).is_some_and(|(key, row)| records::unwrap(Table::Meta, key, row.to_vec()).is_ok())
        };
        let in_place = !entries.iter().all(holds_up);
        for entry in entries {
            let taken = match parts(entry) {
                Some((key, row)) if in_place => take(key, row, false)?,
                _ => false,
            };
            if !taken {
                losses.row(parts(entry).map(|(key, _)| key));
            }
        }
        Ok(())
    }

    /// Every page that may hold the definitions of the tables, wherever it lies in the file. Which of them
    /// is the newest is for the caller to find out.
    pub(super) fn candidates(&self) -> Result<Vec<Tables>, Stop> {
        const PART_PAGES: u64 = 256;
        let mut found = Vec::new();
        let mut at = PAGE_BYTES;
        while at < self.bytes {
            let part = (PART_PAGES * PAGE_BYTES).min(self.bytes - at);
            let mut bytes = vec![0; part as usize];
            self.file.read_exact_at(&mut bytes, at)?;
            for page in bytes.chunks(PAGE_BYTES as usize) {
                let (Page::Leaf(entries), _) = Page::parse(page, 0) else { continue };
                let named = entries.iter().flatten().filter_map(|(key, row)| {
                    let (table, root) = table_of(page.get(key.clone())?, page.get(row.clone())?)?;
                    let proven = root.is_none_or(|root| self.proves(root).unwrap_or(false));
                    Some((table, root.filter(|_| proven), proven))
                });
                let mut tables = Tables::default();
                for (table, root, proven) in named {
                    tables.losses.pages += u64::from(!proven);
                    tables.roots.insert(table, root);
                }
                if !tables.roots.is_empty() {
                    found.push(tables);
                }
            }
            at += part;
        }
        Ok(found)
    }
}

/// A table's definition: kind, number of rows, then the pointer to its tree.
fn table_of(key: &[u8], definition: &[u8]) -> Option<(Table, Option<Pointer>)> {
    let table = Table::ALL.into_iter().find(|table| table.name().as_bytes() == key)?;
    let present = match (definition.first()?, definition.get(9)?) {
        (3, 0) => false,
        (3, 1) => true,
        _ => return None,
    };
    Some((table, pointer_at(definition, 10).filter(|_| present)))
}

//! Rows that are in the journal and not yet in the database. They hide what the database has under their keys.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use super::batch::{Change, Table};
use super::slabs::Slabs;

/// A row as a commit left it; `None` where it was taken away.
type Left = Option<Bytes>;

/// A table's rows.
type Rows = BTreeMap<Vec<u8>, Left>;

/// Rows of all tables.
#[derive(Default)]
pub(super) struct Recent(RwLock<[Rows; Table::ALL.len()]>);

/// What one generation of the journal leaves, held still.
pub(super) struct Held<'a>(RwLockReadGuard<'a, [Rows; Table::ALL.len()]>);

impl Recent {
    fn read(&self) -> RwLockReadGuard<'_, [Rows; Table::ALL.len()]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a commit in, whole.
    pub(super) fn take<'a>(&self, slabs: &mut Slabs, changes: impl IntoIterator<Item = Change<'a>>) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (table, key, row) in changes {
            if let Some(rows) = tables.get_mut(table as usize) {
                rows.insert(key.to_vec(), row.map(|row| slabs.put(row)));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read().iter().all(BTreeMap::is_empty)
    }

    /// A copy: what lies in a slab is not for keeping.
    fn get(&self, table: Table, key: &[u8]) -> Option<Left> {
        Some(self.read().get(table as usize)?.get(key)?.as_deref().map(Bytes::copy_from_slice))
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Left)> {
        let tables = self.read();
        let rows = tables.get(table as usize).into_iter().flat_map(|rows| rows.range::<[u8], _>((from, to)));
        rows.take(limit).map(|(key, left)| (key.clone(), left.clone())).collect()
    }

    fn names(&self, table: Table, into: &mut BTreeMap<Vec<u8>, bool>) {
        let tables = self.read();
        for (key, left) in tables.get(table as usize).into_iter().flatten() {
            into.entry(key.clone()).or_insert(left.is_some());
        }
    }

    /// Lets nothing change while it is looked through.
    pub(super) fn hold(&self) -> Held<'_> {
        Held(self.read())
    }
}

impl Held<'_> {
    /// Every row, in the order of tables and keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = Change<'_>> + Clone {
        let tables = Table::ALL.into_iter().zip(self.0.iter());
        tables.flat_map(|(table, rows)| rows.iter().map(move |(key, left)| (table, key.as_slice(), left.as_deref())))
    }
}

/// What is in the journal, as of one moment: the rows of the generation that is written, and of the one before it
/// while the database does not have them. Who holds this misses nothing that was committed before, wherever it went.
#[derive(Clone, Default)]
pub(super) struct Layers {
    pub(super) newer: Arc<Recent>,
    pub(super) older: Option<Arc<Recent>>,
}

impl Layers {
    fn all(&self) -> impl Iterator<Item = &Recent> {
        std::iter::once(&*self.newer).chain(self.older.as_deref())
    }

    /// The row as the last commit left it; `None` where that is for the database to say.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Left> {
        self.all().find_map(|recent| recent.get(table, key))
    }

    /// All keys of a table, and whether each has a row.
    pub(super) fn names(&self, table: Table) -> BTreeMap<Vec<u8>, bool> {
        let mut names = BTreeMap::new();
        self.all().for_each(|recent| recent.names(table, &mut names));
        names
    }

    /// The first rows of a range, in order.
    pub(super) fn range(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> BTreeMap<Vec<u8>, Left> {
        let mut rows = Rows::new();
        for recent in self.all() {
            for (key, left) in recent.range(table, from, to, limit) {
                rows.entry(key).or_insert(left);
            }
        }
        while rows.len() > limit {
            rows.pop_last();
        }
        rows
    }
}

/// Goes through the rows of one table in order, some at a time, so that who commits is not held up.
pub(super) struct Cursor<'a> {
    layers: &'a Layers,
    table: Table,
    at: Bound<Vec<u8>>,
    next: std::collections::btree_map::IntoIter<Vec<u8>, Left>,
    peeked: Option<(Vec<u8>, Left)>,
    ended: bool,
}

/// Rows that are looked up at once.
const STRETCH: usize = 64;

impl<'a> Cursor<'a> {
    pub(super) fn new(layers: &'a Layers, table: Table, from: &[u8]) -> Self {
        let (at, next) = (Bound::Included(from.to_vec()), Rows::new().into_iter());
        Cursor { layers, table, at, next, peeked: None, ended: false }
    }

    /// The next row whose key `wanted` accepts.
    pub(super) fn next_if(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<(Vec<u8>, Left)> {
        if self.peeked.is_none() {
            self.peeked = self.step();
        }
        self.peeked.take_if(|(key, _)| wanted(key))
    }

    fn step(&mut self) -> Option<(Vec<u8>, Left)> {
        if let Some(row) = self.next.next() {
            return Some(row);
        }
        if self.ended {
            return None;
        }
        let at = self.at.as_ref().map(Vec::as_slice);
        let rows = self.layers.range(self.table, at, Bound::Unbounded, STRETCH);
        self.ended = rows.len() < STRETCH;
        if let Some((last, _)) = rows.last_key_value() {
            self.at = Bound::Excluded(last.clone());
        }
        self.next = rows.into_iter();
        self.next.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'a>(key: &'a str, row: &'static str) -> Change<'a> {
        (Table::Heads, key.as_bytes(), Some(row.as_bytes()))
    }

    fn gone(key: &str) -> Change<'_> {
        (Table::Heads, key.as_bytes(), None)
    }

    fn layers() -> Layers {
        let (newer, older) = (Recent::default(), Recent::default());
        older.take(&mut Slabs::default(), [put("a", "old"), put("b", "old"), gone("c"), put("d", "old")]);
        newer.take(&mut Slabs::default(), [put("b", "new"), gone("d"), put("e", "new")]);
        Layers { newer: Arc::new(newer), older: Some(Arc::new(older)) }
    }

    #[test]
    fn the_newer_layer_hides_the_older_one() {
        let layers = layers();
        let got = ["a", "b", "c", "d", "e", "f"].map(|key| layers.get(Table::Heads, key.as_bytes()));
        let row = |text: &str| Some(Some(Bytes::copy_from_slice(text.as_bytes())));
        assert_eq!(got, [row("old"), row("new"), Some(None), Some(None), row("new"), None]);
        assert_eq!(layers.get(Table::Inline, b"a"), None, "tables do not run into each other");
        let range = layers.range(Table::Heads, Bound::Excluded(b"a"), Bound::Included(b"d"), 2);
        assert_eq!(range.into_keys().collect::<Vec<_>>(), [b"b", b"c"]);
    }

    #[test]
    fn a_cursor_meets_each_row_once_and_in_order_however_many_there_are() {
        let (newer, older) = (Recent::default(), Recent::default());
        let keys: Vec<String> = (0..300).map(|n| format!("{n:04}")).collect();
        newer.take(&mut Slabs::default(), keys.iter().step_by(2).map(|key| put(key, "new")));
        older.take(&mut Slabs::default(), keys.iter().step_by(3).map(|key| put(key, "old")));
        let layers = Layers { newer: Arc::new(newer), older: Some(Arc::new(older)) };
        let mut cursor = Cursor::new(&layers, Table::Heads, b"0010");
        let mut seen = Vec::new();
        assert_eq!(cursor.next_if(|key| key < &b"0010"[..]), None);
        while let Some((key, left)) = cursor.next_if(|_| true) {
            let number: usize = String::from_utf8(key).unwrap().parse().unwrap();
            assert_eq!(left.as_deref(), Some(if number.is_multiple_of(2) { &b"new"[..] } else { b"old" }));
            seen.push(number);
        }
        assert_eq!(seen, (10..300).filter(|n| n % 2 == 0 || n % 3 == 0).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_held_still_comes_in_the_order_of_tables_and_keys() {
        let recent = Recent::default();
        recent.take(&mut Slabs::default(), [put("b", "1"), (Table::Meta, b"m", Some(b"2")), gone("a")]);
        assert!(!recent.is_empty() && Recent::default().is_empty());
        let held = recent.hold();
        let rows: Vec<_> = held.rows().map(|(table, key, left)| (table, key.to_vec(), left.is_some())).collect();
        let (a, b, m) = (b"a".to_vec(), b"b".to_vec(), b"m".to_vec());
        assert_eq!(rows, [(Table::Heads, a, false), (Table::Heads, b, true), (Table::Meta, m, true)]);
    }
}

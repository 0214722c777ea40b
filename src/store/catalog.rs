//! What other containers of the site keep, as far as this one has heard: entries beside its own heads.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Table, head_key};
use super::records;
use super::typed::{Listing, Store};
use super::walk::address_of;
use crate::error::Result;
use crate::limits::WALK_SCAN_MAX;
use crate::model::{Address, ContainerId, Dot, Entry, Head};

impl Batch {
    /// Makes this what is known of another container's object at the address.
    pub fn put_entry(&mut self, address: &Address, entry: &Entry) {
        let key = head_key(address.collection(), address.key());
        let row = records::encode(&key, entry);
        self.put(Table::Catalog, key, row);
    }

    /// The site's log was read up to this place.
    pub fn put_log_place(&mut self, place: u64) {
        self.put_number(LOG_PLACE_KEY, place);
    }

    /// Nothing of another container's is known at the address any more.
    pub fn remove_entry(&mut self, address: &Address) {
        self.remove(Table::Catalog, head_key(address.collection(), address.key()));
    }
}

/// Meta: up to where the site's log was read.
const LOG_PLACE_KEY: &[u8] = b"log-place";
/// Meta: when this container was in touch with its site last.
const IN_TOUCH_KEY: &[u8] = b"in-touch";

/// A place in the walk over everything that is known, whoever keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPlace {
    /// Whether it is among the entries of others, which come behind the heads.
    others: bool,
    /// The last key looked at.
    key: Vec<u8>,
}

/// A part of that walk.
#[derive(Debug, Default)]
pub struct KnownStretch {
    /// What was asked for, and who keeps it; nobody named is this container itself.
    pub found: Vec<(Address, Option<ContainerId>, Head)>,
    /// Where to go on; `None` at the end.
    pub next: Option<KnownPlace>,
}

impl Store {
    /// What another container keeps at an address.
    pub fn entry(&self, address: &Address) -> Result<Option<Entry>> {
        let key = head_key(address.collection(), address.key());
        let row = self.rows.get(Table::Catalog, &key)?;
        row.map(|row| records::decode(Table::Catalog, &key, row)).transpose()
    }

    /// Up to where the site's log was read.
    pub fn log_place(&self) -> Result<u64> {
        Ok(self.number(LOG_PLACE_KEY)?.unwrap_or_default())
    }

    /// When this container was in touch with its site last, if it ever was.
    pub fn in_touch_ms(&self) -> Result<Option<u64>> {
        self.number(IN_TOUCH_KEY)
    }

    /// This container is in touch with its site at this moment.
    pub fn note_in_touch(&self, now_ms: u64) -> Result<()> {
        let mut batch = Batch::new();
        batch.put_number(IN_TOUCH_KEY, now_ms);
        self.commit(&batch)
    }

    /// How many entries of others are known, traces of deletes among them.
    pub fn entry_count(&self) -> Result<u64> {
        self.rows.count(Table::Catalog)
    }

    /// Others' objects, as [`Store::list`] lists this container's own.
    pub fn list_entries(
        &self,
        (collection, prefix, after): (&str, &str, Option<&str>),
        limit: usize,
        now_ms: u64,
    ) -> Result<Listing> {
        self.list_in(Table::Catalog, |entry: Entry| entry.head, (collection, prefix, after), limit, now_ms)
    }

    /// Looks at the next rows of everything that is known, or of one collection, and takes what `wanted` asks for by
    /// its dot. Rows that fail their check are passed over: the scrub names them.
    pub fn walk_known(
        &self,
        within: Option<&str>,
        place: KnownPlace,
        limit: usize,
        mut wanted: impl FnMut(Dot) -> bool + Send,
    ) -> Result<KnownStretch> {
        let mut stretch = KnownStretch::default();
        let mut seen = 0;
        let first = within.map(|collection| head_key(collection, "")).unwrap_or_default();
        let mut behind = match place.key.is_empty() {
            true => first.clone(),
            false => [place.key.as_slice(), &[0]].concat(),
        };
        for (table, others) in [(Table::Heads, false), (Table::Catalog, true)] {
            if place.others && !others {
                continue;
            }
            self.rows.scan(table, &behind, &mut |key, row| {
                if seen >= WALK_SCAN_MAX || stretch.found.len() >= limit || !key.starts_with(&first) {
                    return Ok(false);
                }
                seen += 1;
                stretch.next = Some(KnownPlace { others, key: key.to_vec() });
                let row = match others {
                    false => records::decode(table, key, row.to_vec()).map(|head: Head| (None, head)),
                    true => {
                        records::decode(table, key, row.to_vec()).map(|entry: Entry| (Some(entry.keeper), entry.head))
                    }
                };
                if let (Ok((keeper, head)), Some(address)) = (row, address_of(key))
                    && wanted(head.dot())
                {
                    stretch.found.push((address, keeper, head));
                }
                Ok(true)
            })?;
            if seen >= WALK_SCAN_MAX || stretch.found.len() >= limit {
                return Ok(stretch);
            }
            behind.clone_from(&first);
        }
        stretch.next = None;
        Ok(stretch)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Fs, SimFs, StoreOptions};
    use super::*;
    use crate::model::{Incarnation, SeededRng, Tombstone, Version};

    fn trace(seq: u64, container: ContainerId) -> Head {
        let dot = Dot { incarnation: Incarnation(container.0), seq };
        Head::Deleted(Tombstone { version: Version { time: seq, container }, dot, replaces: None, deleted_ms: 0 })
    }

    #[test]
    fn a_walk_meets_what_is_wanted_of_both_tables_once() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
        let (me, other) = (ContainerId(1), ContainerId(2));
        let mut batch = Batch::new();
        for n in 0..20 {
            let address: Address = format!("c/{n:02}").parse().unwrap();
            match n % 2 {
                0 => batch.put_head(&address, &trace(n, me)),
                _ => batch.put_entry(&address, &Entry { keeper: other, head: trace(n, other) }),
            }
        }
        store.commit(&batch).unwrap();
        for limit in [1, 3, 100] {
            let (mut place, mut met) = (KnownPlace::default(), Vec::new());
            loop {
                let stretch = store.walk_known(None, place, limit, |dot| dot.seq >= 10).unwrap();
                met.extend(stretch.found.into_iter().map(|(_, keeper, head)| (keeper, head.dot().seq)));
                match stretch.next {
                    Some(next) => place = next,
                    None => break,
                }
            }
            let own = (10..20).step_by(2).map(|seq| (None, seq));
            let others = (11..20).step_by(2).map(|seq| (Some(other), seq));
            assert_eq!(met, own.chain(others).collect::<Vec<_>>(), "{limit}");
        }
        for (collection, all) in [("c", 20), ("b", 0), ("", 0), ("c0", 0)] {
            let stretch = store.walk_known(Some(collection), KnownPlace::default(), 100, |_| true).unwrap();
            assert_eq!((stretch.found.len(), stretch.next), (all, None), "{collection}");
        }
        assert_eq!(store.entry(&"c/01".parse().unwrap()).unwrap().unwrap().keeper, other);
        assert_eq!((store.entry(&"c/00".parse().unwrap()).unwrap(), store.entry_count().unwrap()), (None, 10));
    }
}

//! The walk through everything that is sealed: the heads and then the old versions, in the order of their
//! keys, a stretch at a time. Whoever walks remembers the place, and so goes on where a former life ended.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::batch::Table;
use super::records;
use super::typed::Store;
use crate::error::Result;
use crate::limits::WALK_SCAN_MAX;
use crate::model::{Address, Head, Manifest};

/// A place in the walk: the last row that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkPlace {
    /// Whether it is among the old versions, which come behind the heads.
    old: bool,
    key: Vec<u8>,
}

impl WalkPlace {
    /// Whether it is among the old versions.
    pub fn is_old(&self) -> bool {
        self.old
    }
}

/// A part of the walk.
#[derive(Debug, Default)]
pub struct WalkStretch {
    /// What was met, and where the walk is then.
    pub found: Vec<(WalkPlace, Address, Manifest)>,
    /// Rows that fail their own check, by table and key.
    pub damaged: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<WalkPlace>,
}

impl Store {
    /// The next things behind a place, up to `limit`.
    pub fn walk(&self, place: Option<&WalkPlace>, limit: usize) -> Result<WalkStretch> {
        let mut stretch = WalkStretch::default();
        if place.is_none_or(|place| !place.old) {
            let from = place.map(|place| behind(&place.key)).unwrap_or_default();
            let flow = self.stretch_of(Table::Heads, &from, limit, &mut stretch, |row| match row {
                Head::Object(manifest) => Some(manifest),
                Head::Deleted(_) => None,
            })?;
            if flow.is_break() {
                return Ok(stretch);
            }
        }
        let from = place.filter(|place| place.old).map(|place| behind(&place.key)).unwrap_or_default();
        if self.stretch_of(Table::Versions, &from, limit, &mut stretch, Some)?.is_continue() {
            stretch.next = None;
        }
        Ok(stretch)
    }

    /// Walks one table; breaks when the stretch is long enough.
    fn stretch_of<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
        from: &[u8],
        limit: usize,
        stretch: &mut WalkStretch,
        sealed: impl Fn(T) -> Option<Manifest>,
    ) -> Result<ControlFlow<()>> {
        let (mut seen, mut flow) = (0, ControlFlow::Continue(()));
        self.rows.scan(table, from, &mut |key, row| {
            // Looked at first, so that the place is always the last row that is in the stretch.
            if stretch.found.len() >= limit || seen >= WALK_SCAN_MAX {
                flow = ControlFlow::Break(());
                return Ok(false);
            }
            seen += 1;
            let place = WalkPlace { old: table == Table::Versions, key: key.to_vec() };
            stretch.next = Some(place.clone());
            let decoded = records::decode::<T>(table, key, row.to_vec());
            match (decoded, address_of(key)) {
                (Ok(row), Some(address)) => {
                    stretch.found.extend(sealed(row).map(|manifest| (place, address, manifest)));
                }
                _ => stretch.damaged.push(format!("{}: {}", table.name(), key.escape_ascii())),
            }
            Ok(true)
        })?;
        Ok(flow)
    }
}

fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0][..]].concat()
}

/// The address in the key of a head or of an old version.
pub(super) fn address_of(key: &[u8]) -> Option<Address> {
    let mut parts = key.splitn(3, |byte| *byte == 0);
    let collection = std::str::from_utf8(parts.next()?).ok()?;
    let name = std::str::from_utf8(parts.next()?).ok()?;
    format!("{collection}/{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Batch, Fs, SimFs, StoreOptions};
    use super::*;
    use crate::model::{ContainerId, Digest, DigestKind, Dot, Durability, Incarnation, NfrSpec, SeededRng, Version};

    fn manifest(time: u64) -> Manifest {
        Manifest {
            version: Version { time, container: ContainerId(1) },
            dot: Dot { incarnation: Incarnation(1), seq: time },
            replaces: None,
            size: 1,
            digest: Digest { kind: DigestKind::Blake3, bytes: [0; 32] },
            content_type: None,
            meta: Default::default(),
            modified_ms: 1,
            expires_ms: None,
            nfr: NfrSpec::default(),
            durability: Durability::Disk,
            seal: None,
            moves: 0,
        }
    }

    fn store(objects: u64) -> Store {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
        let mut batch = Batch::new();
        for n in 0..objects {
            let address: Address = format!("c/{n:03}").parse().unwrap();
            batch.put_head(&address, &Head::Object(manifest(1000 + n)));
            if n % 3 == 0 {
                batch.retain_version(&address, &manifest(n + 1));
            }
        }
        store.commit(&batch).unwrap();
        store
    }

    #[test]
    fn a_walk_meets_every_version_once_however_it_is_cut() {
        let store = store(50);
        for limit in [1, 7, 50, 1000] {
            let (mut place, mut met) = (None, Vec::new());
            loop {
                let stretch = store.walk(place.as_ref(), limit).unwrap();
                assert!(stretch.damaged.is_empty() && stretch.found.len() <= limit.max(1) * 2);
                met.extend(stretch.found.into_iter().map(|(_, _, manifest)| manifest.version.time));
                place = stretch.next;
                if place.is_none() {
                    break;
                }
            }
            let wanted: Vec<u64> = (1000..1050).chain((0..50).step_by(3).map(|n| n + 1)).collect();
            assert_eq!(met, wanted, "{limit}");
        }
    }

    #[test]
    fn a_record_that_fails_its_check_is_named_and_passed_over() {
        let store = store(3);
        let key = super::super::batch::head_key("c", "001");
        store.commit_raw(super::super::batch::Op::Put(Table::Heads, key, b"nonsense".to_vec())).unwrap();
        let stretch = store.walk(None, 100).unwrap();
        assert_eq!((stretch.found.len(), stretch.damaged), (3, vec!["heads: c\\x00001".to_owned()]));
    }
}

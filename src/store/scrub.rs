//! What the scrub remembers over restarts, and the walk through everything that is sealed.
//!
//! A round walks the heads and then the old versions in the order of their keys, and the next one begins
//! where it ended: so what was checked longest ago always comes first, without a date for each object.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Table};
use super::records;
use super::typed::Store;
use crate::error::Result;
use crate::limits::{SCRUB_HISTORY_MAX, SCRUB_SCAN_MAX};
use crate::model::{Address, Head, Manifest};

/// Meta: what the scrub remembers.
const SCRUB_KEY: &[u8] = b"scrub";

/// A place in the walk: the last row that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPlace {
    /// Whether it is among the old versions, which come behind the heads.
    old: bool,
    key: Vec<u8>,
}

/// One walk through everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRound {
    /// Wall-clock milliseconds since 1970 when it began.
    pub started_ms: u64,
    /// The same when it ended.
    pub ended_ms: Option<u64>,
    /// Whether somebody asked for it.
    pub asked: bool,
    /// Versions of objects that were checked.
    pub objects: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Copies and records that failed their check.
    pub damaged: u64,
    /// Of those, how many were replaced from another copy.
    pub healed: u64,
    /// Copies that could not be checked, such as for a key that is not in the keyring.
    pub unreadable: u64,
    /// Why the last of those could not be.
    pub last_error: Option<String>,
}

/// What the scrub remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRecord {
    /// When the wait for the first round began.
    pub since_ms: u64,
    /// How far the present round is; `None` at its beginning.
    pub place: Option<ScrubPlace>,
    /// The present round, if there is one.
    pub round: Option<ScrubRound>,
    /// Rounds that ended, the last one first.
    pub history: Vec<ScrubRound>,
}

/// A part of the walk.
#[derive(Debug, Default)]
pub struct ScrubStretch {
    /// What is to be checked, and where the walk is then.
    pub found: Vec<(ScrubPlace, Address, Manifest)>,
    /// Rows that fail their own check, by table and key.
    pub damaged: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScrubPlace>,
}

impl ScrubRecord {
    /// Begins a round, unless one is under way.
    pub fn begin(&mut self, now_ms: u64, asked: bool) {
        match &mut self.round {
            Some(round) => round.asked |= asked,
            None => self.round = Some(ScrubRound { started_ms: now_ms, asked, ..ScrubRound::default() }),
        }
    }

    /// Ends the round.
    pub fn end(&mut self, now_ms: u64) {
        self.place = None;
        if let Some(round) = self.round.take() {
            self.history.insert(0, ScrubRound { ended_ms: Some(now_ms), ..round });
            self.history.truncate(SCRUB_HISTORY_MAX);
        }
    }

    /// When the last round ended, or the wait for the first one began.
    pub fn rested_since(&self) -> u64 {
        self.history.first().and_then(|round| round.ended_ms).unwrap_or(self.since_ms)
    }
}

impl Batch {
    /// Remembers how far the scrub is.
    pub fn put_scrub(&mut self, record: &ScrubRecord) {
        self.put(Table::Meta, SCRUB_KEY.to_vec(), records::encode(SCRUB_KEY, record));
    }
}

impl Store {
    /// What the scrub remembers. A record that is damaged is as good as none: the scrub begins anew.
    pub fn scrub_record(&self) -> Result<Option<ScrubRecord>> {
        let row = self.db.get(Table::Meta, SCRUB_KEY)?;
        Ok(row.and_then(|row| records::decode(Table::Meta, SCRUB_KEY, row).ok()))
    }

    /// The next things to be checked behind a place, up to `limit`.
    pub fn scrub_stretch(&self, place: Option<&ScrubPlace>, limit: usize) -> Result<ScrubStretch> {
        let mut stretch = ScrubStretch::default();
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
        stretch: &mut ScrubStretch,
        sealed: impl Fn(T) -> Option<Manifest>,
    ) -> Result<ControlFlow<()>> {
        let (mut seen, mut flow) = (0, ControlFlow::Continue(()));
        self.db.scan(table, from, &mut |key, row| {
            // Looked at first, so that the place is always the last row that is in the stretch.
            if stretch.found.len() >= limit || seen >= SCRUB_SCAN_MAX {
                flow = ControlFlow::Break(());
                return Ok(false);
            }
            seen += 1;
            let place = ScrubPlace { old: table == Table::Versions, key: key.to_vec() };
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

    use super::super::{Fs, SimFs, StoreOptions};
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
                let stretch = store.scrub_stretch(place.as_ref(), limit).unwrap();
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
        let stretch = store.scrub_stretch(None, 100).unwrap();
        assert_eq!((stretch.found.len(), stretch.damaged), (3, vec!["heads: c\\x00001".to_owned()]));
    }

    #[test]
    fn rounds_are_remembered_and_forgotten_in_order() {
        let mut record = ScrubRecord { since_ms: 5, ..ScrubRecord::default() };
        assert_eq!(record.rested_since(), 5);
        for n in 1..=SCRUB_HISTORY_MAX as u64 + 3 {
            record.begin(10 * n, false);
            record.begin(10 * n + 1, true);
            assert!(record.round.as_ref().is_some_and(|round| round.asked && round.started_ms == 10 * n));
            record.end(10 * n + 5);
            assert_eq!(record.rested_since(), 10 * n + 5);
        }
        assert_eq!(record.history.len(), SCRUB_HISTORY_MAX);
        let store = store(0);
        assert_eq!(store.scrub_record().unwrap(), None);
        let mut batch = Batch::new();
        batch.put_scrub(&record);
        store.commit(&batch).unwrap();
        assert_eq!(store.scrub_record().unwrap(), Some(record));
    }
}

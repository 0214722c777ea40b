//! What the scrub remembers over restarts.
//!
//! A round walks through everything (`walk.rs`), and the next one begins where it ended: so what was checked
//! longest ago always comes first, without a date for each object.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Table};
use super::records;
use super::typed::Store;
use super::walk::WalkPlace;
use crate::error::Result;
use crate::limits::SCRUB_HISTORY_MAX;

/// Meta: what the scrub remembers.
const SCRUB_KEY: &[u8] = b"scrub";

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
    pub place: Option<WalkPlace>,
    /// The present round, if there is one.
    pub round: Option<ScrubRound>,
    /// Rounds that ended, the last one first.
    pub history: Vec<ScrubRound>,
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
        let row = self.rows.get(Table::Meta, SCRUB_KEY)?;
        Ok(row.and_then(|row| records::decode(Table::Meta, SCRUB_KEY, row).ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Fs, SimFs, StoreOptions};
    use super::*;
    use crate::model::SeededRng;

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
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
        assert_eq!(store.scrub_record().unwrap(), None);
        let mut batch = Batch::new();
        batch.put_scrub(&record);
        store.commit(&batch).unwrap();
        assert_eq!(store.scrub_record().unwrap(), Some(record));
    }
}

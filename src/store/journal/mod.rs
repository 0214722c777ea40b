//! The journal before the database: what is committed is appended to a file and synced, one write and one sync a
//! commit. The database gets it later, in bulk.
//!
//! There are two files, which take turns. A *generation* is what is written into one of them from its start on; the
//! next one goes into the other file, and only once the database has everything before it. Records are numbered
//! through all generations, so one that is missing is noticed.
//!
//! A record fills whole sectors, and each sector ends with a tag that only this record's sectors have. A record
//! that fails its check although all its tags are there was written whole and is *damaged*; one that lacks
//! some was cut short by a crash, and nobody was told that it is there.

mod reading;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

pub(super) use reading::read;

use super::batch::Change;
use super::fs::File;
use crate::model::{fingerprint, mix};

/// What a write reaches the disk in, whole or not at all.
const SECTOR: usize = 512;
/// The tag at its end.
const TAG: usize = 4;
/// What a sector holds of a record.
const ROOM: usize = SECTOR - TAG;

/// Magic, length of the changes, the journal's own number, generation, number, up to where all was synced, a check.
const HEADER: usize = 4 + 4 + 8 + 8 + 8 + 8 + 8;
const MAGIC: &[u8; 4] = b"MJ1\n";
const CHECKSUM: usize = 16;

/// The length that says that a row was taken away.
const GONE: u32 = u32::MAX;

/// How much a file grows at least when it has to; it doubles until that is more than `GROWTH_MAX`.
const GROWTH: u64 = 64 << 10;
const GROWTH_MAX: u64 = 1 << 20;

/// Where a generation begins. The database holds the one behind all that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Drawn at each start: nothing that an earlier life or somebody's push has left passes for a record.
    pub(super) journal: u64,
    pub(super) generation: u64,
    /// The number of its first record.
    pub(super) record: u64,
}

impl Mark {
    fn tag(&self, sector: usize) -> [u8; TAG] {
        let record = mix(self.journal ^ mix(self.generation ^ mix(self.record)));
        (record as u32).wrapping_add(sector as u32).to_le_bytes()
    }

    fn checksum(&self, bytes: &[u8]) -> [u8; CHECKSUM] {
        XxHash3_128::oneshot_with_seed(mix(self.journal), bytes).to_le_bytes()
    }

    /// The record behind this one.
    fn behind(&self) -> Mark {
        Mark { record: self.record.saturating_add(1), ..*self }
    }
}

/// The journal, written by one at a time.
pub(super) struct Journal {
    files: [Arc<dyn File>; 2],
    /// The record that comes next.
    next: Mark,
    /// Where it goes.
    at: u64,
    /// Up to where each file has blocks of its own.
    grown: [u64; 2],
    /// No file grows beyond this.
    bytes_max: u64,
    /// All records before this one are durable.
    synced: u64,
    /// Nothing is appended until the database has everything.
    shut: bool,
    /// What records are made in, kept for the next one: fresh memory of this size costs more than filling it.
    desk: Desk,
}

/// Where a record is made.
#[derive(Default)]
struct Desk {
    /// The record without sectors and tags.
    plain: Vec<u8>,
    /// As it is written.
    record: Vec<u8>,
}

/// Room that is kept on the desk; larger records are rare.
const DESK_BYTES: usize = 256 << 10;

impl Journal {
    /// A journal that goes on with an empty generation.
    pub(super) fn new(files: [Arc<dyn File>; 2], next: Mark, bytes_max: u64) -> io::Result<Self> {
        let grown = [files[0].len()?, files[1].len()?];
        Ok(Journal { files, next, at: 0, grown, bytes_max, synced: next.record, shut: false, desk: Desk::default() })
    }

    /// The record that comes next.
    pub(super) fn next(&self) -> Mark {
        self.next
    }

    /// Bytes of the generation that is written.
    pub(super) fn bytes(&self) -> u64 {
        self.at
    }

    /// Appends nothing until [`Journal::reopen`]: the files hold what the database still lacks.
    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    /// The database has everything that was appended.
    pub(super) fn reopen(&mut self) {
        self.shut = false;
    }

    /// Begins a generation in the other file. Returns where it begins.
    pub(super) fn turn(&mut self) -> io::Result<Mark> {
        // What comes next may be synced before what came last otherwise.
        self.sync()?;
        self.next.generation += 1;
        self.at = 0;
        Ok(self.next)
    }

    fn file(&self) -> &Arc<dyn File> {
        let [even, odd] = &self.files;
        if self.next.generation.is_multiple_of(2) { even } else { odd }
    }

    fn grown(&mut self) -> &mut u64 {
        let [even, odd] = &mut self.grown;
        if self.next.generation.is_multiple_of(2) { even } else { odd }
    }

    /// Appends a commit, durably where `sync` says so. `false` when there is no room for it.
    ///
    /// After an error it is not there, but for a crash before the next one is written over it.
    pub(super) fn append(&mut self, changes: &[Change<'_>], sync: bool) -> io::Result<bool> {
        let mut desk = std::mem::take(&mut self.desk);
        desk.write(&self.next, self.synced, changes);
        let appended = self.append_record(&desk.record, sync);
        if desk.record.len() <= DESK_BYTES {
            self.desk = desk;
        }
        appended
    }

    fn append_record(&mut self, record: &[u8], sync: bool) -> io::Result<bool> {
        let end = self.at + record.len() as u64;
        if self.shut || end > self.bytes_max || !self.grow(end)? {
            return Ok(false);
        }
        let written = self.file().write_all_at(record, self.at);
        let synced = written.and_then(|()| if sync { self.file().sync_data() } else { Ok(()) });
        if let Err(error) = synced {
            // A crash must not bring back what was refused, nor may parts of it pass for what comes in its place.
            let wiped = self.file().write_all_at(&vec![0; record.len()], self.at);
            let wiped = wiped.and_then(|()| self.file().sync_data());
            // After a sync that failed nobody knows what became of what was written before it and not synced.
            self.shut |= wiped.is_err() || self.synced < self.next.record;
            return if is_full(&error) && wiped.is_ok() { Ok(false) } else { Err(error) };
        }
        self.at = end;
        self.next = self.next.behind();
        if sync {
            self.synced = self.next.record;
        }
        Ok(true)
    }

    /// Makes durable what was appended without.
    fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.next.record {
            let synced = self.file().sync_data();
            // What a failed sync was to bring to the disk may be forgotten, and the next one succeed without it.
            self.shut |= synced.is_err();
            synced?;
            self.synced = self.next.record;
        }
        Ok(())
    }

    /// Sees to blocks for the file up to `end`, so that writing over them later needs no other room.
    fn grow(&mut self, end: u64) -> io::Result<bool> {
        let now = *self.grown();
        if end <= now {
            return Ok(true);
        }
        let wanted = end.max(now + now.clamp(GROWTH, GROWTH_MAX)).min(self.bytes_max);
        let zeros = vec![0; (wanted - now) as usize];
        match self.file().write_all_at(&zeros, now) {
            Ok(()) => {
                *self.grown() = wanted;
                Ok(true)
            }
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Leaves nothing behind: the database has it all.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        for file in &self.files {
            file.set_len(0)?;
            file.sync_data()?;
        }
        (self.at, self.grown) = (0, [0; 2]);
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Desk {
    /// Makes a commit into what is written of it.
    fn write(&mut self, mark: &Mark, synced: u64, changes: &[Change<'_>]) {
        let length = |row: &Option<&[u8]>| row.map_or(0, <[u8]>::len);
        let bytes: usize = changes.iter().map(|(_, key, row)| 9 + key.len() + length(row)).sum();
        self.begin(mark, synced, bytes);
        let plain = &mut self.plain;
        for (table, key, row) in changes {
            plain.push(*table as u8);
            plain.extend((key.len() as u32).to_le_bytes());
            plain.extend(row.map_or(GONE, |row| row.len() as u32).to_le_bytes());
            plain.extend(*key);
            plain.extend(row.unwrap_or_default());
        }
        self.lay_out(mark);
    }

    /// The beginning of a record with so many bytes of changes, and room for them.
    fn begin(&mut self, mark: &Mark, synced: u64, bytes: usize) {
        let plain = &mut self.plain;
        plain.clear();
        plain.reserve(HEADER + bytes + CHECKSUM);
        plain.extend(MAGIC);
        plain.extend((bytes as u32).to_le_bytes());
        plain.extend([mark.journal, mark.generation, mark.record, synced].map(u64::to_le_bytes).as_flattened());
        plain.extend(fingerprint(plain).to_le_bytes());
    }

    /// Ends the record with its checksum, and lays it out with its tags.
    fn lay_out(&mut self, mark: &Mark) {
        let Desk { plain, record } = self;
        plain.extend(mark.checksum(plain));
        record.clear();
        record.reserve(plain.len().div_ceil(ROOM) * SECTOR);
        for (number, part) in plain.chunks(ROOM).enumerate() {
            record.extend(part);
            record.resize(number * SECTOR + ROOM, 0);
            record.extend(mark.tag(number));
        }
    }
}

/// A record with any bytes as its changes, for the fuzz target.
#[cfg(any(test, fuzzing))]
pub(super) fn record_of(mark: &Mark, synced: u64, changes: &[u8]) -> Vec<u8> {
    let mut desk = Desk::default();
    desk.begin(mark, synced, changes.len());
    desk.plain.extend(changes);
    desk.lay_out(mark);
    desk.record
}

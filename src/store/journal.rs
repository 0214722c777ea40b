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

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::batch::{Change, Table};
use super::fs::File;
use super::recent::Recent;
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
    /// Nothing is appended to this generation.
    shut: bool,
}

impl Journal {
    /// A journal that goes on with an empty generation.
    pub(super) fn new(files: [Arc<dyn File>; 2], next: Mark, bytes_max: u64) -> io::Result<Self> {
        let grown = [files[0].len()?, files[1].len()?];
        Ok(Journal { files, next, at: 0, grown, bytes_max, synced: next.record, shut: false })
    }

    /// The record that comes next.
    pub(super) fn next(&self) -> Mark {
        self.next
    }

    /// Bytes of the generation that is written.
    pub(super) fn bytes(&self) -> u64 {
        self.at
    }

    /// Appends nothing until the next generation begins: the files hold what the database still lacks.
    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    /// Begins a generation in the other file. Returns where it begins.
    pub(super) fn turn(&mut self) -> io::Result<Mark> {
        // What comes next may be synced before what came last otherwise.
        self.sync()?;
        self.next.generation += 1;
        (self.at, self.shut) = (0, false);
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
        let record = write_record(&self.next, self.synced, changes);
        let end = self.at + record.len() as u64;
        if self.shut || end > self.bytes_max || !self.grow(end)? {
            return Ok(false);
        }
        let written = self.file().write_all_at(&record, self.at);
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
            self.file().sync_data()?;
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

/// A commit as it is written.
fn write_record(mark: &Mark, synced: u64, changes: &[Change<'_>]) -> Vec<u8> {
    let length = |row: &Option<&[u8]>| row.map_or(0, <[u8]>::len);
    let bytes: usize = changes.iter().map(|(_, key, row)| 9 + key.len() + length(row)).sum();
    let mut plain = Vec::with_capacity(HEADER + bytes + CHECKSUM);
    plain.extend(MAGIC);
    plain.extend((bytes as u32).to_le_bytes());
    plain.extend([mark.journal, mark.generation, mark.record, synced].map(u64::to_le_bytes).as_flattened());
    plain.extend(fingerprint(&plain).to_le_bytes());
    for (table, key, row) in changes {
        plain.push(*table as u8);
        plain.extend((key.len() as u32).to_le_bytes());
        plain.extend(row.map_or(GONE, |row| row.len() as u32).to_le_bytes());
        plain.extend(*key);
        plain.extend(row.unwrap_or_default());
    }
    plain.extend(mark.checksum(&plain));
    let mut record = Vec::with_capacity(plain.len().div_ceil(ROOM) * SECTOR);
    for (number, part) in plain.chunks(ROOM).enumerate() {
        record.extend(part);
        record.resize(number * SECTOR + ROOM, 0);
        record.extend(mark.tag(number));
    }
    record
}

/// What begins at a sector.
enum Found {
    Record {
        mark: Mark,
        synced: u64,
        changes: Vec<u8>,
        /// Whether it passes its check; one that does not was written whole all the same.
        sound: bool,
        sectors: usize,
    },
    /// One that was cut short.
    Torn,
    Nothing,
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a record's header, if there is one.
fn header(sector: &[u8]) -> Option<(Mark, u64, usize)> {
    let (told, check) = (sector.get(..HEADER - 8)?, word(sector, HEADER - 8)?);
    if !told.starts_with(MAGIC) || fingerprint(told) != check {
        return None;
    }
    let mark = Mark { journal: word(told, 8)?, generation: word(told, 16)?, record: word(told, 24)? };
    Some((mark, word(told, 32)?, short(told, 4)? as usize))
}

fn read_record(file: &[u8]) -> Found {
    let Some((mark, synced, bytes)) = header(file) else { return Found::Nothing };
    let length = HEADER + bytes + CHECKSUM;
    let sectors = length.div_ceil(ROOM);
    let Some(file) = file.get(..sectors.saturating_mul(SECTOR)) else { return Found::Torn };
    let mut plain = Vec::with_capacity(sectors * ROOM);
    let mut tagged = true;
    for (number, sector) in file.chunks_exact(SECTOR).enumerate() {
        let (part, tag) = sector.split_at(ROOM);
        tagged &= tag == mark.tag(number);
        plain.extend(part);
    }
    plain.truncate(length);
    let (told, checksum) = plain.split_at(HEADER + bytes);
    let sound = checksum == mark.checksum(told);
    // A crash that cuts a write short leaves sectors of before.
    if !sound && !tagged {
        return Found::Torn;
    }
    Found::Record { mark, synced, changes: told.get(HEADER..).unwrap_or_default().to_vec(), sound, sectors }
}

/// The changes of a record; `None` where they make no sense.
fn changes_of(mut bytes: &[u8]) -> Option<Vec<Change<'_>>> {
    let mut changes = Vec::new();
    while let Some((table, rest)) = bytes.split_first() {
        let table = *Table::ALL.get(usize::from(*table))?;
        let (key, row) = (short(rest, 0)? as usize, short(rest, 4)?);
        let (key, rest) = rest.get(8..)?.split_at_checked(key)?;
        let (row, rest) = match row {
            GONE => (None, rest),
            length => rest.split_at_checked(length as usize).map(|(row, rest)| (Some(row), rest))?,
        };
        changes.push((table, key, row));
        bytes = rest;
    }
    Some(changes)
}

/// What a journal left behind.
#[derive(Default)]
pub(super) struct Left {
    pub(super) rows: Recent,
    /// What would follow the last record, where there is one.
    pub(super) end: Option<Mark>,
    /// What is missing of what was acknowledged.
    pub(super) damage: Option<&'static str>,
}

/// A record that was found.
struct Kept {
    mark: Mark,
    /// Up to where all was synced when it was written.
    synced: u64,
    changes: Vec<u8>,
    sound: bool,
}

/// Reads what the database does not have: all from `mark` on. Without one, all there is of the last life.
pub(super) fn read(files: &[Arc<dyn File>; 2], mark: Option<Mark>) -> io::Result<Left> {
    let mut found = BTreeMap::new();
    for file in files {
        gather(&**file, mark, &mut found)?;
    }
    if mark.is_none()
        && let Some(newest) = found.values().next_back().map(|kept| kept.mark)
    {
        // The database has what was before the last two generations, and may have something newer in its place.
        let recent = |mark: &Mark| mark.journal == newest.journal && mark.generation + 1 >= newest.generation;
        found.retain(|_, kept| recent(&kept.mark));
    }
    let mut left = Left::default();
    let synced = found.values().map(|kept| kept.synced).max().unwrap_or_default();
    let mut expected = mark.map(|mark| mark.record).or(found.keys().next().copied()).unwrap_or_default();
    for (number, Kept { mark, changes, sound, .. }) in found {
        if number != expected {
            if expected >= synced {
                // Nobody was told of what a crash kept behind what it lost.
                break;
            }
            left.damage = Some("records of the journal are missing");
        }
        let changes = changes_of(&changes);
        if !sound || changes.is_none() {
            left.damage = Some("a record of the journal is damaged");
        }
        // Each row has a check of its own, so one that is damaged hides what it replaced and is not believed.
        left.rows.take(changes.unwrap_or_default());
        expected = number + 1;
        left.end = Some(mark.behind());
    }
    Ok(left)
}

/// Collects the records of a file, by their numbers.
fn gather(file: &dyn File, from: Option<Mark>, found: &mut BTreeMap<u64, Kept>) -> io::Result<()> {
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let follows = |mark: &Mark, from: Mark| {
        mark.journal == from.journal && mark.record >= from.record && mark.generation >= from.generation
    };
    let wanted = |mark: &Mark| from.is_none_or(|from| follows(mark, from));
    let (mut at, mut expected) = (0, from);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        at += SECTOR;
        match read_record(rest) {
            Found::Record { mark, synced, changes, sound, sectors } if wanted(&mark) => {
                at += (sectors - 1) * SECTOR;
                expected = Some(mark.behind());
                let newer = found.get(&mark.record).is_none_or(|known| known.mark.generation < mark.generation);
                if newer {
                    found.insert(mark.record, Kept { mark, synced, changes, sound });
                }
            }
            // A sector is written whole or not at all: this one was, and its beginning is damaged.
            Found::Nothing => {
                let begun = expected.filter(|mark| rest.get(ROOM..SECTOR) == Some(&mark.tag(0)));
                if let Some(mark) = begun {
                    let lost = Kept { mark, synced: 0, changes: Vec::new(), sound: false };
                    found.entry(mark.record).or_insert(lost);
                }
            }
            Found::Record { .. } | Found::Torn => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Fs, SimFs, SyncKind};
    use super::*;
    use crate::model::{Rng, SeededRng};
    use crate::store::recent::Layers;

    const BYTES_MAX: u64 = 96 << 10;
    const START: Mark = Mark { journal: 77, generation: 0, record: 5 };

    fn files(fs: &SimFs) -> [Arc<dyn File>; 2] {
        ["/a", "/b"].map(|path| {
            let path = Path::new(path);
            let file = fs.open(path).or_else(|_| fs.create(path)).unwrap();
            fs.sync_dir(Path::new("/")).unwrap();
            file
        })
    }

    /// What a record holds is told by its number.
    fn row(number: u64) -> Vec<u8> {
        vec![number as u8; (number as usize * 397) % 4000]
    }

    fn append(journal: &mut Journal, number: u64, sync: bool) -> io::Result<bool> {
        let (key, row) = (number.to_be_bytes(), row(number));
        let last = (number - 1).to_be_bytes();
        journal.append(&[(Table::Inline, &key, Some(&row)), (Table::Heads, &last, None)], sync)
    }

    /// Fails unless all before `upto` is there and right; how far it is there in one piece.
    fn check(left: Left, upto: u64) -> u64 {
        let rows = Layers { older: Some(Arc::new(left.rows)), ..Layers::default() };
        let mut number = START.record;
        while let Some(found) = rows.get(Table::Inline, &number.to_be_bytes()) {
            // Rows have checks of their own above this.
            assert!(found == Some(row(number)) || left.damage.is_some(), "{number}");
            assert_eq!(rows.get(Table::Heads, &(number - 1).to_be_bytes()), Some(None));
            number += 1;
        }
        assert!(number >= upto || left.damage.is_some(), "{number} of {upto}");
        number
    }

    #[test]
    fn records_come_back_in_order_from_both_files_and_from_where_they_are_asked_for() {
        let fs = SimFs::new(0);
        let mut journal = Journal::new(files(&fs), START, BYTES_MAX).unwrap();
        (5..20).for_each(|number| assert!(append(&mut journal, number, true).unwrap()));
        let second = journal.turn().unwrap();
        assert_eq!((second.generation, second.record), (1, 20));
        (20..30).for_each(|number| assert!(append(&mut journal, number, true).unwrap()));
        let left = read(&files(&fs), Some(START)).unwrap();
        assert_eq!((left.end.unwrap().record, left.damage), (30, None));
        assert_eq!(check(left, 30), 30);
        // Without a mark it is told by what is there; with a later one the rest is not looked at.
        assert_eq!(check(read(&files(&fs), None).unwrap(), 30), 30);
        let left = read(&files(&fs), Some(second)).unwrap();
        let rows = Layers { older: Some(Arc::new(left.rows)), ..Layers::default() };
        assert_eq!(rows.get(Table::Inline, &19u64.to_be_bytes()), None);
        assert_eq!(rows.get(Table::Inline, &20u64.to_be_bytes()), Some(Some(row(20))));
        // Another life's records are nobody's.
        let other = Mark { journal: 78, ..START };
        assert_eq!(read(&files(&fs), Some(other)).unwrap().end, None);
        journal.clear().unwrap();
        assert_eq!(read(&files(&fs), None).unwrap().end, None);
    }

    #[test]
    fn what_finds_no_room_is_told_and_changes_nothing() {
        let fs = SimFs::new(0);
        let mut journal = Journal::new(files(&fs), START, BYTES_MAX).unwrap();
        let big = vec![1; BYTES_MAX as usize];
        assert!(!journal.append(&[(Table::Inline, b"k", Some(&big))], true).unwrap());
        let full = (5..).find(|number| !append(&mut journal, *number, true).unwrap()).unwrap();
        assert!(full > 20 && journal.bytes() <= BYTES_MAX);
        journal.turn().unwrap();
        assert!(append(&mut journal, full, true).unwrap());
        assert_eq!(check(read(&files(&fs), Some(START)).unwrap(), full + 1), full + 1);
        journal.shut();
        assert!(!append(&mut journal, full + 1, true).unwrap());
    }

    /// Appends until the power fails. Returns up to where it was told that all is durable.
    fn live(fs: &SimFs, rng: &SeededRng) -> u64 {
        let mut journal = Journal::new(files(fs), START, BYTES_MAX).unwrap();
        let mut told = START.record;
        fs.crash_after(rng.below(60));
        let turn = START.record + rng.below(20);
        for number in START.record.. {
            if number == turn && journal.turn().is_ok() {
                told = number;
            }
            let sync = rng.below(2) == 0;
            match append(&mut journal, number, sync) {
                Ok(true) if sync => told = number + 1,
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
        }
        told
    }

    #[test]
    fn a_power_cut_loses_nothing_that_was_synced_and_looks_like_no_damage() {
        for seed in 0..400 {
            let (fs, rng) = (SimFs::new(seed), SeededRng::new(seed));
            files(&fs);
            let told = live(&fs, &rng);
            let left = read(&files(&fs.crash()), Some(START)).unwrap();
            assert_eq!(left.damage, None, "seed {seed}");
            check(left, told);
        }
    }

    #[test]
    fn a_disk_that_lies_about_syncs_is_found_out() {
        let lost = |seed| {
            let (fs, rng) = (SimFs::new(seed), SeededRng::new(seed));
            files(&fs);
            fs.ignore_syncs(SyncKind::Data);
            let told = live(&fs, &rng);
            let left = read(&files(&fs.crash()), Some(START)).unwrap();
            left.damage.is_some() || left.end.map_or(START.record, |end| end.record) < told
        };
        assert!((0..50).any(lost));
    }

    #[test]
    fn flipped_bits_are_told_of_and_the_other_records_are_read() {
        for seed in 0..300 {
            let (fs, rng) = (SimFs::new(seed), SeededRng::new(seed));
            let mut journal = Journal::new(files(&fs), START, BYTES_MAX).unwrap();
            let last = START.record + 1 + rng.below(20);
            (START.record..last).for_each(|number| assert!(append(&mut journal, number, true).unwrap()));
            let [file, _] = files(&fs);
            let sector = rng.below(journal.bytes() / SECTOR as u64) * SECTOR as u64;
            // Tags have no copy: what is lost with the last record's own cannot be told from a write cut short.
            let at = sector + rng.below(ROOM as u64);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << rng.below(8))], at).unwrap();
            let left = read(&files(&fs), Some(START)).unwrap();
            let damage = left.damage;
            // Beyond a record's end a sector holds nothing.
            assert!(check(left, last) == last || damage.is_some(), "seed {seed}");
        }
    }
}

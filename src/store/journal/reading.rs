//! What a start finds in the journal's files.
//!
//! The records of a generation lie one behind the other, without gaps, from the start of a file on. So what cannot be
//! read matters where a record may begin or is known to go on, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::{CHECKSUM, GONE, HEADER, MAGIC, Mark, ROOM, SECTOR};
use crate::model::fingerprint;
use crate::store::batch::{Change, Table};
use crate::store::fs::File;
use crate::store::recent::Recent;
use crate::store::slabs::Slabs;

/// What the system reads from a disk at least: where one sector of it is bad, it gives none of them.
const BLOCK: usize = 4096;

/// What a journal left behind.
#[derive(Default)]
pub(in crate::store) struct Left {
    pub(in crate::store) rows: Recent,
    /// What would follow the last record, where there is one.
    pub(in crate::store) end: Option<Mark>,
    /// What is missing of what was acknowledged.
    pub(in crate::store) damage: Option<&'static str>,
    /// The files have places that cannot be read, and so not written in part either.
    pub(in crate::store) has_bad_sectors: bool,
}

/// Reads what the database does not have: all from `mark` on. Without one, all there is of the last life.
pub(in crate::store) fn read(files: &[Arc<dyn File>; 2], mark: Option<Mark>) -> io::Result<Left> {
    let mut reading = Reading { from: mark, found: BTreeMap::new(), unread: false };
    let mut has_bad_sectors = false;
    let mut sectors_of = |file: &dyn File| -> io::Result<Sectors> {
        let sectors = Sectors::read(file)?;
        has_bad_sectors |= !sectors.bad.is_empty();
        Ok(sectors)
    };
    let [even, odd] = files;
    let (first, second) = match mark {
        Some(mark) if !mark.generation.is_multiple_of(2) => (odd, even),
        _ => (even, odd),
    };
    let next = reading.gather(&sectors_of(&**first)?, mark);
    // Should there be one more generation, it goes on with the number that is next.
    let next = next.map(|mark| Mark { generation: mark.generation.saturating_add(1), ..mark });
    reading.gather(&sectors_of(&**second)?, next);
    Ok(Left { has_bad_sectors, ..reading.left() })
}

/// A file, as far as the disk gives it.
struct Sectors {
    bytes: Vec<u8>,
    /// The sectors that it does not give.
    bad: BTreeSet<usize>,
}

impl Sectors {
    fn read(file: &dyn File) -> io::Result<Self> {
        let mut sectors = Sectors { bytes: vec![0; file.len()? as usize], bad: BTreeSet::new() };
        if file.read_exact_at(&mut sectors.bytes, 0).is_ok() {
            return Ok(sectors);
        }
        let (mut good, mut failed) = (false, None);
        for (number, block) in sectors.bytes.chunks_mut(BLOCK).enumerate() {
            match file.read_exact_at(block, (number * BLOCK) as u64) {
                Ok(()) => good = true,
                Err(error) => {
                    block.fill(0);
                    let first = number * (BLOCK / SECTOR);
                    sectors.bad.extend(first..first + block.len().div_ceil(SECTOR));
                    failed = Some(error);
                }
            }
        }
        match failed {
            // That is no bad sector: the disk is away, and may be back at the next start.
            Some(error) if !good => Err(error),
            _ => Ok(sectors),
        }
    }

    /// What begins at a sector.
    fn record(&self, first: usize) -> Found {
        let file = self.bytes.get(first * SECTOR..).unwrap_or_default();
        let Some((mark, synced, bytes)) = header(file) else { return Found::Nothing };
        let length = HEADER + bytes + CHECKSUM;
        let sectors = length.div_ceil(ROOM);
        let Some(file) = file.get(..sectors.saturating_mul(SECTOR)) else { return Found::Torn };
        let mut plain = Vec::with_capacity(sectors * ROOM);
        let (mut tagged, mut readable) = (true, HEADER + bytes);
        for (number, sector) in file.chunks_exact(SECTOR).enumerate() {
            let (part, tag) = sector.split_at(ROOM);
            let bad = self.bad.contains(&(first + number));
            if bad {
                readable = readable.min(number * ROOM);
            }
            tagged &= bad || tag == mark.tag(number);
            plain.extend(part);
        }
        plain.truncate(length);
        let (told, checksum) = plain.split_at(HEADER + bytes);
        let sound = checksum == mark.checksum(told);
        // A crash that cuts a write short leaves sectors of before.
        if !sound && !tagged {
            return Found::Torn;
        }
        Found::Record {
            kept: Kept { mark, synced, changes: told.get(HEADER..readable).unwrap_or_default().to_vec(), sound },
            sectors,
        }
    }
}

/// What begins at a sector.
enum Found {
    Record {
        kept: Kept,
        sectors: usize,
    },
    /// One that was cut short.
    Torn,
    Nothing,
}

/// A record that was found.
struct Kept {
    mark: Mark,
    /// Up to where all was synced when it was written.
    synced: u64,
    /// As far as they can be read.
    changes: Vec<u8>,
    /// Whether it passes its check; one that does not was written whole all the same.
    sound: bool,
}

struct Reading {
    from: Option<Mark>,
    /// Records by their numbers.
    found: BTreeMap<u64, Kept>,
    /// A record may have begun where nothing can be read.
    unread: bool,
}

impl Reading {
    fn wants(&self, mark: &Mark) -> bool {
        self.from.is_none_or(|from| {
            mark.journal == from.journal && mark.record >= from.record && mark.generation >= from.generation
        })
    }

    /// Collects the records of a file, the first of which would be `expected`. Returns what would follow the last.
    fn gather(&mut self, sectors: &Sectors, mut expected: Option<Mark>) -> Option<Mark> {
        let count = sectors.bytes.len().div_ceil(SECTOR);
        let (mut at, mut may_begin) = (0, true);
        while at < count {
            let first = at;
            at += 1;
            if sectors.bad.contains(&first) {
                self.unread |= may_begin;
                may_begin = false;
                continue;
            }
            let found = sectors.record(first);
            may_begin = false;
            match found {
                Found::Record { kept, sectors } if self.wants(&kept.mark) => {
                    at += sectors - 1;
                    may_begin = true;
                    expected = Some(kept.mark.behind());
                    let known = self.found.get(&kept.mark.record);
                    if known.is_none_or(|known| known.mark.generation < kept.mark.generation) {
                        self.found.insert(kept.mark.record, kept);
                    }
                }
                // A sector is written whole or not at all: this one was, and its beginning is damaged.
                Found::Nothing => {
                    let tag = sectors.bytes.get(first * SECTOR + ROOM..(first + 1) * SECTOR);
                    if let Some(mark) = expected.filter(|mark| tag == Some(&mark.tag(0))) {
                        let lost = Kept { mark, synced: 0, changes: Vec::new(), sound: false };
                        self.found.entry(mark.record).or_insert(lost);
                    }
                }
                Found::Record { .. } | Found::Torn => {}
            }
        }
        expected
    }

    fn left(mut self) -> Left {
        if self.from.is_none()
            && let Some(newest) = self.found.values().next_back().map(|kept| kept.mark)
        {
            // The database has what was before the last two generations, and may have something newer in its place.
            let recent =
                |mark: &Mark| mark.journal == newest.journal && mark.generation.saturating_add(1) >= newest.generation;
            self.found.retain(|_, kept| recent(&kept.mark));
        }
        let damage = self.unread.then_some("a part of the journal cannot be read");
        let (mut left, mut slabs) = (Left { damage, ..Left::default() }, Slabs::default());
        let synced = self.found.values().map(|kept| kept.synced).max().unwrap_or_default();
        let first = self.from.map(|mark| mark.record).or(self.found.keys().next().copied());
        let mut expected = first.unwrap_or_default();
        for (number, Kept { mark, changes, sound, .. }) in self.found {
            if number != expected {
                if expected >= synced {
                    // Nobody was told of what a crash kept behind what it lost.
                    break;
                }
                left.damage = Some("records of the journal are missing");
            }
            let (changes, whole) = changes_of(&changes);
            if !sound || !whole {
                left.damage = Some("a record of the journal is damaged");
            }
            // Each row has a check of its own, so one that is damaged hides what it replaced and is not believed.
            left.rows.take(&mut slabs, changes);
            expected = number.saturating_add(1);
            left.end = Some(mark.behind());
        }
        left
    }
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

/// The changes of a record up to the first one that makes no sense, and whether that is all.
fn changes_of(mut bytes: &[u8]) -> (Vec<Change<'_>>, bool) {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let Some((change, rest)) = change_of(bytes) else { return (changes, false) };
        changes.push(change);
        bytes = rest;
    }
    (changes, true)
}

fn change_of(bytes: &[u8]) -> Option<(Change<'_>, &[u8])> {
    let (table, rest) = bytes.split_first()?;
    let table = *Table::ALL.get(usize::from(*table))?;
    let (key, row) = (short(rest, 0)? as usize, short(rest, 4)?);
    let (key, rest) = rest.get(8..)?.split_at_checked(key)?;
    match row {
        GONE => Some(((table, key, None), rest)),
        length => {
            let (row, rest) = rest.split_at_checked(length as usize)?;
            Some(((table, key, Some(row)), rest))
        }
    }
}

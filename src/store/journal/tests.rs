//! The journal's files by themselves: power cuts, disks that lie, flipped bits, sectors that cannot be read.

use std::path::Path;

use bytes::Bytes;

use super::reading::Left;
use super::*;
use crate::model::{Rng, SeededRng};
use crate::store::batch::Table;
use crate::store::recent::Layers;
use crate::store::{FaultFs, FaultOp, Fs, SimFs, SyncKind};

const BYTES_MAX: u64 = 96 << 10;
const START: Mark = Mark { journal: 77, generation: 0, record: 5 };

fn files(fs: &dyn Fs) -> [Arc<dyn File>; 2] {
    ["/a", "/b"].map(|path| {
        let path = Path::new(path);
        let file = fs.open(path).or_else(|_| fs.create(path)).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file
    })
}

/// What a record holds is told by its number.
fn row(number: u64) -> Bytes {
    vec![number as u8; (number as usize * 397) % 4000].into()
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
        let last = rows.get(Table::Heads, &(number - 1).to_be_bytes());
        assert!(last == Some(None) || left.damage.is_some(), "{number}");
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

/// A journal of two generations on a disk that can have bad sectors; the first record of each, and the one behind.
fn two_generations() -> (FaultFs, [u64; 3], [u64; 2]) {
    let fs = FaultFs::new(Arc::new(SimFs::new(0)));
    let mut journal = Journal::new(files(&fs), START, BYTES_MAX).unwrap();
    let (second, end) = (START.record + 15, START.record + 25);
    (START.record..second).for_each(|number| assert!(append(&mut journal, number, true).unwrap()));
    let first = journal.bytes();
    journal.turn().unwrap();
    (second..end).for_each(|number| assert!(append(&mut journal, number, true).unwrap()));
    (fs, [START.record, second, end], [first, journal.bytes()])
}

#[test]
fn bad_sectors_are_told_of_and_all_around_them_is_read() {
    let blocks = |bytes: u64| (0..bytes.div_ceil(4096)).map(|block| block * 4096);
    let [_, _, end] = two_generations().1;
    for (file, name) in ["/a", "/b"].into_iter().enumerate() {
        for at in blocks(two_generations().2[file]) {
            let (fs, ..) = two_generations();
            fs.ruin(Path::new(name), at..at + 1);
            let left = read(&files(&fs), Some(START)).unwrap();
            assert!(left.damage.is_some() && left.has_bad_sectors, "{name} {at}");
            let rows = Layers { older: Some(Arc::new(left.rows)), ..Layers::default() };
            let there = |number: &u64| rows.get(Table::Inline, &number.to_be_bytes()) == Some(Some(row(*number)));
            let read = (START.record..end).filter(there).count() as u64;
            // A record is at most a block long, so a block has parts of few.
            assert!(read + 12 > end - START.record, "{name} {at}: {read}");
            let whole = [START.record, end - 1].into_iter().filter(there).count();
            assert!(whole > 0, "what is far from a bad sector is read");
        }
    }
}

#[test]
fn bad_sectors_where_no_record_can_be_are_no_damage() {
    for (file, name) in ["/a", "/b"].into_iter().enumerate() {
        let (fs, [_, _, end], bytes) = two_generations();
        let behind = bytes[file].next_multiple_of(4096) + 4096;
        fs.ruin(Path::new(name), behind..behind + 512);
        let left = read(&files(&fs), Some(START)).unwrap();
        assert!(left.damage.is_none() && left.has_bad_sectors);
        assert_eq!(check(left, end), end);
    }
}

#[test]
fn a_disk_that_gives_nothing_is_an_error_and_one_that_fails_once_is_asked_again() {
    let (fs, [_, _, end], _) = two_generations();
    fs.fail(FaultOp::Read, 0, io::ErrorKind::Other);
    let left = read(&files(&fs), Some(START)).unwrap();
    assert!(left.damage.is_none() && !left.has_bad_sectors);
    assert_eq!(check(left, end), end);
    fs.ruin(Path::new("/b"), 0..u64::MAX);
    assert!(read(&files(&fs), Some(START)).is_err());
}

#[test]
fn a_damaged_header_is_told_of_wherever_it_is() {
    for turn in [false, true] {
        let fs = SimFs::new(0);
        let mut journal = Journal::new(files(&fs), START, BYTES_MAX).unwrap();
        (START.record..9).for_each(|number| assert!(append(&mut journal, number, true).unwrap()));
        if turn {
            journal.turn().unwrap();
        }
        let at = journal.bytes();
        assert!(append(&mut journal, 9, true).unwrap());
        let file = &files(&fs)[usize::from(turn)];
        file.write_all_at(b"M?", at).unwrap();
        let left = read(&files(&fs), Some(START)).unwrap();
        assert!(left.damage.is_some(), "alone in its generation: {turn}");
        assert_eq!(check(left, 9), 9);
    }
}

#[test]
fn a_record_that_goes_on_where_nothing_can_be_read_is_damaged_and_not_cut_short() {
    let fs = FaultFs::new(Arc::new(SimFs::new(0)));
    let mut journal = Journal::new(files(&fs), START, BYTES_MAX).unwrap();
    assert!(append(&mut journal, START.record, true).unwrap());
    assert!(journal.append(&[(Table::Inline, b"long", Some(&[7; 9000]))], true).unwrap());
    fs.ruin(Path::new("/a"), 8192..8193);
    let left = read(&files(&fs), Some(START)).unwrap();
    assert_eq!((left.damage, left.end.unwrap().record), (Some("a record of the journal is damaged"), START.record + 2));
    assert_eq!(check(left, START.record + 1), START.record + 1);
}

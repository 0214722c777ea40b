//! Disks that fail for a while: the failed commit is not there afterwards, and the next one works
//! without a restart.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::error::Kind;
use crate::model::{ContainerId, Rng, SeededRng, Version};

const FILE: &str = "/store";
const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 1 << 20 };

fn disk() -> FaultFs {
    let fs = FaultFs::new(Arc::new(SimFs::new(0)));
    fs.create(Path::new(FILE)).unwrap();
    fs
}

fn open(fs: &FaultFs) -> Store {
    Store::open(fs.open(Path::new(FILE)).unwrap(), OPTIONS, &SeededRng::new(1)).unwrap()
}

fn version(time: u64) -> Version {
    Version { time, container: ContainerId(1) }
}

fn push(store: &Store, time: u64, bytes: usize) -> crate::Result<()> {
    let mut batch = Batch::new();
    batch.put_inline(version(time), Bytes::from(vec![time as u8; bytes]));
    store.commit(&batch)
}

fn has(store: &Store, time: u64) -> bool {
    store.inline(version(time)).unwrap().is_some()
}

#[test]
fn a_commit_is_undone_wherever_its_disk_fails() {
    for (op, most) in [(FaultOp::SyncData, 3), (FaultOp::Write, 20)] {
        let mut failed = 0;
        for after in 0..most {
            let fs = disk();
            let store = open(&fs);
            push(&store, 1, 5000).unwrap();
            fs.fail(op, after, ErrorKind::Other);
            let done = push(&store, 2, 5000);
            failed += u64::from(done.is_err());
            assert_eq!(done.is_ok(), has(&store, 2), "{op:?} {after}");
            // The fault may have spared the commit and be waiting for the next.
            if push(&store, 3, 5000).is_err() {
                assert!(!has(&store, 3));
                push(&store, 3, 5000).unwrap();
            }
            drop(store);
            let store = open(&fs);
            assert_eq!(done.is_ok(), has(&store, 2), "{op:?} {after}, reopened");
            assert!(has(&store, 1) && has(&store, 3));
            assert_eq!(store.verify().unwrap().damaged_rows, 0);
        }
        assert!(failed > 0, "no {op:?} failed a commit");
    }
}

#[test]
fn a_commit_that_says_it_failed_is_undone_also_when_it_fails_after_its_sync() {
    let all = 0..300;
    for (op, most) in [(FaultOp::Read, 6), (FaultOp::Write, 16), (FaultOp::SyncData, 3)] {
        for after in 0..most {
            let fs = disk();
            let store = open(&fs);
            let (mut fill, mut clear) = (Batch::new(), Batch::new());
            for time in all.clone() {
                fill.put_inline(version(time), Bytes::from(vec![1; 10_000]));
                clear.remove_inline(version(time));
            }
            store.commit(&fill).unwrap();
            store.commit(&clear).unwrap();
            store.commit(&fill).unwrap();
            drop(store);
            let store = open(&fs);
            fs.fail(op, after, ErrorKind::Other);
            let done = store.commit(&clear).is_ok();
            assert!(all.clone().all(|time| has(&store, time) != done), "{op:?} {after} {done}");
            for time in 1000..1005 {
                let done = push(&store, time, 10).is_ok();
                assert_eq!(has(&store, time), done, "{op:?} {after} {time}");
            }
        }
    }
}

#[test]
fn an_undone_commit_stays_undone_after_a_kill() {
    let fs = disk();
    let store = open(&fs);
    push(&store, 1, 100).unwrap();
    fs.fail(FaultOp::SyncData, 0, ErrorKind::Other);
    assert_eq!(push(&store, 2, 100).unwrap_err().kind(), Kind::Internal);
    std::mem::forget(store);
    let store = open(&fs);
    assert!(has(&store, 1) && !has(&store, 2));
}

#[test]
fn a_full_disk_refuses_pushes_serves_reads_takes_deletes_and_goes_on_when_there_is_room() {
    let beneath = SimFs::new(0);
    let fs = FaultFs::new(Arc::new(beneath.clone()));
    fs.create(Path::new(FILE)).unwrap();
    let store = open(&fs);
    push(&store, 0, 10_000).unwrap();
    fs.set_full(true);
    let mut last = 0;
    let error = loop {
        match push(&store, last + 1, 100_000) {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
        assert!(last < 1000, "the disk never fills");
    };
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("disk is full"), "{error}");
    let before = beneath.changes();
    assert_eq!(push(&store, 2000, 100_000).unwrap_err().kind(), Kind::Unavailable);
    assert!(beneath.changes() - before < 2, "a full disk is noticed without a commit that fails");
    assert!(has(&store, 0) && !has(&store, last + 1) && !has(&store, 2000));
    let mut batch = Batch::new();
    batch.remove_inline(version(0));
    store.commit(&batch).unwrap();
    assert!(!has(&store, 0));
    fs.set_full(false);
    push(&store, last + 1, 100_000).unwrap();
    assert!(has(&store, last + 1));
}

#[test]
fn a_read_that_fails_once_is_tried_again() {
    let fs = disk();
    let store = open(&fs);
    (0..300).for_each(|time| push(&store, time, 10_000).unwrap());
    // More rows than the cache holds, so that the disk is asked.
    for after in 0..10 {
        fs.fail(FaultOp::Read, after, ErrorKind::Other);
        assert!((0..300).all(|time| has(&store, time)));
        assert_eq!(fs.planned(), 0, "the fault was met");
    }
    fs.fail(FaultOp::Read, 2, ErrorKind::Other);
    assert_eq!(store.verify().unwrap().rows, 303);
}

#[test]
fn a_disk_that_stays_broken_gives_errors_until_it_is_well() {
    let fs = disk();
    let store = open(&fs);
    push(&store, 1, 100).unwrap();
    (0..6).for_each(|_| fs.fail(FaultOp::SyncData, 0, ErrorKind::Other));
    let failed = (0..50).take_while(|_| push(&store, 2, 100).is_err()).count();
    assert!((2..50).contains(&failed), "{failed}");
    assert!(has(&store, 1) && has(&store, 2));
}

/// The bytes of each object that there is.
type Objects = BTreeMap<u64, usize>;

const DATA: &str = "/data";
const OBJECTS: u64 = 12;

/// A store with its journal, and what it tells of damage.
fn open_with_journal(fs: &dyn Fs, seed: u64) -> (Store, Option<&'static str>) {
    let (rng, mut told) = (SeededRng::new(seed), None);
    let store = Store::open(fs.open(Path::new("/data/store")).unwrap(), OPTIONS, &rng).unwrap();
    let damaged = |why| {
        told = Some(why);
        Ok(Batch::new())
    };
    store.rows.begin_journal(fs, Path::new(DATA), &rng, damaged).unwrap();
    (store, told)
}

fn objects(store: &Store) -> Objects {
    let there = |time| Some((time, store.inline(version(time)).unwrap()?.len()));
    (0..OBJECTS).filter_map(there).collect()
}

/// Changes objects on a disk that now and then fails a write or a sync, or so many in a row, until the power fails.
/// Returns how many changes were refused.
fn outlive_faults(seed: u64, op: FaultOp, in_a_row: u64) -> u64 {
    let (disk, rng) = (SimFs::new(seed), SeededRng::new(seed));
    let fs = FaultFs::new(Arc::new(disk.clone()));
    fs.create_dir_all(Path::new(DATA)).unwrap();
    fs.create(Path::new("/data/store")).unwrap();
    fs.sync_dir(Path::new(DATA)).unwrap();
    let (store, _) = open_with_journal(&fs, seed);
    let (mut now, mut refused) = (Objects::new(), 0);
    // Whether the last change was refused and may not have been wiped.
    let mut unwiped = false;
    // What a power cut may leave: the last durable state, or one with some of what was committed lazily since.
    let mut possible = vec![now.clone()];
    for step in 0..20 + rng.below(60) {
        if rng.below(6) == 0 && fs.planned() == 0 {
            let (after, count) = (rng.below(4), 1 + rng.below(in_a_row));
            match op {
                // What it forgets is up to the disk itself.
                FaultOp::SyncData => disk.fail_syncs(after, count),
                _ => (0..count).for_each(|_| fs.fail(op, after, ErrorKind::Other)),
            }
        }
        if rng.below(8) == 0 {
            // Where it fails, the next commit that needs the room says so.
            let _ = store.settle();
        }
        let (time, bytes) = (rng.below(OBJECTS), rng.below(9000) as usize);
        let (mut batch, mut next) = (Batch::new(), now.clone());
        match rng.below(3) {
            0 => {
                batch.remove_inline(version(time));
                next.remove(&time);
            }
            _ => {
                batch.put_inline(version(time), Bytes::from(vec![7; bytes]));
                next.insert(time, bytes);
            }
        }
        let lazily = rng.below(3) == 0;
        let done = if lazily { store.commit_lazily(&batch) } else { store.commit(&batch) };
        match done {
            Ok(()) => {
                now = next;
                if !lazily {
                    possible.clear();
                }
                possible.push(now.clone());
                unwiped = false;
            }
            Err(_) => {
                refused += 1;
                // Where wiping it fails as well, only what comes next makes sure that it is gone.
                unwiped = in_a_row > 1;
                possible.extend(unwiped.then_some(next));
            }
        }
        assert_eq!(objects(&store), now, "seed {seed}, step {step}");
    }
    let (store, told) = open_with_journal(&disk.crash(), seed + 1);
    // A wipe that was torn leaves what looks like damage, and may do so.
    assert!(told.is_none() || unwiped, "seed {seed}: a fault of {op:?} was taken for damage: {told:?}");
    if told.is_none() {
        let left = objects(&store);
        assert!(possible.contains(&left), "seed {seed}: {left:?} is none of {possible:?}");
    }
    refused
}

#[test]
fn after_writes_and_syncs_that_failed_nothing_acknowledged_is_lost_and_nothing_refused_comes_back() {
    for (op, in_a_row) in [(FaultOp::SyncData, 1), (FaultOp::SyncData, 4), (FaultOp::Write, 1), (FaultOp::Write, 4)] {
        let refused: u64 = (0..300).map(|seed| outlive_faults(seed, op, in_a_row)).sum();
        assert!(refused > 500, "only {refused} changes were refused");
    }
}

#[test]
fn a_start_over_bad_sectors_of_the_journal_tells_of_them_and_goes_on() {
    let fs = FaultFs::new(Arc::new(SimFs::new(0)));
    fs.create_dir_all(Path::new(DATA)).unwrap();
    fs.create(Path::new("/data/store")).unwrap();
    let (store, told) = open_with_journal(&fs, 1);
    (0..10).for_each(|time| push(&store, time, 1000).unwrap());
    std::mem::forget(store);
    assert_eq!(told, None);
    fs.ruin(Path::new("/data/journal.0"), 4096..8192);
    let (store, told) = open_with_journal(&fs, 2);
    assert!(told.is_some_and(|why| why.contains("journal")));
    let kept = (0..10).filter(|time| has(&store, *time)).count();
    assert!((5..10).contains(&kept), "{kept}");
    // The bad sectors were where the next commits go.
    (20..30).for_each(|time| push(&store, time, 1000).unwrap());
    std::mem::forget(store);
    let (store, told) = open_with_journal(&fs, 3);
    assert_eq!((told, (20..30).all(|time| has(&store, time))), (None, true));
}

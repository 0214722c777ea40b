//! Disks that fail for a while: the failed commit is not there afterwards, and the next one works
//! without a restart.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::error::Kind;
use crate::model::{ContainerId, SeededRng, Version};

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

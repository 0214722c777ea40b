//! The store as a whole: crashes at any instant, faults that pass, one seed one outcome.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::model::{ContainerId, Rng, SeededRng, Version};

const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 1 << 20 };

fn open(fs: &dyn Fs, create: bool) -> crate::Result<Store> {
    let path = Path::new("/store.redb");
    let file = if create { fs.create(path) } else { fs.open(path) };
    let file = file.map_err(|error| io_error(error, "cannot open"))?;
    if create {
        fs.sync_dir(Path::new("/")).map_err(|error| io_error(error, "cannot sync"))?;
    }
    Store::open(file, OPTIONS, &SeededRng::new(9))
}

fn version(time: u64) -> Version {
    Version { time, container: ContainerId(1) }
}

/// Commits random batches until the simulated machine crashes, restarts, and says whether each
/// acknowledged batch is there and the last one whole or absent. Returns the final digest as well.
fn crash_round(seed: u64, planted: bool) -> (bool, [u8; 32]) {
    let rng = SeededRng::new(seed);
    let fs = SimFs::new(seed);
    if planted {
        fs.ignore_syncs(SyncKind::Data);
    }
    let store = open(&fs, true).unwrap();
    fs.crash_after(rng.below(120));
    let mut acked: BTreeMap<u64, u8> = BTreeMap::new();
    let mut unacked = Vec::new();
    for group in 0..40 {
        let mut batch = Batch::new();
        let keys: Vec<u64> = (0..1 + rng.below(6)).map(|_| rng.below(50)).collect();
        keys.iter().for_each(|key| batch.put_inline(version(*key), Bytes::from(vec![group; 300])));
        if store.commit(&batch).is_err() {
            unacked = keys.iter().map(|key| (*key, group)).collect();
            break;
        }
        acked.extend(keys.iter().map(|key| (*key, group)));
    }
    drop(store);
    let after = fs.crash();
    let Ok(store) = open(&after, false) else { return (false, after.digest()) };
    let value = |key: u64| store.inline(version(key)).ok().flatten().and_then(|bytes| bytes.first().copied());
    let all_of_last = !unacked.is_empty() && unacked.iter().all(|(key, group)| value(*key) == Some(*group));
    if all_of_last {
        acked.extend(unacked);
    }
    let holds = acked.iter().all(|(key, group)| value(*key) == Some(*group));
    let count = store.object_count().unwrap_or(u64::MAX);
    drop(store);
    (holds && count == acked.len() as u64, after.digest())
}

#[test]
fn what_was_committed_survives_a_crash_at_any_instant() {
    for seed in 0..200 {
        assert!(crash_round(seed, false).0, "seed {seed}");
    }
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    for seed in 0..20 {
        assert_eq!(crash_round(seed, false), crash_round(seed, false), "seed {seed}");
    }
}

#[test]
fn a_planted_missing_fsync_is_noticed() {
    assert!((0..50).any(|seed| !crash_round(seed, true).0));
}

#[test]
fn a_fault_that_passes_needs_no_restart() {
    let fs = Arc::new(FaultFs::new(Arc::new(SimFs::new(3))));
    let store = open(&*fs, true).unwrap();
    let put = |time: u64| {
        let mut batch = Batch::new();
        batch.put_inline(version(time), Bytes::from(vec![1; 5000]));
        store.commit(&batch)
    };
    put(1).unwrap();
    for op in [FaultOp::SyncData, FaultOp::Write] {
        fs.fail(op, 0, io::ErrorKind::Other);
        assert!(put(2).is_err(), "{op:?}");
        put(3).unwrap();
    }
    fs.set_full(true);
    let error = (4..200).find_map(|time| put(time).err()).expect("a full disk refuses");
    assert_eq!(error.kind(), crate::Kind::Unavailable, "{error}");
    fs.set_full(false);
    put(500).unwrap();
    assert!(store.inline(version(1)).unwrap().is_some() && store.inline(version(500)).unwrap().is_some());
}

#[test]
fn a_store_of_a_newer_format_is_refused_by_number() {
    let fs = SimFs::new(1);
    let store = open(&fs, true).unwrap();
    let identity = store.identity().unwrap();
    let mut batch = Batch::new();
    batch.put_meta(records::FORMAT_KEY, &2);
    store.commit(&batch).unwrap();
    drop(store);
    let error = open(&fs, false).err().unwrap();
    assert_eq!(error.context("found"), Some("2"));
    assert_ne!(identity.container, ContainerId(0));
}

//! Power cuts, hundreds of them: what was committed is there, what was not is there whole or not
//! at all, and a disk that lies about its syncs is found out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{Batch, JOURNAL_KEY, Op, Table};
use super::*;
use crate::model::{Address, ContainerId, Dot, FrameId, Head, Incarnation, Rng, SeededRng, Tombstone, Version};

const DATA: &str = "/data";
const FILE: &str = "/data/store";
const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 1 << 20 };
const LIVES: u64 = 3;

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    digest: [u8; 32],
    commits: usize,
}

/// Whether the store has a journal before its database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bare,
    Journaled,
}

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn disk(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.create(Path::new(FILE)).unwrap();
    fs.sync_dir(Path::new("/data")).unwrap();
    fs
}

fn open(fs: &SimFs, kind: Kind, seed: u64) -> crate::Result<Store> {
    let rng = SeededRng::new(seed);
    let file = fs.open(Path::new(FILE)).map_err(|error| crate::Error::internal("open").because(error))?;
    let store = Store::open(file, OPTIONS, &rng)?;
    if kind == Kind::Journaled {
        // A power cut is never taken for damage.
        store.rows.begin_journal(fs, Path::new(DATA), &rng, |why| Err(crate::Error::corrupt(why)))?;
    }
    Ok(store)
}

fn random_batch(rng: &SeededRng) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + rng.below(12) {
        let address: Address = format!("c{}/key-{}", rng.below(2), rng.below(40)).parse().unwrap();
        let version = Version { time: rng.below(40), container: ContainerId(1) };
        let frame = FrameId([rng.below(20) as u8; 16]);
        let dot = Dot { incarnation: Incarnation(1), seq: rng.u64() };
        match rng.below(8) {
            0..3 => batch
                .put_head(&address, &Head::Deleted(Tombstone { version, dot, replaces: None, deleted_ms: rng.u64() })),
            3 => batch.put_inline(version, Bytes::from(vec![rng.u64() as u8; rng.below(16 << 10) as usize])),
            4 => batch.remove_inline(version),
            5 => batch.own_frame(frame, &address),
            6 => batch.discard_frame(frame),
            _ => batch.remove_head(&address),
        }
    }
    batch
}

fn after(rows: &Rows, batch: &Batch) -> Rows {
    let mut rows = rows.clone();
    for op in batch.ops() {
        match op {
            Op::Put(table, key, row) => drop(rows.insert((*table, key.clone()), row.clone())),
            Op::Remove(table, key) => drop(rows.remove(&(*table, key.clone()))),
            Op::Raise(..) => unreachable!("not drawn here"),
        }
    }
    rows
}

fn dump(store: &Store) -> crate::Result<Rows> {
    let mut rows = Rows::new();
    for table in Table::ALL {
        store.scan_raw(table, &mut |key, row| drop(rows.insert((table, key.to_vec()), row.to_vec())))?;
    }
    // Where the journal begins changes with it.
    rows.remove(&(Table::Meta, JOURNAL_KEY.to_vec()));
    Ok(rows)
}

/// Lives a few short lives on one disk, each ended by a power cut, and checks each rebirth.
fn survive(seed: u64, kind: Kind, lie: Option<SyncKind>) -> Result<Outcome, String> {
    let rng = SeededRng::new(seed);
    let mut fs = disk(seed);
    lie.into_iter().for_each(|kind| fs.ignore_syncs(kind));
    // What the next life may find; `None` while not even the making of the store is certain.
    let mut possible: Option<Vec<Rows>> = None;
    let mut commits = 0;
    for life in 0..LIVES {
        fs.crash_after(rng.below(90));
        if let Ok(store) = open(&fs, kind, seed + life) {
            commits += live(&store, &rng, &mut possible)?;
        }
        fs = fs.crash();
    }
    let store =
        open(&fs, kind, seed + LIVES).map_err(|error| format!("seed {seed}: the store does not open: {error}"))?;
    check(&store, &possible).map_err(|why| format!("seed {seed}: {why}"))?;
    let damage = store.verify().map_err(|error| error.to_string())?;
    if damage.damaged_rows > 0 {
        return Err(format!("seed {seed}: {damage:?}"));
    }
    store.commit(&random_batch(&rng)).map_err(|error| format!("seed {seed}: {error}"))?;
    drop(store);
    Ok(Outcome { digest: fs.digest(), commits })
}

fn check(store: &Store, possible: &Option<Vec<Rows>>) -> Result<Option<Rows>, String> {
    let Ok(found) = dump(store) else { return Ok(None) };
    match possible {
        Some(possible) if !possible.contains(&found) => {
            Err("a state that was never committed, or an older one".to_owned())
        }
        _ => Ok(Some(found)),
    }
}

fn live(store: &Store, rng: &SeededRng, possible: &mut Option<Vec<Rows>>) -> Result<usize, String> {
    let Some(mut rows) = check(store, possible)? else { return Ok(0) };
    for commits in 0.. {
        let batch = random_batch(rng);
        let next = after(&rows, &batch);
        match store.commit(&batch) {
            Ok(()) => {
                rows = next;
                if rng.below(4) == 0 && store.settle().is_err() {
                    *possible = Some(vec![rows]);
                    return Ok(commits);
                }
            }
            Err(_) => {
                *possible = Some(vec![rows, next]);
                return Ok(commits);
            }
        }
    }
    Ok(0)
}

#[test]
fn every_committed_batch_survives_and_the_last_one_is_whole_or_absent() {
    for kind in [Kind::Bare, Kind::Journaled] {
        let commits: usize = (0..300).map(|seed| survive(seed, kind, None).unwrap().commits).sum();
        assert!(commits > 1500, "only {commits} commits were put to the test");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    for kind in [Kind::Bare, Kind::Journaled] {
        assert!((0..50).any(|seed| survive(seed, kind, Some(SyncKind::Data)).is_err()));
    }
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    for (seed, kind) in (0..20).map(|seed| (seed, if seed % 2 == 0 { Kind::Bare } else { Kind::Journaled })) {
        assert_eq!(survive(seed, kind, None).unwrap(), survive(seed, kind, None).unwrap());
    }
}

#[test]
fn a_damaged_file_gives_errors_not_panics_or_other_rows() {
    for seed in 0..60 {
        let rng = SeededRng::new(seed);
        let fs = disk(seed);
        let store = open(&fs, Kind::Bare, 1).unwrap();
        (0..20).for_each(|_| store.commit(&random_batch(&rng)).unwrap());
        let good = dump(&store).unwrap();
        let versions = 0..40;
        if rng.below(2) == 0 {
            drop(store);
        } else {
            // Not closed, as after a kill: the next opening has to repair.
            std::mem::forget(store);
        }
        let file = fs.open(Path::new(FILE)).unwrap();
        for _ in 0..rng.below(30) {
            let at = rng.below(256 << 10);
            file.write_all_at(&[rng.u64() as u8; 3], at).unwrap();
        }
        let Ok(store) = open(&fs, Kind::Bare, 1) else { continue };
        for time in versions {
            let version = Version { time, container: ContainerId(1) };
            if let Ok(Some(bytes)) = store.inline(version) {
                let row = &good[&(Table::Inline, version.to_be_bytes().to_vec())];
                assert_eq!(bytes, row[..row.len() - 4]);
            }
        }
        let _ = (store.verify(), store.list("c0", "", None, 100, 0), store.quarantined(9), store.counts());
        let _ = store.commit(&random_batch(&rng));
    }
}

#[test]
fn a_file_whose_making_was_cut_short_is_made_again_but_a_store_is_never_emptied() {
    let fs = disk(0);
    let file = fs.open(Path::new(FILE)).unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_all_at(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4], 0).unwrap();
    open(&fs, Kind::Bare, 1).unwrap().commit(&random_batch(&SeededRng::new(1))).unwrap();

    file.write_all_at(&[0; 512], 0).unwrap();
    let length = file.len().unwrap();
    assert_eq!(open(&fs, Kind::Bare, 1).err().unwrap().kind(), crate::Kind::Corrupt);
    assert_eq!(file.len().unwrap(), length);
    let _: Arc<dyn File> = file;
}

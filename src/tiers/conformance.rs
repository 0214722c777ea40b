//! What every [`Tier`] must do, plain and while its disk fails. Level 3 runs it in `cloud/tests/`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::Kind;
use crate::model::{Address, Clock, ContainerId, Dot, Durability, FrameId, Incarnation, Manifest, ManualClock};
use crate::model::{Digest, DigestKind, NfrSpec, Rest, Seal, SeededRng, Version};
use crate::store::{FaultFs, FaultOp, Fs, RealFs, SimFs, Store, StoreOptions};

pub fn address(key: &str) -> Address {
    format!("tier/{key}").parse().unwrap()
}

pub fn version(time: u64) -> Version {
    Version { time, container: ContainerId(1) }
}

/// A copy of version `time` with `len` bytes that say which version they are.
pub fn copy(time: u64, len: usize) -> TierCopy {
    let bytes = Bytes::from(vec![time as u8; len]);
    let mut frame = [0; 16];
    frame[..8].copy_from_slice(&crate::model::Rng::u64(&SeededRng::new(time)).to_be_bytes());
    let seal =
        Seal { frame: FrameId(frame), bytes: len as u64, footer: [0; 32], key: None, inline: false, rest: Rest::Disk };
    let manifest = Manifest {
        version: version(time),
        dot: Dot { incarnation: Incarnation(1), seq: time },
        replaces: None,
        size: len as u64,
        digest: Digest { kind: DigestKind::Blake3, bytes: [0; 32] },
        content_type: None,
        meta: Default::default(),
        modified_ms: time,
        expires_ms: None,
        nfr: NfrSpec::default(),
        durability: Durability::Disk,
        seal: Some(seal),
        moves: 0,
    };
    TierCopy { manifest: Arc::new(manifest), bytes: Arc::new(bytes) }
}

/// Which version an address holds, by manifest and by bytes, which must agree.
pub fn held(tier: &dyn Tier, key: &str) -> Option<u64> {
    let copy = tier.get(&address(key)).unwrap()?;
    let bytes = copy.bytes.read(0..copy.bytes.len()).unwrap();
    assert_eq!(bytes.len() as u64, copy.manifest.size);
    assert!(bytes.iter().all(|byte| *byte == copy.manifest.version.time as u8));
    Some(copy.manifest.version.time)
}

fn what_is_put_is_got(tier: &dyn Tier) {
    for (time, len) in [(1, 0), (2, 1), (3, 5_000), (4, 40_000), (5, 3 << 20)] {
        let key = format!("size/{len}");
        assert!(tier.put(&address(&key), copy(time, len)).unwrap());
        assert_eq!(held(tier, &key), Some(time));
        assert!(tier.drop_copy(&address(&key), version(time)).unwrap());
        assert_eq!(held(tier, &key), None);
    }
}

fn the_newest_version_wins(tier: &dyn Tier) {
    for (time, kept, now) in [(10, true, 10), (12, true, 12), (11, false, 12), (12, false, 12)] {
        assert_eq!(tier.put(&address("newest"), copy(time, 20_000)).unwrap(), kept, "{time}");
        assert_eq!(held(tier, "newest"), Some(now));
    }
    assert!(!tier.drop_copy(&address("newest"), version(11)).unwrap(), "only the named version may leave");
    assert!(tier.drop_copy(&address("newest"), version(12)).unwrap());
    assert!(!tier.drop_copy(&address("newest"), version(12)).unwrap());
}

fn objects_do_not_touch_each_other(tier: &dyn Tier) {
    let before = tier.objects().unwrap();
    for n in 0..10 {
        tier.put(&address(&format!("many/{n}")), copy(20 + n, 100 + 3_000 * n as usize)).unwrap();
    }
    assert_eq!(tier.objects().unwrap(), before + 10);
    for n in 0..10 {
        assert_eq!(held(tier, &format!("many/{n}")), Some(20 + n));
        tier.drop_copy(&address(&format!("many/{n}")), version(20 + n)).unwrap();
    }
    assert_eq!(tier.objects().unwrap(), before);
}

fn a_reader_finishes_on_its_version(tier: &dyn Tier) {
    for (time, len) in [(40, 100), (42, 50_000)] {
        tier.put(&address("reader"), copy(time, len)).unwrap();
        let old = tier.get(&address("reader")).unwrap().unwrap();
        tier.put(&address("reader"), copy(time + 1, len)).unwrap();
        let bytes = old.bytes.read(0..old.bytes.len()).unwrap();
        assert!(bytes.iter().all(|byte| *byte == time as u8));
        tier.drop_copy(&address("reader"), version(time + 1)).unwrap();
    }
}

pub fn suite(tier: &dyn Tier) {
    what_is_put_is_got(tier);
    the_newest_version_wins(tier);
    objects_do_not_touch_each_other(tier);
    a_reader_finishes_on_its_version(tier);
}

fn disk_on(fs: Arc<dyn Fs>, root: &Path) -> DiskTier {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1));
    let file = fs.create(&root.join("store.redb")).unwrap();
    fs.sync_dir(root).unwrap();
    let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
    DiskTier::open(fs, root, Arc::new(store), clock).unwrap().0
}

#[test]
fn memory() {
    suite(&MemoryTier::new(64 << 20));
}

#[test]
fn disk_on_a_simulated_file_system() {
    suite(&disk_on(Arc::new(SimFs::new(1)), Path::new("/")));
}

#[test]
fn disk_on_the_real_file_system() {
    let folder = tempfile::tempdir().unwrap();
    suite(&disk_on(Arc::new(RealFs), folder.path()));
}

#[test]
fn memory_gives_back_what_it_counted() {
    let memory = MemoryTier::new(8 << 20);
    suite(&memory);
    assert_eq!(memory.usage().bytes, 0);
    assert_eq!(memory.put(&address("large"), copy(90, 9 << 20)).err().unwrap().kind(), Kind::Busy);
    assert_eq!(memory.usage().bytes, 0);
}

/// Whatever fails under a put: the version before it stays whole, and the same put works afterwards.
#[test]
fn disk_under_faults() {
    let ops = [FaultOp::Create, FaultOp::Write, FaultOp::SyncData, FaultOp::SyncDir, FaultOp::Rename];
    for op in ops {
        let mut failures = 0;
        for after in 0..4 {
            let faults = FaultFs::new(Arc::new(SimFs::new(2)));
            let disk = disk_on(Arc::new(faults.clone()), Path::new("/"));
            disk.put(&address("faulty"), copy(100, 30_000)).unwrap();
            faults.fail(op, after, io::ErrorKind::Other);
            let put = disk.put(&address("faulty"), copy(101, 30_000));
            let now = if put.is_ok() { 101 } else { 100 };
            assert_eq!(held(&disk, "faulty"), Some(now), "{op:?} {after}");
            if put.is_err() {
                failures += 1;
                // A new sealing attempt, as a door's retry would make.
                assert!(disk.put(&address("faulty"), copy(102, 30_000)).unwrap(), "{op:?} {after}");
                assert_eq!(held(&disk, "faulty"), Some(102), "{op:?} {after}");
            }
        }
        assert!(failures > 0, "no {op:?} was met");
    }
}

#[test]
fn a_full_disk_refuses_clearly_and_recovers() {
    let faults = FaultFs::new(Arc::new(SimFs::new(3)));
    let disk = disk_on(Arc::new(faults.clone()), Path::new("/"));
    disk.put(&address("before"), copy(1, 30_000)).unwrap();
    faults.set_full(true);
    let error = disk.put(&address("refused"), copy(2, 30_000)).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!((held(&disk, "before"), held(&disk, "refused")), (Some(1), None));
    faults.set_full(false);
    assert!(disk.put(&address("refused"), copy(3, 30_000)).unwrap());
}

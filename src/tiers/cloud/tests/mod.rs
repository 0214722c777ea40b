//! Level 3 on a folder, on a store in memory, and on one that fails.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::faults::{Fault, FaultStore, Op, TestTimer};
use super::place::Folder;
use super::*;
use crate::Kind;
use crate::limits::{CLOUD_ATTEMPTS_MAX, CLOUD_BACKOFF_LONGEST, CLOUD_PART_BYTES_MIN, CLOUD_PARTS_FLYING};
use crate::model::{ManualClock, SeededRng, Timer};
use crate::store::{FaultFs, FaultOp, Fs, RealFs, SimFs};
use crate::tiers::conformance::{address, copy, held, suite, version};

mod failing;
mod holding;

/// A level 3 whose time is the test's.
struct Rig {
    cloud: CloudTier,
    faults: FaultStore,
    timer: TestTimer,
}

impl Rig {
    fn over(store: Arc<dyn ObjectStore>, folder: Option<Folder>) -> Self {
        let faults = FaultStore::new(store);
        let timer = faults.timer();
        let parts = CloudParts {
            clock: Arc::new(ManualClock::at(77)),
            timer: Arc::new(timer.clone()),
            rng: Arc::new(SeededRng::new(1)),
            concurrency: 4,
            timeout: Duration::from_secs(30),
            upload_timeout: Duration::from_secs(60),
        };
        let place = Arc::new(Place { store: Arc::new(faults.clone()), folder });
        Rig { cloud: CloudTier { place, calls: Arc::new(Calls::new(parts).unwrap()) }, faults, timer }
    }

    fn in_memory() -> Self {
        Rig::over(Arc::new(InMemory::new()), None)
    }

    /// A folder as `open` makes it, with faults between us and it.
    fn in_folder(root: &std::path::Path) -> Self {
        Rig::over_folder(root, Arc::new(RealFs))
    }

    fn over_folder(root: &std::path::Path, fs: Arc<dyn Fs>) -> Self {
        let folder = Folder { fs, root: root.to_owned() };
        let store = Folder { fs: Arc::new(RealFs), root: root.to_owned() }.open(&SeededRng::new(1)).unwrap();
        Rig::over(store, Some(folder))
    }

    /// As a container opens it.
    fn opened(url: &str) -> Self {
        let mut rig = Rig::in_memory();
        rig.cloud = CloudTier::open(&url.parse().unwrap(), rig.cloud.calls.parts.clone()).unwrap();
        rig
    }

    fn upload(&self, key: &str, time: u64, len: usize) -> Receipt {
        self.try_upload(key, time, len).unwrap()
    }

    fn try_upload(&self, key: &str, time: u64, len: usize) -> Result<Receipt> {
        let copy = copy(time, len);
        self.cloud.upload(&address(key), &copy.manifest, copy.bytes.as_ref())
    }
}

fn frame_of(time: u64) -> FrameId {
    copy(time, 0).manifest.seal.as_ref().unwrap().frame
}

/// Every file below a folder, by its path from there.
fn files(root: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { found.push(path.strip_prefix(root).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}

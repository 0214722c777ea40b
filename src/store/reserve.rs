//! Room on the disk that is kept for what must still be possible when the disk is full: deletes, receipts,
//! notes of damage.
//!
//! It is a file of real blocks in the data folder. A commit that adds no bytes of objects and finds no room
//! has the file removed and is tried again. Until the file is back nothing that grows is taken on, so nobody
//! else uses that room up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::fs::Fs;
use super::lock;
use super::typed::Store;
use crate::error::{Error, Result};

/// Name of the file in the data folder.
const RESERVE_FILE: &str = "reserve";

/// The room that is kept.
pub(super) struct Reserve {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    path: PathBuf,
    bytes: u64,
    held: AtomicBool,
    /// Held by who commits, and by who takes the room back: it must not be taken from under a commit.
    turn: Mutex<()>,
    /// Shared by those who write what grows; held alone from giving the room up until it has served.
    growing: RwLock<()>,
}

/// Leave to write what grows, for as long as this is held.
pub struct Leave<'a> {
    _shared: Option<RwLockReadGuard<'a, ()>>,
}

impl Leave<'_> {
    /// Where nothing is kept, everybody may grow.
    pub(super) fn free() -> Self {
        Leave { _shared: None }
    }
}

impl Reserve {
    /// The reserve of a data folder, taken if there is room. That there is none stops nobody from reading
    /// and deleting.
    pub(super) fn open(fs: Arc<dyn Fs>, root: &Path, bytes: u64) -> Self {
        let reserve = Reserve {
            fs,
            root: root.to_owned(),
            path: root.join(RESERVE_FILE),
            bytes,
            held: AtomicBool::new(false),
            turn: Mutex::default(),
            growing: RwLock::default(),
        };
        if let Err(error) = reserve.take_back() {
            tracing::warn!(%error, "no room is kept for deletes and receipts; pushes are refused until there is");
        }
        reserve
    }

    /// Leave to write what grows, or why there is none.
    pub(super) fn leave(&self) -> Result<Leave<'_>> {
        if !self.is_held() {
            self.take_back()?;
        }
        let shared = self.growing.read().unwrap_or_else(PoisonError::into_inner);
        // It may have been given up since.
        if self.is_held() { Ok(Leave { _shared: Some(shared) }) } else { Err(full()) }
    }

    /// Takes the room back if it was given up and is there again.
    pub(super) fn take_back(&self) -> Result<()> {
        let _turn = lock(&self.turn);
        self.fill()
    }

    /// Runs a commit that makes the store grow by bytes of objects.
    pub(super) fn growing(&self, commit: impl FnOnce() -> Result<()>) -> Result<()> {
        let _turn = lock(&self.turn);
        self.fill()?;
        commit()
    }

    /// Runs a commit that must be possible on a full disk; once more on the reserve's room when `is_full` says
    /// that it found none.
    pub(super) fn needed(&self, commit: impl Fn() -> Result<()>, is_full: impl FnOnce() -> bool) -> Result<()> {
        let _turn = lock(&self.turn);
        let done = commit();
        if done.is_ok() || !is_full() || !self.is_held() {
            return done;
        }
        // Waits for the writes under way and keeps others off until the commit has taken what it needs.
        let _alone = self.growing.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.give_up() {
            tracing::error!(%error, path = %self.path.display(), "the disk is full and its reserve cannot be given up");
            return done;
        }
        commit()
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// The caller holds `turn`.
    fn give_up(&self) -> io::Result<()> {
        self.held.store(false, Ordering::Release);
        self.fs.remove(&self.path)?;
        // Some file systems hand out freed blocks only once the removal is durable. Others may need none of it.
        let _ = self.fs.sync_dir(&self.root);
        tracing::warn!("the disk is full: the reserve is given up for deletes and receipts, and pushes are refused");
        Ok(())
    }

    /// The caller holds `turn`.
    fn fill(&self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        match self.allocate() {
            Ok(true) => {
                self.held.store(true, Ordering::Release);
                Ok(())
            }
            Ok(false) => Err(full()),
            Err(error) => {
                // A part of it would keep room from deletes and serve nobody.
                let _ = self.fs.remove(&self.path);
                Err(full().because(error))
            }
        }
    }

    /// Whether there was room.
    fn allocate(&self) -> io::Result<bool> {
        let file = match self.fs.exists(&self.path)? {
            // Also one of the right length: its blocks may be those of a crash, which has written none.
            true => self.fs.open(&self.path)?,
            // Asked first, so that pushes at a full disk do not take and give back what little is left.
            false if self.fs.free_bytes(&self.root)? < self.bytes => return Ok(false),
            false => self.fs.create(&self.path)?,
        };
        file.allocate(self.bytes)?;
        file.sync_data()?;
        self.fs.sync_dir(&self.root)?;
        Ok(true)
    }
}

impl Store {
    /// Keeps so much room in this folder, on the store's own file system, for commits that must be possible
    /// when the disk is full: all that add no bytes of objects.
    pub fn keep_room(&mut self, fs: Arc<dyn Fs>, root: &Path, bytes: u64) {
        self.reserve = (bytes > 0).then(|| Reserve::open(fs, root, bytes));
    }

    /// Leave to write bytes of an object beside the store; refused while the room that is kept for deletes
    /// is not there.
    pub fn leave_to_grow(&self) -> Result<Leave<'_>> {
        self.reserve.as_ref().map_or(Ok(Leave::free()), Reserve::leave)
    }

    /// Takes the kept room back if a full disk had it given up and has room again.
    pub fn regain_room(&self) {
        // Who needs it is told; nobody waits for it here.
        let _ = self.reserve.as_ref().map(Reserve::take_back);
    }
}

fn full() -> Error {
    Error::unavailable("the disk is full; make room in the data folder's file system, or delete objects")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Batch, BoundedFs, SimFs, StoreOptions};
    use super::*;
    use crate::error::Kind;
    use crate::model::{ContainerId, FrameId, SeededRng, Version};

    const DISK_BYTES: u64 = 8 << 20;
    const KEPT_BYTES: u64 = 1 << 20;

    struct Bench {
        fs: BoundedFs,
        store: Store,
    }

    fn bench(kept: u64) -> Bench {
        let fs = BoundedFs::new(Arc::new(SimFs::new(0)), DISK_BYTES);
        fs.create(Path::new("/store")).unwrap();
        open(fs, kept)
    }

    fn open(fs: BoundedFs, kept: u64) -> Bench {
        let options = StoreOptions { cache_bytes: 1 << 20 };
        let mut store = Store::open(fs.open(Path::new("/store")).unwrap(), options, &SeededRng::new(1)).unwrap();
        store.keep_room(Arc::new(fs.clone()), Path::new("/"), kept);
        Bench { fs, store }
    }

    /// The same with a journal before the database.
    fn journaled(kept: u64) -> Bench {
        let bench = bench(kept);
        let sound = |why| panic!("{why}");
        bench.store.rows.begin_journal(&bench.fs, Path::new("/"), &SeededRng::new(2), sound).unwrap();
        bench
    }

    fn version(time: u64) -> Version {
        Version { time, container: ContainerId(1) }
    }

    fn frame(time: u64) -> FrameId {
        FrameId(u128::from(time).to_be_bytes())
    }

    impl Bench {
        fn push(&self, time: u64) -> Result<()> {
            let mut batch = Batch::new();
            batch.put_inline(version(time), Bytes::from(vec![time as u8; 10_000]));
            self.store.commit(&batch)
        }

        /// A delete that leaves much behind in the store, as one does that keeps the old version.
        fn delete(&self, time: u64) -> Result<()> {
            let mut batch = Batch::new();
            batch.remove_inline(version(time));
            (0..20).for_each(|part| batch.discard_frame(frame(1_000_000 * time + part)));
            self.store.commit(&batch)
        }

        /// Pushes until there is no room, and gives all that is left to a file of somebody else.
        fn fill(&self) -> u64 {
            let pushed = (0..2000).take_while(|time| self.push(*time).is_ok()).count() as u64;
            assert!((100..2000).contains(&pushed), "{pushed}");
            let stranger = self.fs.create(Path::new("/stranger")).unwrap();
            stranger.allocate(self.free()).unwrap();
            assert_eq!(self.free(), 0);
            pushed
        }

        fn free(&self) -> u64 {
            self.fs.free_bytes(Path::new("/")).unwrap()
        }

        fn is_kept(&self) -> bool {
            self.fs.exists(Path::new("/reserve")).unwrap()
        }

        /// How many of the objects can be deleted before one cannot.
        fn deleted(&self, pushed: u64) -> u64 {
            (0..pushed).take_while(|time| self.delete(*time).is_ok()).count() as u64
        }
    }

    #[test]
    fn on_a_full_disk_every_delete_is_committed_and_without_a_reserve_it_is_not() {
        for bench in [bench(KEPT_BYTES), journaled(KEPT_BYTES)] {
            let pushed = bench.fill();
            assert!(bench.is_kept(), "pushes do not touch it");
            assert_eq!(bench.deleted(pushed), pushed);
            assert!(!bench.is_kept());
            let gone = (0..pushed).all(|time| bench.store.inline(version(time)).unwrap().is_none());
            assert!(gone);
        }
        // What shows that this test would see it if nothing were kept.
        for without in [bench(0), journaled(0)] {
            let pushed = without.fill();
            assert!(without.deleted(pushed) < pushed);
        }
    }

    #[test]
    fn what_grows_is_refused_until_the_room_is_there_again() {
        let bench = bench(KEPT_BYTES);
        let pushed = bench.fill();
        bench.deleted(pushed);
        assert!(!bench.is_kept() && bench.free() > 0 && bench.free() < KEPT_BYTES, "{}", bench.free());
        let used = bench.fs.used_bytes();
        let refused = [bench.push(5000), bench.store.leave_to_grow().map(drop)];
        for error in refused.map(Result::unwrap_err) {
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.message().contains("the disk is full"), "{error}");
        }
        assert_eq!(bench.fs.used_bytes(), used, "a refusal writes nothing");
        bench.fs.remove(Path::new("/stranger")).unwrap();
        bench.fs.set_size(2 * DISK_BYTES);
        bench.store.regain_room();
        assert!(bench.is_kept());
        bench.push(5000).unwrap();
        bench.store.leave_to_grow().unwrap();
    }

    #[test]
    fn a_push_takes_the_room_back_for_the_others_before_it_goes_on() {
        let bench = bench(KEPT_BYTES);
        bench.deleted(bench.fill());
        bench.fs.set_size(2 * DISK_BYTES);
        bench.push(5000).unwrap();
        assert!(bench.is_kept());
    }

    #[test]
    fn writers_are_waited_for_before_the_room_is_given_up() {
        let bench = bench(KEPT_BYTES);
        let pushed = bench.fill();
        let writing = bench.store.leave_to_grow().unwrap();
        std::thread::scope(|scope| {
            let deleting = scope.spawn(|| bench.deleted(pushed));
            // Far longer than the deletes take: they need the reserve, and it stays while somebody writes.
            std::thread::sleep(std::time::Duration::from_millis(300));
            assert!(bench.is_kept() && !deleting.is_finished());
            drop(writing);
            assert_eq!(deleting.join().unwrap(), pushed);
        });
        assert!(!bench.is_kept());
    }

    #[test]
    fn a_start_takes_what_a_crash_left_and_works_without_room() {
        let Bench { fs, store } = bench(KEPT_BYTES);
        drop(store);
        // Cut short, as by a crash while it was made.
        fs.open(Path::new("/reserve")).unwrap().set_len(5000).unwrap();
        let again = open(fs, KEPT_BYTES);
        assert!(again.fs.used_bytes() >= KEPT_BYTES);
        let pushed = again.fill();
        again.deleted(pushed / 2);
        let Bench { fs, store } = again;
        std::mem::forget(store);
        let full = open(fs, KEPT_BYTES);
        assert!(!full.is_kept());
        assert_eq!(full.push(5000).unwrap_err().kind(), Kind::Unavailable);
        assert!((pushed / 2..pushed).all(|time| full.delete(time).is_ok()));
        assert!(full.store.inline(version(pushed - 1)).unwrap().is_none());
    }
}

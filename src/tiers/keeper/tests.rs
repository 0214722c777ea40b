//! Changes that meet: memory and disk at the same address, and many at the same quota.

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use bytes::Bytes;

use super::*;
use crate::Kind;
use crate::model::{Clock, ContainerId, Digest, DigestKind, FrameId, ManualClock, NfrSpec, Quota, Seal, SeededRng};
use crate::store::{BoundedFs, FaultFs, FaultOp, Fs, SimFs, Store, StoreOptions};
use crate::tiers::Deciding;

struct Bench {
    keeper: Keeper,
    clock: Arc<ManualClock>,
}

fn bench(rules: Rules) -> Bench {
    bench_on(Arc::new(SimFs::new(0)), rules, 0)
}

fn bench_on(fs: Arc<dyn Fs>, rules: Rules, kept: u64) -> Bench {
    let clock = Arc::new(ManualClock::at(1000));
    let clock_dyn: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let path = Path::new("/store");
    let file = if fs.exists(path).unwrap() { fs.open(path) } else { fs.create(path) }.unwrap();
    let mut store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
    store.keep_room(Arc::clone(&fs), Path::new("/"), kept);
    let (disk, _) = DiskTier::open(fs, Path::new("/data"), Arc::new(store), Arc::clone(&clock_dyn)).unwrap();
    let sequencer = Sequencer::resume(ContainerId(1), 0, Incarnation(1), clock_dyn);
    let keeper = Keeper::open(MemoryTier::new(64 << 20), disk, sequencer, Arc::new(rules)).unwrap();
    Bench { keeper, clock }
}

fn address(key: &str) -> Address {
    format!("c/{key}").parse().unwrap()
}

fn draft(size: u64, ttl_ms: Option<u64>) -> Draft {
    let digest = Digest { kind: DigestKind::Blake3, bytes: [0; 32] };
    Draft { size, digest, content_type: None, meta: BTreeMap::new(), nfr: NfrSpec::default(), ttl_ms }
}

fn bytes(size: u64) -> Bytes {
    Bytes::from(vec![7; size as usize])
}

impl Bench {
    fn hold(&self, key: &str, size: u64, condition: Condition) -> Result<(Arc<Manifest>, bool)> {
        self.hold_for(key, size, condition, None)
    }

    fn hold_for(&self, key: &str, size: u64, condition: Condition, ttl: Option<u64>) -> Result<(Arc<Manifest>, bool)> {
        let room = self.keeper.memory().try_reserve(MemoryTier::cost(&address(key), size)).unwrap();
        self.keeper.hold(&address(key), &draft(size, ttl), &Chunks::from(bytes(size)), room, &condition, None)
    }

    fn store(&self, key: &str, size: u64, condition: Condition) -> Result<Outcome> {
        self.commit(key, self.staged(key, size, condition))
    }

    fn staged(&self, key: &str, size: u64, condition: Condition) -> Change {
        let frame = FrameId(frame_id(key, size));
        let mut staging = self.keeper.disk().stage(frame);
        staging.write(&bytes(size)).unwrap();
        let frame_bytes = staging.finish().unwrap();
        let seal =
            Seal { frame, bytes: size, footer: [0; 32], key: None, inline: false, rest: crate::model::Rest::Disk };
        let bind: Binding = Box::new(|_, _, _, _| Ok(None));
        Change::Store { draft: draft(size, None), seal, frame: frame_bytes, bind, condition }
    }

    fn delete(&self, key: &str) -> Result<Outcome> {
        self.commit(key, Change::Delete { condition: Condition::Always, unseen: false })
    }

    fn commit(&self, key: &str, change: Change) -> Result<Outcome> {
        let job = Job { address: address(key), change, show: None, decision: None };
        self.keeper.commit(vec![job]).pop().unwrap()
    }

    fn used(&self) -> (u64, u64) {
        let usage = self.keeper.usage_of("c");
        (usage.objects, usage.bytes)
    }
}

/// A frame's name that no other frame of a test has.
fn frame_id(key: &str, size: u64) -> [u8; 16] {
    static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut id = [key.len() as u8; 16];
    id[..8].copy_from_slice(&serial.to_be_bytes());
    id[8] = size as u8;
    id
}

#[test]
fn an_object_in_memory_counts_for_itself_and_not_for_the_one_it_hides() {
    let bench = bench(Rules::default());
    bench.store("k", 1000, Condition::Always).unwrap();
    assert_eq!(bench.used(), (1, 1000));
    bench.hold("k", 10, Condition::Always).unwrap();
    assert_eq!(bench.used(), (1, 10));
    bench.hold("k", 3000, Condition::Always).unwrap();
    assert_eq!(bench.used(), (1, 3000));
    bench.delete("k").unwrap();
    assert_eq!(bench.used(), (0, 0));
    bench.hold("new", 5, Condition::Always).unwrap();
    assert_eq!(bench.used(), (1, 5));
}

#[test]
fn a_quota_counts_what_memory_alone_holds() {
    let quota = Quota { bytes: Some(100), objects: Some(3) };
    let bench = bench(Rules { quota, ..Rules::default() });
    bench.store("a", 90, Condition::Always).unwrap();
    assert_eq!(bench.hold("b", 20, Condition::Always).unwrap_err().kind(), Kind::TooLarge);
    bench.hold("a", 10, Condition::Always).unwrap();
    bench.hold("b", 20, Condition::Always).unwrap();
    bench.store("c", 70, Condition::Always).unwrap();
    assert_eq!(bench.store("d", 0, Condition::Always).unwrap_err().context("quota"), Some("objects"));
    assert_eq!(bench.keeper.foresee(&address("d"), 0, &Condition::Always).unwrap_err().kind(), Kind::TooLarge);
    bench.delete("b").unwrap();
    bench.keeper.foresee(&address("d"), 20, &Condition::Always).unwrap();
    bench.store("d", 20, Condition::Always).unwrap();
    assert_eq!(bench.used(), (3, 100));
}

/// Runs `work` on this many threads at once and says how often it succeeded.
fn at_once(threads: usize, work: impl Fn(usize) -> bool + Sync) -> usize {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let (barrier, work) = (&barrier, &work);
        let runs: Vec<_> = (0..threads)
            .map(|index| {
                scope.spawn(move || {
                    barrier.wait();
                    work(index)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).filter(|won| *won).count()
    })
}

#[test]
fn of_many_who_want_to_be_first_one_is_whatever_their_class() {
    let bench = bench(Rules::default());
    for round in 0..100 {
        let key = format!("first/{round}");
        let won = at_once(8, |index| match index % 2 {
            0 => bench.hold(&key, 9, Condition::Absent).is_ok(),
            _ => bench.store(&key, 9, Condition::Absent).is_ok(),
        });
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn a_conditional_push_never_replaces_what_it_did_not_see() {
    let bench = bench(Rules::default());
    for round in 0..200 {
        let key = format!("seen/{round}");
        // Whoever is last must have replaced the other: the unconditional one may, the other one may not.
        at_once(2, |index| match index {
            0 => bench.hold(&key, 1, Condition::Always).is_ok(),
            _ => bench.store(&key, 2, Condition::Absent).is_ok(),
        });
        let held = bench.keeper.memory().peek(&address(&key)).map(|resident| resident.manifest.size);
        assert_eq!(held, Some(1), "round {round}: the unconditional push must be there");
    }
}

#[test]
fn pushes_at_the_same_time_never_exceed_a_quota_whatever_their_class() {
    let quota = Quota { bytes: Some(100), objects: None };
    let bench = bench(Rules { quota, ..Rules::default() });
    for round in 0..30 {
        let won = at_once(8, |index| match index % 2 {
            0 => bench.hold(&format!("{round}/{index}"), 40, Condition::Always).is_ok(),
            _ => bench.store(&format!("{round}/{index}"), 40, Condition::Always).is_ok(),
        });
        assert_eq!((won, bench.used()), (2, (2, 80)), "round {round}");
        (0..8).for_each(|index| drop(bench.delete(&format!("{round}/{index}")).unwrap()));
        assert_eq!(bench.used(), (0, 0), "round {round}");
    }
}

#[test]
fn a_sweep_never_takes_what_came_after_the_object_that_ended() {
    let bench = bench(Rules::default());
    for round in 0..200 {
        let key = format!("ends/{round}");
        bench.hold_for(&key, 1, Condition::Always, Some(5)).unwrap();
        bench.clock.advance(10);
        at_once(2, |index| match index {
            0 => bench.hold(&key, 2, Condition::Always).is_ok(),
            _ => bench.keeper.sweep().is_ok(),
        });
        let found = bench.keeper.find(&address(&key), None).unwrap();
        assert_eq!(found.map(|found| found.manifest().size), Some(2), "round {round}");
    }
}

#[test]
fn on_a_full_disk_the_deletes_of_a_group_are_done_without_its_pushes() {
    const DISK_BYTES: u64 = 8 << 20;
    for kept in [1 << 20, 0] {
        let fs = BoundedFs::new(Arc::new(SimFs::new(0)), DISK_BYTES);
        let bench = bench_on(Arc::new(fs.clone()), Rules { retention_ms: 1000, ..Rules::default() }, kept);
        let mut pushed = 0;
        while bench.store(&format!("{pushed}"), 9_000, Condition::Always).is_ok() {
            pushed += 1;
        }
        let free = fs.free_bytes(Path::new("/")).unwrap();
        fs.create(Path::new("/stranger")).unwrap().allocate(free).unwrap();
        let mut all_done = true;
        for number in 0..pushed {
            let delete = |key: String| Job {
                address: address(&key),
                change: Change::Delete { condition: Condition::Always, unseen: false },
                show: None,
                decision: None,
            };
            let store = Job {
                address: address("new"),
                change: bench.staged("new", 9_000, Condition::Always),
                show: None,
                decision: None,
            };
            let outcomes = bench.keeper.commit(vec![store, delete(format!("{number}")), delete("none".into())]);
            let [stored, deleted, none] = &outcomes[..] else { panic!("{}", outcomes.len()) };
            let error = stored.as_ref().unwrap_err();
            assert!(error.message().contains("the disk is full"), "{number}: {error}");
            all_done &= matches!(deleted, Ok(Outcome::Deleted(Some(_)))) && matches!(none, Ok(Outcome::Deleted(None)));
            assert!(!all_done || bench.keeper.find(&address(&format!("{number}")), None).unwrap().is_none());
        }
        assert_eq!(all_done, kept > 0, "{pushed} objects, {kept} bytes kept");
        assert!(bench.keeper.find(&address("new"), None).unwrap().is_none());
        assert!(kept == 0 || bench.used() == (0, 0));
    }
}

#[test]
fn the_frames_of_failed_commits_go_with_the_next_commit() {
    let faults = FaultFs::new(Arc::new(SimFs::new(0)));
    let bench = bench_on(Arc::new(faults.clone()), Rules::default(), 0);
    bench.store("a", 50_000, Condition::Always).unwrap();
    let frames = || {
        let shelves = faults.list(Path::new("/data/frames")).unwrap();
        let count = |shelf| faults.list(&Path::new("/data/frames").join(shelf)).unwrap().len();
        shelves.into_iter().map(count).sum::<usize>()
    };
    let change = bench.staged("b", 50_000, Condition::Always);
    faults.fail(FaultOp::SyncData, 0, std::io::ErrorKind::Other);
    bench.commit("b", change).unwrap_err();
    assert_eq!(frames(), 2, "a crash may still bring its record back");
    bench.store("c", 10, Condition::Always).unwrap();
    assert_eq!(frames(), 1);
}

#[test]
fn damaged_sums_and_deadlines_stop_neither_a_start_nor_a_sweep() {
    const SECOND_MS: u64 = 1000;
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new(0));
    let rules = Rules { retention_ms: SECOND_MS, cloud: true, ..Rules::default() };
    let before = bench_on(Arc::clone(&fs), rules, 0);
    before.store("small", 100, Condition::Always).unwrap();
    before.store("large", 50_000, Condition::Always).unwrap();
    before.store("small", 200, Condition::Always).unwrap();
    let sums = |bench: &Bench| (bench.keeper.holding(), bench.keeper.disk().sealed_bytes());
    let expected = sums(&before);
    assert!(expected.1 == 50_300 && expected.0.usage.objects == 2 && expected.0.owed.objects == 2, "{expected:?}");
    assert!(before.keeper.disk().store().damage_what_follows() >= 5);
    before.keeper.disk().store().close();

    let after = bench_on(fs, rules, 0);
    assert_eq!(sums(&after), expected);
    let large = after.keeper.find(&address("large"), None).unwrap().unwrap();
    let seal = large.manifest().seal.clone().unwrap();
    after.keeper.disk().reader(&address("large"), large.manifest().version, &seal).unwrap();
    // A real start goes on above its ceiling of versions.
    after.clock.advance(60 * SECOND_MS);
    // The old version's deadline is set anew, and then ends it with all others.
    after.store("other", 10, Condition::Always).unwrap();
    after.store("other", 20, Condition::Always).unwrap();
    after.clock.advance(2 * SECOND_MS);
    assert_eq!(after.keeper.sweep().unwrap().versions, 1, "only the sound one");
    assert_eq!(after.keeper.sweep().unwrap(), Swept::default(), "the damaged one is met once");
    after.clock.advance(crate::limits::RETENTION_S_DEFAULT * SECOND_MS);
    assert_eq!(after.keeper.sweep().unwrap().versions, 1);
    assert_eq!(after.keeper.disk().sealed_bytes(), 50_220);
}

/// A decision that another container may have taken over.
struct Lapsed;

impl Deciding for Lapsed {
    fn holds(&self) -> bool {
        false
    }
}

/// One whose end can be seen.
struct Watched(Arc<MemoryTier>, std::sync::mpsc::Sender<bool>);

impl Deciding for Watched {
    fn holds(&self) -> bool {
        true
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.peek(&address("new")).is_some());
    }
}

#[test]
fn what_another_container_may_decide_by_now_is_refused_when_it_is_committed() {
    let bench = bench(Rules::default());
    bench.store("there", 9, Condition::Always).unwrap();
    let lapsed: Decision = Arc::new(Lapsed);
    let jobs = [
        ("new", bench.staged("new", 9_000, Condition::Absent)),
        ("there", Change::Delete { condition: Condition::Always, unseen: false }),
    ];
    let jobs = jobs.map(|(key, change)| Job {
        address: address(key),
        change,
        show: None,
        decision: Some(Arc::clone(&lapsed)),
    });
    for outcome in bench.keeper.commit(jobs.into()) {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.delay().is_some()), (Kind::Unavailable, true), "{error}");
    }
    assert_eq!(bench.used(), (1, 9));
    let room = bench.keeper.memory().try_reserve(MemoryTier::cost(&address("ram"), 5)).unwrap();
    let (draft, plain) = (draft(5, None), Chunks::from(bytes(5)));
    let held = bench.keeper.hold(&address("ram"), &draft, &plain, room, &Condition::Absent, Some(&lapsed));
    assert_eq!(held.unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_decision_ends_when_its_change_is_there_and_not_before() {
    let bench = bench(Rules::default());
    let (ended, end) = std::sync::mpsc::channel();
    let decision: Decision = Arc::new(Watched(Arc::clone(bench.keeper.memory()), ended));
    let change = bench.staged("new", 9, Condition::Absent);
    let room = bench.keeper.memory().try_reserve(MemoryTier::cost(&address("new"), 9)).unwrap();
    let show = Some(Show { chunks: Chunks::from(bytes(9)), room });
    let job = Job { address: address("new"), change, show, decision: Some(decision) };
    bench.keeper.commit(vec![job]).remove(0).unwrap();
    assert_eq!(end.try_recv(), Ok(true), "it ended before its change was there");
}

//! Level 3 as a tier, plain and while its store or its folder fails.

use super::*;

#[test]
fn it_is_a_tier_in_memory() {
    suite(&Rig::in_memory().cloud);
}

#[test]
fn it_is_a_tier_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    suite(&Rig::opened(folder.path().join("deep/cloud").to_str().unwrap()).cloud);
    let left = files(folder.path());
    assert!(left.iter().all(|path| path.starts_with("deep/cloud/frames")), "{left:?}");
}

/// Each call fails once now and then: whoever uses the tier notices nothing.
#[test]
fn it_is_a_tier_while_calls_fail_and_hang() {
    for fault in [Fault::Error(ErrorKind::ConnectionReset), Fault::Lost, Fault::Torn, Fault::Hang, Fault::Lie] {
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::in_folder(folder.path());
        for op in Op::ALL {
            // A listing of everything is not begun anew by itself, and only the suite's count makes one.
            let ops = if op == Op::List { 1 } else { 6 };
            // Far enough apart that no call fails as often as it is made.
            let apart = if op == Op::Part { 8 } else { 3 };
            (0..ops).for_each(|n| rig.faults.fail(op, n * apart, 1, fault));
        }
        for (time, len) in [(1, 0), (2, 5_000), (3, 12 << 20)] {
            rig.upload("busy", time, len);
            assert_eq!(held(&rig.cloud, "busy"), Some(time), "{fault:?}");
        }
        assert!(rig.cloud.drop_copy(&address("busy"), version(3)).unwrap());
        assert!(rig.faults.met() >= 6, "{fault:?}: only {} faults were met", rig.faults.met());
        rig.faults.heal();
        suite(&rig.cloud);
        assert!(!files(folder.path()).iter().any(|path| path.to_str().unwrap().contains('#')), "{fault:?}");
    }
}

/// Whatever keeps failing under a put: the version before stays whole, and the same put works once
/// the cloud is back.
#[test]
fn what_keeps_failing_is_told_and_harms_nothing() {
    let faults =
        [Fault::Error(ErrorKind::ConnectionReset), Fault::Error(ErrorKind::StorageFull), Fault::Torn, Fault::Hang];
    for op in [Op::Put, Op::Multipart, Op::Part, Op::Complete, Op::List] {
        for fault in faults {
            let folder = tempfile::tempdir().unwrap();
            let rig = Rig::in_folder(folder.path());
            rig.upload("faulty", 100, 30_000);
            rig.faults.fail(op, 0, u64::MAX, fault);
            let error = rig.try_upload("faulty", 101, 12 << 20).unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{op:?} {fault:?}: {error}");
            assert!(error.context("address").is_some(), "{error}");
            rig.faults.heal();
            assert_eq!(held(&rig.cloud, "faulty"), Some(100), "{op:?} {fault:?}");
            rig.upload("faulty", 101, 12 << 20);
            assert_eq!(held(&rig.cloud, "faulty"), Some(101), "{op:?} {fault:?}");
        }
    }
}

#[test]
fn attempts_are_bounded_and_spaced() {
    let rig = Rig::in_memory();
    rig.faults.fail(Op::Head, 0, u64::MAX, Fault::Error(ErrorKind::TimedOut));
    let error = rig.cloud.check(frame_of(1), &rig.upload("k", 1, 10)).unwrap_err();
    assert!(error.retryable() && error.to_string().contains("tried again later"), "{error}");
    assert_eq!(rig.faults.met(), u64::from(CLOUD_ATTEMPTS_MAX));
    let waits = rig.timer.waits();
    assert_eq!(waits.len() as u32, CLOUD_ATTEMPTS_MAX - 1);
    assert!(waits.iter().all(|wait| !wait.is_zero() && *wait <= CLOUD_BACKOFF_LONGEST * 3 / 2), "{waits:?}");
}

#[test]
fn a_silent_cloud_is_given_up_in_time() {
    let rig = Rig::in_memory();
    let receipt = rig.upload("k", 1, 10);
    rig.faults.fail(Op::Head, 0, u64::MAX, Fault::Hang);
    let error = rig.cloud.check(frame_of(1), &receipt).unwrap_err();
    assert_eq!((error.kind(), error.context("limit_ms")), (Kind::Unavailable, Some("30000")));
}

#[test]
fn a_full_or_read_only_folder_is_named_at_once() {
    let rig = Rig::in_memory();
    let said = [
        (ErrorKind::StorageFull, "is full"),
        (ErrorKind::ReadOnlyFilesystem, "not writable"),
        (ErrorKind::PermissionDenied, "not writable"),
    ];
    for (kind, words) in said {
        rig.faults.fail(Op::Put, 0, 1, Fault::Error(kind));
        let error = rig.try_upload("k", 1, 10).unwrap_err();
        assert!(error.kind() == Kind::Unavailable && error.to_string().contains(words), "{error}");
    }
    assert!(rig.timer.waits().is_empty(), "such a failure does not pass within seconds");
}

#[test]
fn a_folder_that_cannot_be_made_or_written_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    for place in [file.clone(), file.join("cloud")] {
        let parts = Rig::in_memory().cloud.calls.parts.clone();
        let error = CloudTier::open(&CloudUrl::Folder(place.clone()), parts).err().unwrap();
        assert_eq!((error.kind(), error.context("cloud.url")), (Kind::Unavailable, place.to_str()), "{error}");
    }
    for op in [FaultOp::Create, FaultOp::SyncDir] {
        let faults = FaultFs::new(Arc::new(RealFs));
        faults.fail(op, 0, ErrorKind::ReadOnlyFilesystem);
        let error = Folder { fs: Arc::new(faults), root: folder.path().join("new") }.open(&SeededRng::new(1)).err();
        assert!(error.unwrap().to_string().contains("cloud.url must be a folder"));
    }
}

#[test]
fn a_cloud_that_goes_away_is_found_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cloud");
    let rig = Rig::opened(&format!("file://{}", place.display()));
    rig.upload("before", 2, 10);
    let away = folder.path().join("away");
    std::fs::rename(&place, &away).unwrap();
    std::fs::write(&place, "in the way").unwrap();
    for error in [
        rig.try_upload("k", 1, 10).unwrap_err(),
        rig.cloud.head(&address("before")).unwrap_err(),
        rig.cloud.remove(frame_of(2)).unwrap_err(),
        rig.cloud.objects().unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
    std::fs::remove_file(&place).unwrap();
    std::fs::rename(&away, &place).unwrap();
    rig.upload("k", 1, 10);
    assert_eq!((held(&rig.cloud, "before"), held(&rig.cloud, "k")), (Some(2), Some(1)));
}

/// Neither a tag that was told wrong when the frame was taken in nor one that is told wrong later
/// passes for a receipt.
#[test]
fn a_lying_tag_is_found_out() {
    for (op, len) in [(Op::Put, 10), (Op::Complete, 12 << 20), (Op::Head, 10)] {
        let rig = Rig::in_memory();
        rig.faults.fail(op, 0, 1, Fault::Lie);
        let receipt = rig.upload("k", 1, len);
        assert!(!rig.cloud.check(frame_of(1), &receipt).unwrap(), "{op:?}");
        assert_eq!(rig.faults.met(), 1, "{op:?}");
    }
}

/// Whose waits are over at once: only what is ready is in time.
struct Hurry;

impl Timer for Hurry {
    fn after(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn calls_take_turns() {
    let mut rig = Rig::in_memory();
    let receipt = rig.upload("k", 1, 10);
    let parts = CloudParts { timer: Arc::new(Hurry), ..rig.cloud.calls.parts.clone() };
    rig.cloud.calls = Arc::new(Calls::new(parts).unwrap());
    let taken = rig.cloud.calls.turns.try_acquire_many(4).unwrap();
    let error = rig.cloud.check(frame_of(1), &receipt).unwrap_err();
    assert_eq!((error.kind(), error.context("cloud.concurrency")), (Kind::Busy, Some("4")), "{error}");
    drop(taken);
    // A call that is given up, or fails, gives its turn back.
    for fault in [Fault::Hang, Fault::Lost] {
        rig.faults.fail(Op::Head, 0, 8, fault);
        (0..2).for_each(|_| assert_eq!(rig.cloud.check(frame_of(1), &receipt).unwrap_err().kind(), Kind::Unavailable));
        assert_eq!(rig.cloud.calls.turns.available_permits(), 4);
    }
    assert!(rig.cloud.check(frame_of(1), &receipt).unwrap());
}

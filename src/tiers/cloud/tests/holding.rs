//! What level 3 holds and what it says of it: receipts, ranges, heads, names, leftovers.

use super::*;

#[test]
fn a_receipt_holds_until_the_cloud_changes() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::in_folder(folder.path());
    let len = 12 << 20;
    let receipt = rig.upload("k", 1, len);
    let frame = frame_of(1);
    assert_eq!((receipt.bytes, receipt.at_ms, receipt.etag.is_some()), (len as u64, 77, true));
    assert!(rig.cloud.check(frame, &receipt).unwrap());
    let hash = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
    let (ranges, good) = ([0..32, len as u64 - 100..len as u64], hash(&[1; 132]));
    assert!(rig.cloud.check_bytes(frame, &receipt, &ranges, &good).unwrap());
    assert!(!rig.cloud.check_bytes(frame, &receipt, &ranges, &hash(&[2; 132])).unwrap());
    for bad in [
        Receipt { bytes: receipt.bytes - 1, ..receipt.clone() },
        Receipt { etag: Some("\"other\"".into()), ..receipt.clone() },
        Receipt { etag: None, ..receipt.clone() },
        Receipt { version: Some("1".into()), ..receipt.clone() },
    ] {
        assert!(!rig.cloud.check(frame, &bad).unwrap(), "{bad:?}");
    }
    let path = folder.path().join(layout::frame(frame).as_ref());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!rig.cloud.check(frame, &receipt).unwrap(), "cut");
    std::fs::remove_file(&path).unwrap();
    assert!(!rig.cloud.check(frame, &receipt).unwrap(), "gone");
    assert!(!rig.cloud.check_bytes(frame, &receipt, &ranges, &good).unwrap());
    let again = rig.upload("k", 1, len);
    assert!(rig.cloud.check(frame, &again).unwrap() && !rig.cloud.check(frame, &receipt).unwrap());
}

#[test]
fn ranges_are_fetched_alone_and_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::in_folder(folder.path());
    let plain: Vec<u8> = (0..20 << 20).map(|n: u32| (n / 3) as u8).collect();
    let manifest = copy(1, plain.len()).manifest;
    rig.cloud.upload(&address("k"), &manifest, &Bytes::from(plain.clone())).unwrap();
    let seal = manifest.seal.as_ref().unwrap();
    let reader = rig.cloud.read(seal);
    let len = plain.len() as u64;
    for range in [0..0, 0..1, 7..8, 5 << 20..(5 << 20) + 1, len - 1..len, len..len, 100..9 << 20, 0..len] {
        let expected = &plain[range.start as usize..range.end as usize];
        assert!(reader.read(range.clone()).unwrap() == expected, "{range:?}");
    }
    for outside in [len..len + 1, 0..len + 1] {
        assert_eq!(reader.read(outside).unwrap_err().kind(), Kind::Corrupt);
    }
    // The cause of the failure is the object, not the store: no kind of cut looks like an outage.
    let path = folder.path().join(layout::frame(seal.frame).as_ref());
    std::fs::write(&path, &plain[..1000]).unwrap();
    for range in [0..1001, 999..2000, 1000..1001, 5000..6000] {
        let error = reader.read(range).unwrap_err();
        assert!(error.kind() == Kind::Corrupt && error.to_string().contains("shorter"), "{error}");
    }
    assert_eq!(reader.read(0..1000).unwrap().len(), 1000);
    rig.cloud.remove(seal.frame).unwrap();
    rig.cloud.remove(seal.frame).unwrap();
    assert_eq!(reader.read(0..1).unwrap_err().kind(), Kind::Corrupt);
}

/// A frame that is made while it is read, and counts how much of it is alive.
struct Counted {
    len: u64,
    alive: Arc<AtomicU64>,
    most: AtomicU64,
}

struct Piece(Vec<u8>, Arc<AtomicU64>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len() as u64, Ordering::SeqCst);
    }
}

impl Source for Counted {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let len = range.end - range.start;
        let alive = self.alive.fetch_add(len, Ordering::SeqCst) + len;
        self.most.fetch_max(alive, Ordering::SeqCst);
        Ok(Bytes::from_owner(Piece(vec![1; len as usize], Arc::clone(&self.alive))))
    }
}

#[test]
fn a_large_frame_is_streamed_through_a_small_window() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::in_folder(folder.path());
    let len = 100_000_000;
    let mut manifest = (*copy(1, 0).manifest).clone();
    manifest.seal.as_mut().unwrap().bytes = len;
    let source = Counted { len, alive: Arc::default(), most: AtomicU64::new(0) };
    let receipt = rig.cloud.upload(&address("large"), &manifest, &source).unwrap();
    assert_eq!(receipt.bytes, len);
    assert!(rig.cloud.check(manifest.seal.as_ref().unwrap().frame, &receipt).unwrap());
    let most = source.most.load(Ordering::SeqCst);
    assert!(most <= CLOUD_PARTS_FLYING as u64 * CLOUD_PART_BYTES_MIN, "{most} bytes were held at once");
    assert_eq!(source.alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_frame_that_is_not_what_the_manifest_says_is_not_sent() {
    let rig = Rig::in_memory();
    let manifest = copy(1, 100).manifest;
    let error = rig.cloud.upload(&address("k"), &manifest, &Bytes::from_static(b"short")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let error = rig.cloud.upload(&address("k"), &unsealed(), &Bytes::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert_eq!(rig.cloud.objects().unwrap(), 0);
}

fn unsealed() -> Manifest {
    Manifest { seal: None, ..(*copy(1, 0).manifest).clone() }
}

#[test]
fn a_torn_upload_is_never_visible_and_its_leftovers_go() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::in_folder(folder.path());
    // What a process that was killed half-way leaves: the store's own file beside the place.
    let torn = folder.path().join(format!("{}#1", layout::frame(frame_of(1))));
    std::fs::create_dir_all(torn.parent().unwrap()).unwrap();
    std::fs::write(&torn, "half of it").unwrap();
    let seen = || {
        let mut frames = Vec::new();
        rig.cloud
            .frames(&mut |frame, bytes| {
                frames.push((frame, bytes));
                Ok(())
            })
            .unwrap();
        frames
    };
    assert_eq!(seen(), []);
    let reader = rig.cloud.read(copy(1, 10).manifest.seal.as_ref().unwrap());
    assert_eq!(reader.read(0..1).unwrap_err().kind(), Kind::Corrupt);
    rig.faults.fail(Op::Part, 1, u64::MAX, Fault::Torn);
    rig.try_upload("k", 1, 12 << 20).unwrap_err();
    assert_eq!((seen(), held(&rig.cloud, "k")), (vec![], None));
    rig.faults.heal();
    rig.upload("k", 1, 12 << 20);
    assert_eq!(seen(), [(frame_of(1), 12 << 20)]);
    assert!(!torn.exists());
    std::fs::write(&torn, "half of it").unwrap();
    rig.cloud.remove(frame_of(1)).unwrap();
    assert!(!torn.exists() && seen().is_empty());
}

#[test]
fn a_folder_that_cannot_be_synced_gives_no_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultFs::new(Arc::new(RealFs));
    let rig = Rig::over_folder(folder.path(), Arc::new(faults.clone()));
    faults.fail(FaultOp::SyncDir, 0, ErrorKind::Other);
    rig.upload("k", 1, 10);
    assert_eq!((faults.planned(), rig.timer.waits().len()), (0, 1), "it was met, and tried again");
    faults.fail(FaultOp::SyncDir, 0, ErrorKind::ReadOnlyFilesystem);
    assert!(rig.try_upload("k", 2, 10).unwrap_err().to_string().contains("not writable"));
    assert_eq!(held(&rig.cloud, "k"), Some(1));
}

/// The folders above a name are synced up to the root, also where another container made them.
#[test]
fn every_folder_above_a_name_is_synced() {
    let fs = SimFs::new(1);
    let calls = Rig::in_memory().cloud.calls;
    let path = layout::frame(frame_of(1));
    let shelf = PathBuf::from("/cloud").join(path.as_ref()).parent().unwrap().to_owned();
    fs.create_dir_all(&shelf).unwrap();
    for passes in 0..3 {
        let faults = FaultFs::new(Arc::new(fs.clone()));
        faults.fail(FaultOp::SyncDir, passes, ErrorKind::Other);
        let folder = Folder { fs: Arc::new(faults), root: "/cloud".into() };
        let place = Place { store: Arc::new(InMemory::new()), folder: Some(folder) };
        place.settle(&calls, &path).unwrap_err();
        place.settle(&calls, &path).unwrap();
    }
}

#[test]
fn a_restart_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap().to_owned();
    let keys: Vec<String> = (0..20).map(|n| format!("deep/Key {n}%")).collect();
    {
        let rig = Rig::opened(&url);
        for (n, key) in keys.iter().enumerate() {
            rig.upload(key, n as u64, n * 1000);
            rig.upload(key, 100 + n as u64, n * 1000);
        }
    }
    let rig = Rig::opened(&url);
    assert_eq!(rig.cloud.objects().unwrap(), 20);
    let mut found = std::collections::BTreeMap::new();
    let listed = rig.cloud.list(&mut |head| {
        let CloudHead::Object(address, manifest) = head else { panic!("{head:?}") };
        // A visit may ask the cloud itself.
        assert_eq!(held(&rig.cloud, address.key()), Some(manifest.version.time));
        found.insert(address.key().to_owned(), manifest.version.time);
        Ok(())
    });
    listed.unwrap();
    assert_eq!(found, keys.iter().cloned().zip(100..).collect());
    let mut frames = 0;
    rig.cloud
        .frames(&mut |_, _| {
            frames += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(frames, 40, "older frames stay until their owner removes them");
}

#[test]
fn a_damaged_head_is_told_and_the_rest_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::in_folder(folder.path());
    rig.upload("good", 1, 10);
    rig.upload("bad", 2, 10);
    rig.upload("moved", 3, 10);
    let file = |key: &str, time| folder.path().join(layout::head(&address(key), version(time)).as_ref());
    let whole = std::fs::read(file("bad", 2)).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(json["head"]["address"], "tier/bad", "people can read it");
    let check = |bytes: &[u8]| {
        std::fs::write(file("bad", 2), bytes).unwrap();
        rig.cloud.head(&address("bad")).map(|_| ()).map_err(|error| error.kind())
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert_eq!(check(&bytes), Err(Kind::Corrupt), "byte {at}");
    }
    assert_eq!(check(&whole[..whole.len() / 2]), Err(Kind::Corrupt));
    assert_eq!(check(&vec![b' '; 1 << 20]), Err(Kind::Corrupt));
    std::fs::copy(file("good", 1), file("moved", 3)).unwrap();
    assert_eq!(rig.cloud.head(&address("moved")).unwrap_err().kind(), Kind::Corrupt);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let listed = rig.cloud.list(&mut |head| {
        match head {
            CloudHead::Object(address, _) => good.push(address.key().to_owned()),
            CloudHead::Damaged(path, _) => bad.push(path),
        }
        Ok(())
    });
    listed.unwrap();
    bad.sort();
    assert_eq!(good, ["good"]);
    assert_eq!(
        bad,
        [layout::head(&address("bad"), version(2)), layout::head(&address("moved"), version(3))].map(String::from)
    );
    // A push of a newer version heals it.
    rig.upload("bad", 4, 10);
    assert_eq!(held(&rig.cloud, "bad"), Some(4));
}

#[test]
fn two_containers_share_a_cloud_without_harm() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap().to_owned();
    let rigs = [Rig::opened(&url), Rig::opened(&url)];
    std::thread::scope(|scope| {
        for (n, rig) in rigs.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..60 {
                    let time = 1 + round * 2 + n as u64;
                    rig.upload("shared", time, 100);
                    rig.upload(&format!("own/{n}/{}", round % 3), time + 1000, 100);
                    assert!(rig.cloud.head(&address("shared")).unwrap().unwrap().version >= version(time));
                    if round % 3 == 2 {
                        let key = format!("own/{n}/2");
                        assert!(rig.cloud.drop_copy(&address(&key), version(time + 1000)).unwrap());
                    }
                }
            });
        }
    });
    for rig in &rigs {
        assert_eq!(held(&rig.cloud, "shared"), Some(120), "the newest wins, whoever wrote last");
        assert_eq!(rig.cloud.objects().unwrap(), 5);
    }
}

#[test]
fn hard_keys_are_objects_of_their_own_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::in_folder(folder.path());
    let long = "Ab/".repeat(342)[..1023].trim_end_matches('/').to_owned();
    let keys = [
        "a",
        "A",
        "a/b",
        "a%2fb",
        "a%2Fb",
        "a=2fb",
        "a b",
        "...",
        "..a",
        "a/.../b",
        "%2e%2e",
        "é",
        "e\u{301}",
        "a#1",
        "a#1/b",
        "C:\\x",
        "heads",
        "frames/x.frame",
        &long,
        &long[..1000],
        &"é".repeat(512),
        &"%".repeat(1024),
    ];
    for (n, key) in keys.iter().enumerate() {
        rig.upload(key, 1 + n as u64, 10 * n);
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(held(&rig.cloud, key), Some(1 + n as u64), "{key}");
    }
    assert_eq!(rig.cloud.objects().unwrap(), keys.len() as u64);
    assert!(files(folder.path()).iter().all(|path| path.starts_with("heads/tier") || path.starts_with("frames")));
    for (n, key) in keys.iter().enumerate() {
        assert!(rig.cloud.drop_copy(&address(key), version(1 + n as u64)).unwrap());
    }
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_head_can_be_written_anew_but_an_old_one_never_returns() {
    let rig = Rig::in_memory();
    rig.upload("k", 1, 10);
    rig.upload("k", 2, 10);
    let old = copy(1, 10).manifest;
    assert!(!rig.cloud.describe(&address("k"), &old).unwrap());
    let mut rewrapped = (*copy(2, 10).manifest).clone();
    rewrapped.seal.as_mut().unwrap().inline = true;
    rewrapped.content_type = Some("text/plain".into());
    assert!(rig.cloud.describe(&address("k"), &rewrapped).unwrap());
    rewrapped.seal.as_mut().unwrap().inline = false;
    assert_eq!(rig.cloud.head(&address("k")).unwrap(), Some(rewrapped));
    assert!(!rig.cloud.forget(&address("k"), version(1)).unwrap());
    assert!(rig.cloud.forget(&address("k"), version(2)).unwrap());
    assert_eq!(rig.cloud.head(&address("k")).unwrap(), None);
    // The receipt of an upload that came late is good, and the newer head stays.
    rig.upload("k", 5, 10);
    let late = rig.upload("k", 4, 10);
    assert!(rig.cloud.check(frame_of(4), &late).unwrap());
    assert_eq!(held(&rig.cloud, "k"), Some(5));
}

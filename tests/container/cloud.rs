//! Level 3: where it is, what is owed to it, what leaves the disk for it, and how it comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Process, body_of, object};

#[test]
fn the_cloud_is_a_folder_that_is_made_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("deep/cloud");
    let _process = Process::start(&["--cloud", &format!("file://{}", place.display())]);
    assert!(place.is_dir());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "the trial of the folder leaves nothing");
}

#[test]
fn a_cloud_that_cannot_be_used_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let file = file.to_str().unwrap();
    let bad = [
        ("s3://bucket/prefix", "not built yet"),
        ("az://container", "not built yet"),
        ("gs://bucket", "not built yet"),
        ("ftp://host", "a path or file:///path"),
        ("~/cloud", "not expanded"),
        ("/", "must end in a name"),
        (file, "cannot make the cloud folder"),
        (&format!("{file}/below"), "cannot make the cloud folder"),
    ];
    for (url, words) in bad {
        let refused = Process::refused(&["--cloud", url], &[]);
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(refused.stderr.contains(words) && refused.stderr.contains(url), "{url}: {refused:?}");
    }
    for (setting, words) in [
        ("cloud.concurrency=0", "from 1 to 256"),
        ("cloud.timeout_ms=0", "milliseconds"),
        ("cloud.upload_timeout_ms=1h", "milliseconds"),
        ("cloud.uri=x", "cloud.uri"),
    ] {
        let refused = Process::refused(&["--set", setting], &[]);
        assert!(refused.stderr.contains(words) && refused.stderr.contains("cloud."), "{setting}: {refused:?}");
    }
}

/// Bytes that do not compress, different for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let key = blake3::hash(&seed.to_le_bytes());
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// What the cloud folder shows; a file that was being written when a kill came has a `#` in its name.
fn cloud_files(process: &Process, what: &str) -> Vec<PathBuf> {
    let files = files_below(&process.data().join("cloud").join(what));
    files.into_iter().filter(|path| !path.to_str().unwrap().contains('#')).collect()
}

fn flush(process: &Process) -> Value {
    process.request("POST", "/v1/sync", &[], b"").expect(200).json()
}

fn evict(process: &Process, level: &str) -> u64 {
    let body = json!({ "level": level }).to_string();
    let report = process.request("POST", "/v1/admin/evict", &[], body.as_bytes()).expect(200).json();
    report["objects"].as_u64().unwrap()
}

fn owed(process: &Process) -> u64 {
    let page = process.request("GET", "/v1/transfers?limit=1000", &[], b"").expect(200).json();
    page["items"].as_array().unwrap().len() as u64
}

fn level_of(process: &Process, address: &str, body: &[u8]) -> String {
    let answer = process.get(address).expect(200);
    assert!(answer.body == body, "{address}: other bytes");
    answer.header("mesh-level").unwrap().to_owned()
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_owed_is_seen_paid_and_read_back_from_the_cloud() {
    let mut process = Process::start(&[]);
    let bodies: Vec<_> = [900, 100_000, 3_000_000].map(|len| noise(len, len as usize)).into();
    for (nth, body) in bodies.iter().enumerate() {
        process.put(&format!("owed/{nth}"), body).expect(201);
    }
    let collection = process.request("GET", "/v1/collections/owed", &[], b"").expect(200).json();
    assert_eq!(collection["owed"]["objects"], 3);
    let first = process.request("GET", "/v1/transfers?collection=owed&limit=2", &[], b"").expect(200).json();
    assert_eq!(first["items"][0]["address"], "owed/0");
    let next = format!("/v1/transfers?collection=owed&limit=2&after={}", first["next"].as_str().unwrap());
    let rest = process.request("GET", &next, &[], b"").expect(200).json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let one = process.request("GET", "/v1/transfers?collection=owed&key=1", &[], b"").expect(200).json();
    assert_eq!((&one["items"][0]["address"], &one["items"][0]["state"]), (&json!("owed/1"), &json!("owed")));
    assert!(cloud_files(&process, "frames").is_empty(), "nothing travels before it is asked for");

    let report = flush(&process);
    assert_eq!((&report["sent"]["objects"], &report["owed"]["objects"]), (&json!(3), &json!(0)));
    assert_eq!((owed(&process), cloud_files(&process, "frames").len()), (0, 3));
    assert_eq!(evict(&process, "disk"), 3);
    assert_eq!(evict(&process, "disk"), 0);
    process.terminate();
    process.restart();
    // A range moves only what it needs, and leaves the object where it is.
    let range = process.request("GET", &object("owed/2"), &[("Range", "bytes=2000000-2000099")], b"").expect(206);
    assert_eq!(range.body, bodies[2][2_000_000..2_000_100]);
    assert_eq!(range.header("mesh-level"), Some("cloud"));
    let listed = process.request("GET", "/v1/objects/owed", &[], b"").expect(200).json();
    assert!(listed["items"].as_array().unwrap().iter().all(|item| item["level"] == "cloud"), "{listed}");
    for (nth, body) in bodies.iter().enumerate() {
        assert_eq!(level_of(&process, &format!("owed/{nth}"), body), "cloud");
    }
    evict(&process, "ram");
    for (nth, body) in bodies.iter().enumerate() {
        assert_eq!(level_of(&process, &format!("owed/{nth}"), body), "disk", "it came back");
    }
}

#[test]
fn the_cloud_forgets_what_is_deleted_and_keeps_the_newest() {
    let process = Process::start(&[]);
    process.request("PUT", "/v1/collections/gone", &[], br#"{"retention_s":0}"#).expect(201);
    for key in ["gone/a", "gone/b", "gone/c"] {
        process.put(key, &noise(1, 50_000)).expect(201);
    }
    flush(&process);
    process.put("gone/b", &noise(2, 50_000)).expect(200);
    flush(&process);
    process.delete("gone/a").expect(204);
    // Overwritten, not sent, and deleted: the older one in the cloud must go all the same.
    process.put("gone/c", b"short").expect(200);
    process.delete("gone/c").expect(204);
    eventually("one head and one frame stay", || {
        (cloud_files(&process, "heads").len(), cloud_files(&process, "frames").len()) == (1, 1)
    });
    evict(&process, "disk");
    evict(&process, "ram");
    assert_eq!(level_of(&process, "gone/b", &noise(2, 50_000)), "cloud");
}

#[test]
fn a_disk_that_fills_up_sends_what_it_must_and_goes_on() {
    let process = Process::start(&["--set", "data.budget_bytes=12MiB", "--set", "memory.level1_bytes=1MiB"]);
    for nth in 0..40 {
        process.put(&format!("full/{nth}"), &noise(nth, 1_000_000)).expect(201);
    }
    let tiers = process.request("GET", "/v1/admin/tiers", &[], b"").expect(200).json();
    let disk = &tiers["tiers"][1];
    assert!(disk["bytes"].as_u64().unwrap() <= 13 << 20, "{disk}");
    assert!(disk["evictions"].as_u64().unwrap() >= 25, "{disk}");
    for nth in 0..40 {
        level_of(&process, &format!("full/{nth}"), &noise(nth, 1_000_000));
    }
}

#[test]
fn a_disk_that_fills_up_without_a_cloud_refuses_pushes_and_takes_deletes() {
    let process = Process::start(&["--cloud", "none", "--set", "data.budget_bytes=4MiB"]);
    process.request("PUT", "/v1/collections/full", &[], br#"{"retention_s":0}"#).expect(201);
    for nth in 0..4 {
        process.put(&format!("full/{nth}"), &noise(nth, 1_000_000)).expect(201);
    }
    let problem = process.put("full/4", &noise(4, 1_000_000)).expect_problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("data.budget_bytes"), "{problem}");
    process.put("full/0", &noise(5, 1_000_000)).expect_problem(503, "unavailable");
    assert!(process.get("full/0").expect(200).body == noise(0, 1_000_000), "a refused push changes nothing");
    process.request("POST", "/v1/sync", &[], b"").expect_problem(503, "unavailable");
    process.delete("full/0").expect(204);
    process.put("full/4", &noise(4, 1_000_000)).expect(201);
    assert_eq!(owed(&process), 4, "what is owed stays written down for the day there is a cloud");
}

#[test]
fn what_can_never_fit_is_refused_at_once_and_what_fits_needs_no_length() {
    let process = Process::start(&["--set", "data.budget_bytes=8MiB", "--set", "memory.level1_bytes=1MiB"]);
    for nth in 0..3 {
        process.put(&format!("fit/{nth}"), &noise(nth, 1_000_000)).expect(201);
    }
    process.put("fit/never", &noise(9, 9 << 20)).expect_problem(413, "too_large");
    let tiers = process.request("GET", "/v1/admin/tiers", &[], b"").expect(200).json();
    assert_eq!(tiers["tiers"][1]["evictions"], 0, "nobody left for an object that cannot come");
    let body = noise(5, 3 << 20);
    let mut connection = process.connect();
    connection.begin("PUT", &object("fit/chunked"), &[("Transfer-Encoding", "chunked")], 0).unwrap();
    for chunk in body.chunks(1 << 16) {
        connection.send(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        connection.send(chunk).unwrap();
        connection.send(b"\r\n").unwrap();
    }
    connection.send(b"0\r\n\r\n").unwrap();
    connection.answer().unwrap().expect(201);
    level_of(&process, "fit/chunked", &body);
}

#[test]
fn one_object_may_be_sent_to_the_cloud_alone_and_needs_its_keyring_there() {
    let mut process = Process::start(&[]);
    process.put("alone/k", &noise(1, 40_000)).expect(201);
    let one = br#"{"level":"disk","collection":"alone","key":"k"}"#;
    let report = process.request("POST", "/v1/admin/evict", &[], one).expect(200).json();
    assert_eq!(report["objects"], 1);
    process.terminate();
    let (keys, aside) = (process.data().join("keys.toml"), process.folder().join("aside"));
    fs::rename(&keys, &aside).unwrap();
    let refused = process.try_restart().expect_err("a fresh keyring opens nothing that is in the cloud");
    assert!(refused.stderr.contains("keyring is missing") && !keys.exists(), "{refused:?}");
    fs::rename(&aside, &keys).unwrap();
    process.restart();
    assert_eq!(level_of(&process, "alone/k", &noise(1, 40_000)), "cloud");
}

#[test]
fn a_cloud_that_is_away_costs_nothing_that_was_acknowledged() {
    let process = Process::start(&[]);
    process.put("away/a", &noise(1, 30_000)).expect(201);
    let (cloud, aside) = (process.data().join("cloud"), process.data().join("aside"));
    fs::rename(&cloud, &aside).unwrap();
    fs::write(&cloud, "in the way").unwrap();
    process.request("POST", "/v1/sync", &[], b"").expect_problem(503, "unavailable");
    process.put("away/b", &noise(2, 30_000)).expect(201);
    assert_eq!(owed(&process), 2);
    fs::remove_file(&cloud).unwrap();
    fs::rename(&aside, &cloud).unwrap();
    assert_eq!(flush(&process)["owed"]["objects"], 0);
}

#[test]
fn a_copy_leaves_the_disk_only_on_a_receipt_that_still_holds() {
    let process = Process::start(&[]);
    let body = noise(1, 60_000);
    process.put("proof/k", &body).expect(201);
    flush(&process);
    let frame = cloud_files(&process, "frames").remove(0);
    fs::write(&frame, "not what was sent").unwrap();
    assert_eq!(evict(&process, "disk"), 1, "sent again, it may leave");
    assert_ne!(fs::read(&frame).unwrap(), b"not what was sent");
    evict(&process, "ram");
    assert_eq!(level_of(&process, "proof/k", &body), "cloud");
}

#[test]
fn a_damaged_copy_on_the_disk_is_replaced_from_the_cloud() {
    let process = Process::start(&[]);
    let body = noise(1, 200_000);
    process.put("heal/k", &body).expect(201);
    flush(&process);
    evict(&process, "ram");
    let frame = files_below(&process.data().join("frames")).remove(0);
    let mut bytes = fs::read(&frame).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&frame, bytes).unwrap();
    assert_eq!(level_of(&process, "heal/k", &body), "cloud");
    evict(&process, "ram");
    assert_eq!(level_of(&process, "heal/k", &body), "disk");
}

#[test]
fn debts_survive_kill_9_in_the_middle_of_their_payment() {
    let mut process = Process::start(&[]);
    for round in 0..6_u64 {
        for nth in 0..20 {
            let body = noise(100 * round + nth, 20_000 + 1_000 * nth as usize);
            let status = process.put(&format!("debt/{nth}"), &body).status;
            assert!(status == 200 || status == 201);
        }
        let mut connection = process.connect();
        // The answer is never read: the kill comes first.
        let _ = connection.begin("POST", "/v1/sync", &[], 0);
        std::thread::sleep(Duration::from_millis(5 * round));
        process.kill9();
        process.restart();
    }
    flush(&process);
    assert_eq!(owed(&process), 0);
    assert_eq!(evict(&process, "disk"), 20);
    process.kill9();
    process.restart();
    for nth in 0..20 {
        level_of(&process, &format!("debt/{nth}"), &noise(500 + nth, 20_000 + 1_000 * nth as usize));
    }
    eventually("only the newest heads stay", || cloud_files(&process, "heads").len() == 20);
}

#[test]
fn the_command_line_shows_and_sends_what_is_owed() {
    let process = Process::start(&[]);
    process.put("line/a%20b", b"first").expect(201);
    process.put("line/c", b"second").expect(201);
    process.put("other/d", b"third").expect(201);
    let run = |args: &[&str]| {
        let output = process.cli(args, b"");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["sync", "status"]).lines().count(), 4, "a line for each, and their heading");
    assert_eq!(run(&["sync", "status", "line/a b", "--json"]).lines().count(), 1);
    assert!(run(&["sync", "flush", "line"]).starts_with("2 objects"));
    assert_eq!(run(&["sync", "status", "line"]), "");
    let paid: Value = serde_json::from_str(&run(&["sync", "flush", "--json"])).unwrap();
    assert_eq!((&paid["sent"]["objects"], &paid["owed"]["objects"]), (&json!(1), &json!(0)));
    assert!(!process.cli(&["sync", "status", "NO"], b"").status.success());
}

#[test]
fn owed_work_is_asked_for_in_words_that_make_sense() {
    let process = Process::start(&[]);
    for query in ["?limit=0", "?limit=x", "?after=x", "?key=k", "?frob=1", "?collection=NO"] {
        process.request("GET", &format!("/v1/transfers{query}"), &[], b"").expect_problem(400, "invalid");
    }
    process.request("POST", "/v1/sync?key=k", &[], b"").expect_problem(400, "invalid");
    process.request("POST", "/v1/sync", &[], b"{\"collection\":\"c\"}").expect_problem(400, "invalid");
    process.request("GET", "/v1/sync", &[], b"").expect(405);
    process.request("GET", "/v1/transfers/1", &[], b"").expect_problem(501, "unimplemented");
    let body = br#"{"level":"cloud"}"#;
    process.request("POST", "/v1/admin/evict", &[], body).expect_problem(400, "invalid");
}

#[test]
fn sizes_at_the_command_line_take_units() {
    let process = Process::start(&[]);
    process.put("units/a", b"good").expect(201);
    let said = process.cli(&["sync", "flush"], b"");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("1 object (") && text.contains("0 objects still owed"), "{text}");
    assert!(process.cli(&["admin", "evict", "--bytes", "1GiB"], b"").status.success());
    assert!(!process.cli(&["admin", "evict", "--bytes", "1 sack"], b"").status.success());
}

#[test]
fn what_cannot_be_sent_is_named_each_time_and_so_is_an_unknown_collection() {
    let mut process = Process::start(&[]);
    process.put("damaged/a", &body_of("damaged/a", 1, 300_000)).expect(201);
    process.terminate();
    for frame in files_below(&process.data().join("frames")) {
        fs::remove_file(frame).unwrap();
    }
    process.restart();
    process.put("damaged/b", b"good").expect(201);
    // The first time something else is sent; after that the bad one is passed over for a while.
    for _ in 0..3 {
        let said = process.cli(&["sync", "flush"], b"");
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(
            said.status.code() == Some(21) && text.contains("damaged/a") && text.contains("push it again"),
            "{text}"
        );
    }
    process.put("damaged/a", b"again").expect(200);
    let said = process.cli(&["sync", "flush"], b"");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("1 object (") && text.contains("0 objects still owed"), "{text}");
    for args in [
        &["sync", "flush", "nope"][..],
        &["sync", "flush", "nope/key"],
        &["sync", "status", "nope"],
        &["admin", "evict", "--collection", "nope"],
        &["admin", "evict", "--collection", "nope", "--level", "disk"],
    ] {
        assert_eq!(process.cli(args, b"").status.code(), Some(13), "{args:?}");
    }
}

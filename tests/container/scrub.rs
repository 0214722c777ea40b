//! Damage at rest: it is found by reading everything now and then, or by whoever pulls it; it is put aside,
//! never served, never a silent "not found", and a new push heals it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Process, Response, body_of, object};

const FAST: [&str; 4] = ["--set", "scrub.bytes_per_s=1GiB", "--set", "scrub.every=off"];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The frame file of the object with the most bytes.
fn largest_frame(process: &Process) -> PathBuf {
    let frames = files(&process.data().join("frames"));
    frames.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

/// Flips a bit at a part of the way through a file.
fn flip(path: &Path, part: f64) {
    let mut bytes = fs::read(path).unwrap();
    let at = (bytes.len() as f64 * part) as usize;
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

fn report(process: &Process) -> Value {
    process.request("GET", "/v1/admin/scrub", &[], b"").expect(200).json()
}

fn wait(process: &Process, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = report(process);
        if reached(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "the scrub never {what}: {report}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A whole round, from its start to its end.
fn scrub(process: &Process) -> Value {
    let rounds = report(process)["history"].as_array().unwrap().len();
    let begun = process.request("POST", "/v1/admin/scrub", &[], b"").expect(202).json();
    assert_eq!((begun["running"].as_bool(), begun["round"]["asked"].as_bool()), (Some(true), Some(true)));
    wait(process, "ends", |report| report["running"] == false && report["history"].as_array().unwrap().len() > rounds)
}

fn named(report: &Value) -> Vec<&str> {
    let mut named: Vec<&str> =
        report["quarantine"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap()).collect();
    named.sort_unstable();
    named
}

fn expect_corrupt(answer: Response, address: &str) {
    let problem = answer.expect_problem(500, "corrupt");
    assert_eq!(problem["address"], address);
}

#[test]
fn a_damaged_frame_is_found_put_aside_reported_and_healed() {
    let mut process = Process::start(&FAST);
    let large = body_of("scrub/large", 1, 2_500_000);
    process.put("scrub/large", &large).expect(201);
    process.put("scrub/middle", &body_of("scrub/middle", 1, 60_000)).expect(201);
    for key in ["good", "small"] {
        let plain = [("Mesh-Nfr", "encrypt=none; compress=none")];
        process
            .request("PUT", &object(&format!("scrub/{key}")), &plain, format!("the text of {key}").as_bytes())
            .expect(201);
    }
    let sound = scrub(&process);
    let round = &sound["history"][0];
    assert_eq!(
        (round["objects"].as_u64(), round["damaged"].as_u64(), round["unreadable"].as_u64()),
        (Some(4), Some(0), Some(0))
    );
    assert_eq!(round["bytes"], sound["bytes"], "every sealed byte was read: {sound}");
    assert!(round["bytes"].as_u64().unwrap() > 2_560_000);

    process.terminate();
    flip(&largest_frame(&process), 0.7);
    process.restart();
    let found = scrub(&process);
    assert_eq!((found["history"][0]["damaged"].as_u64(), found["quarantined"].as_u64()), (Some(1), Some(1)), "{found}");
    assert_eq!(named(&found), ["scrub/large"]);
    assert_eq!(files(&process.data().join("quarantine")).len(), 1);
    for restarted in [false, true] {
        if restarted {
            process.terminate();
            process.restart();
        }
        expect_corrupt(process.get("scrub/large"), "scrub/large");
        assert_eq!(process.head("scrub/large").status, 500);
        let listed = process.request("GET", "/v1/objects/scrub", &[], b"").expect(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 4, "what is damaged is still listed");
        assert!(process.get("scrub/middle").expect(200).body == body_of("scrub/middle", 1, 60_000));
        assert_eq!(process.get("scrub/good").expect(200).body, b"the text of good");
        let tiers = process.request("GET", "/v1/admin/tiers", &[], b"").expect(200).json();
        assert_eq!(tiers["tiers"][1]["quarantined"], 1, "{tiers}");
        let report = report(&process);
        assert_eq!((report["history"].as_array().unwrap().len(), report["quarantined"].as_u64()), (2, Some(1)));
    }
    let said = process.cli(&["admin", "scrub", "--show"], b"");
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("scrub/large") && said.contains("1 copy in quarantine"), "{said}");

    let objects = |process: &Process| {
        let told = String::from_utf8(process.cli(&["doctor"], b"").stdout).unwrap();
        told.lines().find(|line| line.contains(" objects ")).unwrap().to_owned()
    };
    assert!(objects(&process).starts_with("poor"), "{}", objects(&process));
    process.put("scrub/large", b"a new text").expect(200);
    assert!(objects(&process).starts_with("good"), "only an old version is damaged: {}", objects(&process));
    process.delete("scrub/small").expect(204);
    assert_eq!(process.get("scrub/large").expect(200).body, b"a new text");
    process.get("scrub/small").expect(404);
    let healed = scrub(&process);
    assert_eq!(healed["history"][0]["damaged"], 0, "what is known is not found again: {healed}");
    // The damaged versions are old ones now, and say so for as long as they are kept.
    assert!(healed["quarantine"].as_array().unwrap().iter().all(|one| one["newest"] == false), "{healed}");
}

#[test]
fn whoever_pulls_damage_never_gets_it_and_puts_it_aside() {
    let mut process = Process::start(&FAST);
    process.put("scrub/far", &body_of("scrub/far", 1, 3_500_000)).expect(201);
    process.terminate();
    flip(&largest_frame(&process), 0.95);
    process.restart();
    // The damage is in the last chunk: the head and the first chunks are on their way when it is met.
    let mut connection = process.connect();
    let torn = connection.request("GET", &object("scrub/far"), &[], b"");
    assert!(torn.is_err(), "a damaged body never ends cleanly");
    wait(&process, "sees what a pull met", |report| report["quarantined"] == 1);
    expect_corrupt(process.get("scrub/far"), "scrub/far");
    let near = process.request("GET", &object("scrub/far"), &[("Range", "bytes=0-9")], b"");
    expect_corrupt(near, "scrub/far");

    // The command line asks why the body was cut off.
    process.put("scrub/cut", &body_of("scrub/cut", 1, 3_600_000)).expect(201);
    process.terminate();
    flip(&largest_frame(&process), 0.95);
    process.restart();
    let said = process.cli(&["pull", "scrub/cut", "-"], b"");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(21) && text.contains("damaged"), "{text}");
    process.put("scrub/cut", b"again").expect(200);

    // A frame that is gone altogether is damage as well.
    process.put("scrub/gone", &body_of("scrub/gone", 1, 300_000)).expect(201);
    process.terminate();
    fs::remove_file(largest_frame(&process)).unwrap();
    process.restart();
    expect_corrupt(process.get("scrub/gone"), "scrub/gone");
    assert_eq!(named(&report(&process)), ["scrub/cut", "scrub/far", "scrub/gone"]);
    process.put("scrub/gone", b"again").expect(200);
    assert_eq!(process.get("scrub/gone").expect(200).body, b"again");
}

#[test]
fn what_memory_still_holds_heals_what_the_disk_has_lost() {
    let mut process = Process::start(&FAST);
    let body = body_of("scrub/held", 1, 200_000);
    let version = process.put("scrub/held", &body).expect(201).header("mesh-version").unwrap().to_owned();
    flip(&largest_frame(&process), 0.5);
    let report = scrub(&process);
    let round = &report["history"][0];
    assert_eq!((round["damaged"].as_u64(), round["healed"].as_u64()), (Some(1), Some(1)), "{report}");
    assert_eq!(report["quarantined"], 0, "{report}");
    process.terminate();
    process.restart();
    let answer = process.get("scrub/held").expect(200);
    assert_eq!(answer.header("mesh-version"), Some(version.as_str()));
    assert!(answer.body == body);
    assert_eq!(scrub(&process)["history"][0]["damaged"], 0);
}

#[test]
fn a_scrub_keeps_its_pace_and_goes_on_after_a_kill() {
    let mut process = Process::start(&["--set", "scrub.bytes_per_s=400KiB", "--set", "scrub.every=off"]);
    for n in 0..20 {
        process.put(&format!("scrub/{n:02}"), &body_of("pace", n, 60_000)).expect(201);
    }
    let begun = Instant::now();
    process.request("POST", "/v1/admin/scrub", &[], b"").expect(202);
    wait(&process, "gets far", |report| report["round"]["objects"].as_u64().unwrap_or(0) >= 9);
    process.kill9();
    process.restart();
    let after = report(&process);
    assert!(after["running"] == true && after["round"]["objects"].as_u64().unwrap() >= 2, "it began anew: {after}");
    let ended = wait(&process, "ends", |report| report["running"] == false);
    let objects = ended["history"][0]["objects"].as_u64().unwrap();
    assert_eq!(objects, 20, "each object counts once in a round: {ended}");
    let least = Duration::from_secs_f64(20.0 * 60_000.0 / (400.0 * 1024.0) * 0.9);
    assert!(begun.elapsed() >= least, "{:?} is faster than {least:?}", begun.elapsed());
}

#[test]
fn the_scrub_refuses_what_it_does_not_know() {
    let process = Process::start(&FAST);
    process.request("POST", "/v1/admin/scrub", &[], b"{\"deep\":true}").expect_problem(400, "invalid");
    process.request("DELETE", "/v1/admin/scrub", &[], b"").expect_problem(405, "invalid");
    let refused = Process::refused(&["--set", "scrub.every=7", "--set", "scrub.bytes_per_s=0"], &[]);
    assert!(
        refused.stderr.contains("scrub.every") && refused.stderr.contains("scrub.bytes_per_s"),
        "{}",
        refused.stderr
    );
}

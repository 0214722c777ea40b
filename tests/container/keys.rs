//! The keyring as an operator meets it: new keys, another one that wraps, a copy for bad days.
//!
//! That every data key was wrapped anew is proven from outside: the old key is cut out of the keyring's file,
//! and everything must still be readable. A rewrap that passes over old versions, over what the cloud alone
//! holds or over the heads in the cloud turns these tests red.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Process, Response, body_of, object};

fn keys(process: &Process) -> Value {
    patiently(process, "GET", "/v1/admin/keys", b"").expect(200).json()
}

fn ids(told: &Value) -> Vec<(String, bool)> {
    let keys = told["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["id"].as_str().unwrap().to_owned(), key["state"] == "active")).collect()
}

fn active(told: &Value) -> String {
    let active: Vec<_> = ids(told).into_iter().filter(|(_, active)| *active).collect();
    assert_eq!(active.len(), 1, "{told}");
    active[0].0.clone()
}

/// Waits until everything is wrapped by this key.
fn rewrapped(process: &Process, key: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let told = keys(process);
        if told["rewrap"]["key"] == key && told["rewrap"]["running"] == false {
            return told;
        }
        assert!(Instant::now() < deadline, "{told}; {}", process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn keyring(process: &Process) -> PathBuf {
    process.data().join("keys.toml")
}

/// Leaves only this key in the keyring.
fn keep_only(path: &Path, key: &str) {
    let text = fs::read_to_string(path).unwrap();
    let (head, tables) = text.split_once("[[key]]").unwrap();
    let kept: Vec<&str> = tables.split("[[key]]").filter(|table| table.contains(key)).collect();
    assert_eq!(kept.len(), 1, "{key}");
    fs::write(path, format!("{head}[[key]]{}", kept[0])).unwrap();
}

fn rotate(process: &Process) -> String {
    active(&patiently(process, "POST", "/v1/admin/keys/rotate", b"").expect(202).json())
}

/// Asks again where an actor died over the question.
fn patiently(process: &Process, method: &str, path: &str, body: &[u8]) -> Response {
    loop {
        match process.request(method, path, &[], body) {
            died if died.status == 503 => drop(died.expect_problem(503, "unavailable")),
            answer => return answer,
        }
    }
}

fn heads_in_cloud(process: &Process) -> Vec<PathBuf> {
    fn below(folder: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
    }
    below(&process.data().join("cloud/heads"))
}

/// Objects of every kind of place: in the store and in files, old versions, in the cloud too and in the cloud
/// alone. Returns what must be readable: path and bytes.
fn furnish(process: &Process) -> Vec<(String, Vec<u8>)> {
    let mut wanted = Vec::new();
    for (nth, bytes) in [700, 90_000, 1_200_000].into_iter().enumerate() {
        for place in ["here", "both", "cloud"] {
            let address = format!("{place}/{nth}");
            let (first, second) = (body_of(&address, 1, bytes), body_of(&address, 2, bytes));
            let old = process.put(&address, &first).expect(201);
            let version = old.header("mesh-version").unwrap().to_owned();
            process.put(&address, &second).expect(200);
            wanted.push((format!("{}?version={version}", object(&address)), first));
            wanted.push((object(&address), second));
        }
    }
    for place in ["both", "cloud"] {
        patiently(process, "POST", &format!("/v1/sync?collection={place}"), b"").expect(200);
    }
    for body in [json!({ "level": "ram" }), json!({ "level": "disk", "collection": "cloud" })] {
        patiently(process, "POST", "/v1/admin/evict", body.to_string().as_bytes()).expect(200);
    }
    assert_eq!(process.head("cloud/0").header("mesh-level"), Some("cloud"));
    wanted
}

fn all_readable(process: &Process, wanted: &[(String, Vec<u8>)]) {
    for (path, body) in wanted {
        let answer = process.request("GET", path, &[], b"").expect(200);
        assert!(answer.body == *body, "{path}: other bytes");
    }
}

#[test]
fn a_rotation_wraps_everything_anew_and_touches_no_sealed_byte() {
    let mut process = Process::start(&[]);
    let old = active(&keys(&process));
    let wanted = furnish(&process);
    let frames = |process: &Process| {
        let mut sealed = Vec::new();
        for folder in fs::read_dir(process.data().join("frames")).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                sealed.push((path.clone(), fs::read(path).unwrap()));
            }
        }
        sealed.sort();
        sealed
    };
    let before = frames(&process);
    let new = rotate(&process);
    let told = rewrapped(&process, &new);
    assert_ne!(old, new);
    assert_eq!(ids(&told), [(old, false), (new.clone(), true)]);
    assert_eq!((told["rewrap"]["rewrapped"].as_u64(), told["rewrap"]["failed"].as_u64()), (Some(18), Some(0)));
    assert!(before == frames(&process), "no sealed byte changes");
    all_readable(&process, &wanted);
    process.terminate();
    keep_only(&keyring(&process), &new);
    // What is in memory would be no proof: a fresh start, and everything from the disk or the cloud.
    process.restart();
    all_readable(&process, &wanted);
    let bytes: Vec<String> =
        (0..8).map(|n| u8::from_str_radix(&new[2 * n..2 * n + 2], 16).unwrap().to_string()).collect();
    let heads = heads_in_cloud(&process);
    assert_eq!(heads.len(), 6);
    for head in heads {
        let text = fs::read_to_string(&head).unwrap();
        assert!(text.contains(&format!("\"key\":[{}]", bytes.join(","))), "a head with the old wrapping: {text}");
    }
}

#[test]
fn a_rotation_goes_on_after_kills_under_load_and_loses_nothing() {
    let mut process = Process::start_with_env(&[], &[("MESHSTORE_TEST_PANIC", "keys:4:6,sync:3:6")]);
    let mut wanted = furnish(&process);
    for round in 0..3 {
        let new = rotate(&process);
        for n in 0..40 {
            let (address, body) = (format!("more/{round}-{n}"), body_of("more", n, 600));
            if process.put(&address, &body).status == 201 {
                wanted.push((object(&address), body));
            }
        }
        process.kill9();
        process.restart();
        rewrapped(&process, &new);
        all_readable(&process, &wanted);
        process.terminate();
        keep_only(&keyring(&process), &new);
        process.restart();
        all_readable(&process, &wanted);
    }
}

#[test]
fn a_key_is_made_shared_out_and_then_used() {
    let process = Process::start(&[]);
    process.put("a/b", b"body").expect(201);
    let said = process.cli(&["key", "create"], b"");
    let made = String::from_utf8(said.stdout).unwrap().trim().to_owned();
    assert_eq!(ids(&keys(&process)).last(), Some(&(made.clone(), false)));
    let said = process.cli(&["key", "rotate", "--to", &made, "--wait"], b"");
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success() && text.contains(&format!("{made}  active")), "{text}");
    assert!(text.contains(&format!("1 data key was wrapped anew by {made}")), "{text}");
    let said = process.cli(&["key", "rotate", "--to", &made, "--wait"], b"");
    assert!(said.status.success() && String::from_utf8_lossy(&said.stderr).contains("active key already"), "{said:?}");
    // The next rotation does not show what the one before wrapped as its own.
    let said = process.cli(&["key", "rotate"], b"");
    let (text, hint) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(!text.contains(&format!("anew by {made}")), "{text}");
    assert!(hint.contains("an export made before"), "{hint}");
    process.cli(&["key", "rotate", "--to", &made, "--wait"], b"");
    let listed = process.cli(&["key", "ls", "--json"], b"");
    assert_eq!(serde_json::from_slice::<Value>(&listed.stdout).unwrap()["keys"].as_array().unwrap().len(), 3);
    let audit = process.request("GET", "/v1/admin/audit", &[], b"").expect(200).text();
    assert!(audit.contains("/v1/admin/keys/rotate") && audit.contains(&format!("active {made}")), "{audit}");
}

#[test]
fn what_cannot_be_a_rotation_is_refused_by_name() {
    let process = Process::start(&[]);
    let before = keys(&process);
    let post = |path: &str, body: &str| process.request("POST", path, &[], body.as_bytes());
    for (body, status, kind) in [
        ("{\"to\":\"0000000000000000\"}", 503, "unavailable"),
        ("{\"to\":\"x\"}", 400, "invalid"),
        ("{\"to\":7}", 400, "invalid"),
        ("{\"from\":null}", 400, "invalid"),
        ("[", 400, "invalid"),
    ] {
        post("/v1/admin/keys/rotate", body).expect_problem(status, kind);
    }
    post("/v1/admin/keys", "{\"secret\":\"x\"}").expect_problem(400, "invalid");
    process.request("DELETE", "/v1/admin/keys", &[], b"").expect_problem(405, "invalid");
    assert_eq!(keys(&process)["keys"], before["keys"], "nothing changed");
    // A secret that is typed in the place of an id is not repeated.
    let secret = "5ecre7".repeat(10);
    let said = process.cli(&["key", "rotate", "--to", &secret], b"");
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(!said.status.success() && text.contains("16 hex digits") && !text.contains(&secret), "{text}");
    // A file that cannot be used is complained of, and the keys before go on.
    let path = keyring(&process);
    let good = fs::read(&path).unwrap();
    fs::write(&path, "nonsense").unwrap();
    post("/v1/admin/keys/rotate", "").expect_problem(400, "invalid");
    process.put("a/b", b"body").expect(201);
    fs::write(&path, good).unwrap();
    post("/v1/admin/keys/rotate", "").expect(202);
}

#[test]
fn two_containers_of_one_host_share_a_keyring_and_follow_its_changes() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("keys.toml");
    let args = ["--keys", shared.to_str().unwrap()];
    let (one, other) = (Process::start(&args), Process::start(&args));
    other.put("a/b", b"body").expect(201);
    let new = rotate(&one);
    let told = rewrapped(&other, &new);
    assert_eq!((active(&told), told["rewrap"]["rewrapped"].as_u64()), (new.clone(), Some(1)));
    // A file that lost keys that are in use is not taken over.
    let before = keys(&other);
    let text = fs::read_to_string(&shared).unwrap();
    keep_only(&shared, &new);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(keys(&other)["keys"], before["keys"]);
    assert!(other.said().contains("keys that are in use are missing"), "{}", other.said());
    fs::write(&shared, text).unwrap();
}

#[test]
fn a_lost_keyring_comes_back_from_its_export() {
    let mut process = Process::start(&[]);
    process.put("a/b", b"body").expect(201);
    let path = keyring(&process);
    let (keys, folder) = (path.to_str().unwrap().to_owned(), process.folder().to_owned());
    let pass = folder.join("pass");
    fs::write(&pass, "a long enough passphrase\n").unwrap();
    let pass = pass.to_str().unwrap();
    let run = |process: &Process, args: &[&str]| {
        let said = process.cli(&[args, &["--keys", &keys, "--passphrase-file", pass]].concat(), b"");
        (
            said.status.code().unwrap(),
            String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap(),
        )
    };
    let (code, text) = run(&process, &["key", "export", "backup.keys"]);
    assert!(code == 0 && text.contains("1 key;"), "{text}");
    let (code, text) = run(&process, &["key", "export", "backup.keys"]);
    assert!(code == 14 && text.contains("there already"), "{code} {text}");
    let (code, text) = run(&process, &["key", "export", "-"]);
    assert!(code == 0 && text.contains("meshstore_keyring = 1"), "{text}");
    // While it runs the import changes nothing; what is not known yet is taken over.
    let (code, text) = run(&process, &["key", "import", "backup.keys"]);
    assert!(code == 0 && text.contains("0 of 1 keys are new"), "{text}");

    // An older export onto a ring that went on: the newer key stays the active one.
    let first = active(&crate::keys::keys(&process));
    let second = rotate(&process);
    let (code, text) = run(&process, &["key", "import", "backup.keys"]);
    assert!(code == 0 && text.contains(&format!("the active key is {second}")), "{text}");
    assert!(text.contains(&format!("meshstore key rotate --to {first}")), "{text}");
    process.cli(&["key", "rotate", "--to", &first, "--wait"], b"");

    fs::remove_file(&path).unwrap();
    process.terminate();
    let refused = process.try_restart().unwrap_err();
    assert!(refused.stderr.contains("key import"), "{refused:?}");
    let bare = |args: &[&str]| {
        let mut command = crate::harness::binary();
        let said = command.args(args).args(["--keys", &keys]).current_dir(&folder).output().unwrap();
        (said.status.code().unwrap(), String::from_utf8(said.stderr).unwrap())
    };
    let (code, text) = bare(&["key", "import", "backup.keys"]);
    assert!(code == 10 && text.contains("--passphrase-file"), "{code} {text}");
    fs::write(folder.join("wrong"), "another passphrase").unwrap();
    let (code, text) = bare(&["key", "import", "--passphrase-file", "wrong", "backup.keys"]);
    assert!(code == 11 && text.contains("passphrase") && !text.contains("another passphrase"), "{code} {text}");
    let (code, text) = bare(&["key", "import", "--passphrase-file", pass, "nothing.keys"]);
    assert!(code == 13 && text.contains("nothing.keys"), "{code} {text}");
    let (code, text) = bare(&["key", "export", "--passphrase-file", pass, "again.keys"]);
    assert!(code == 13 && text.contains("--keys"), "{code} {text}");
    assert!(!path.exists() && process.try_restart().is_err(), "nothing was made by what failed");
    let (code, text) = bare(&["key", "import", "--passphrase-file", pass, "backup.keys"]);
    assert_eq!(code, 0, "{text}");
    process.restart();
    assert_eq!(process.get("a/b").expect(200).body, b"body");
}

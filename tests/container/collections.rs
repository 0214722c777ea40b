//! Collections: their policies at the HTTP door and at the command line, and what holds for their objects.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Process, Response, body_of, object};

fn path(name: &str) -> String {
    format!("/v1/collections/{name}")
}

fn set(process: &Process, name: &str, policy: &Value) -> Response {
    process.request("PUT", &path(name), &[], policy.to_string().as_bytes())
}

fn show(process: &Process, name: &str) -> Value {
    process.request("GET", &path(name), &[], b"").expect(200).json()
}

/// Waits for something that happens by itself.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[test]
fn a_collection_is_made_shown_changed_listed_and_removed() {
    let mut process = Process::start(&[]);
    process.request("GET", &path("meteo"), &[], b"").expect_problem(404, "not_found");
    let only_new = [("If-None-Match", "*")];
    let policy = json!({"ttl_s": "7d", "quota_bytes": "1GiB", "levels": "ram,disk"}).to_string();
    let made = process.request("PUT", &path("meteo"), &only_new, policy.as_bytes()).expect(201);
    assert_eq!(made.header("etag"), Some("\"1\""));
    let told = made.json();
    assert_eq!((&told["policy"]["ttl_s"], &told["policy"]["quota_bytes"]), (&json!(604_800), &json!(1u64 << 30)));
    assert_eq!((&told["policy"]["levels"], &told["revision"]), (&json!(["ram", "disk"]), &json!(1)));
    process.request("PUT", &path("meteo"), &only_new, b"{}").expect_problem(412, "already_exists");

    // A change is of the whole policy, and of the revision that was read.
    let at = |tag: &'static str| [("If-Match", tag)];
    let changed = process.request("PUT", &path("meteo"), &at("\"1\""), br#"{"retention_s":5}"#).expect(200);
    assert_eq!((changed.header("etag"), &changed.json()["policy"]["ttl_s"]), (Some("\"2\""), &Value::Null));
    let stale = process.request("PUT", &path("meteo"), &at("\"1\""), b"{}").expect_problem(412, "precondition_failed");
    assert!(stale["detail"].as_str().unwrap().contains("revision: 2"), "{stale}");
    process.request("DELETE", &path("meteo"), &at("\"1\""), b"").expect_problem(412, "precondition_failed");
    for bad in ["2", "\"0\"", "\"x\"", "W/\"2\""] {
        process.request("PUT", &path("meteo"), &[("If-Match", bad)], b"{}").expect_problem(400, "invalid");
    }
    process.request("PUT", &path("UPPER"), &[], b"{}").expect_problem(400, "invalid");
    process.request("PUT", &path("meteo?x=1"), &[], b"{}").expect_problem(400, "invalid");

    process.put("meteo/k", b"12345").expect(201);
    process.kill9();
    process.restart();
    let told = show(&process, "meteo");
    assert_eq!((&told["revision"], &told["policy"]["retention_s"]), (&json!(2), &json!(5)));
    assert_eq!((&told["objects"], &told["bytes"]), (&json!(1), &json!(5)));
    set(&process, "alone", &json!({})).expect(201);
    let all = process.request("GET", "/v1/collections", &[], b"").expect(200).json();
    let names: Vec<&str> = all["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alone", "meteo"]);

    let full = process.request("DELETE", &path("meteo"), &[], b"").expect_problem(412, "precondition_failed");
    assert!(full["detail"].as_str().unwrap().contains("--recursive"), "{full}");
    process.delete("meteo/k").expect(204);
    // The second time there is nothing to remove, which is as good.
    (0..2).for_each(|_| drop(process.request("DELETE", &path("meteo"), &[], b"").expect(204)));
    process.request("GET", &path("meteo"), &[], b"").expect_problem(404, "not_found");
    process.terminate();
    process.restart();
    process.request("GET", &path("meteo"), &[], b"").expect_problem(404, "not_found");
}

#[test]
fn the_first_push_makes_a_collection_by_default() {
    let process = Process::start(&[]);
    process.put("fresh/k", b"x").expect(201);
    let told = show(&process, "fresh");
    assert_eq!((&told["revision"], &told["objects"]), (&json!(1), &json!(1)));
    for (field, value) in [
        ("durability", json!("disk")),
        ("encrypt", json!("aes256gcm")),
        ("compress", json!("auto")),
        ("ttl_s", Value::Null),
        ("quota_bytes", Value::Null),
        ("retention_s", json!(24 * 3600)),
        ("sync", json!("signal")),
        ("visibility", json!("all")),
    ] {
        assert_eq!(told["policy"][field], value, "{field}");
    }
    // What asks for nothing makes nothing.
    process.get("other/k").expect_problem(404, "not_found");
    process.delete("other/k").expect(204);
    process.request("GET", &path("other"), &[], b"").expect_problem(404, "not_found");
}

#[test]
fn an_impossible_policy_is_refused_with_all_its_faults() {
    let process = Process::start(&[]);
    set(&process, "there", &json!({"retention_s": 7})).expect(201);
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let cases: &[(&str, &str, &[&str])] = &[
        ("an unknown field", r#"{"colour":"red"}"#, &["colour", "durability"]),
        ("a wrong type", r#"{"pinned":1}"#, &["pinned", "true or false"]),
        ("levels without disk for class disk", r#"{"levels":["ram"]}"#, &["levels", "disk"]),
        ("an unknown level", r#"{"levels":["disk","tape"]}"#, &["levels", "tape"]),
        ("class ram without memory", r#"{"durability":"ram","levels":["disk"]}"#, &["durability", "ram"]),
        ("a class of later", r#"{"durability":"replicas:2"}"#, &["durability", "replicas:2"]),
        ("a retention that is too long", r#"{"retention_s":"40000d"}"#, &["retention_s", "hundred years"]),
        ("a life of nothing", r#"{"ttl_s":0}"#, &["ttl_s"]),
        ("a negative quota", r#"{"quota_bytes":-1}"#, &["quota_bytes"]),
        ("an unknown unit", r#"{"quota_bytes":"3 bushels"}"#, &["quota_bytes", "bushels"]),
        ("pinned without a bound", r#"{"pinned":true}"#, &["pinned", "quota_bytes"]),
        ("sync without the cloud", r#"{"sync":"write","levels":["ram","disk"]}"#, &["sync", "cloud"]),
        ("nobody may see it", r#"{"visibility":[]}"#, &["visibility"]),
        ("a home that may not see it", r#"{"home_site":"fog","visibility":["edge"]}"#, &["home_site"]),
        ("several at once", r#"{"ttl_s":0,"digest":"md5","evict":1}"#, &["ttl_s", "md5", "evict", "faults: 3"]),
        ("damaged JSON", r#"{"ttl_s":7"#, &["JSON object"]),
        ("no object", "[]", &["JSON object"]),
        ("too deep", &deep, &["JSON object"]),
    ];
    for (what, policy, words) in cases {
        for name in ["there", "new"] {
            let problem = process.request("PUT", &path(name), &[], policy.as_bytes()).expect_problem(400, "invalid");
            let detail = problem["detail"].as_str().unwrap();
            words.iter().for_each(|word| assert!(detail.contains(word), "{what}: {word}: {detail}"));
        }
    }
    let long = format!(r#"{{"home_site":"{}"}}"#, "x".repeat(70_000));
    process.request("PUT", &path("new"), &[], long.as_bytes()).expect_problem(413, "too_large");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    process.request("PUT", &path("new"), &form, b"ttl_s=7").expect_problem(400, "invalid");
    let typed = [("Content-Type", "application/json; charset=utf-8")];
    process.request("PUT", &path("typed"), &typed, b"{}").expect(201);
    process.request("POST", &path("there"), &[], b"{}").expect_problem(405, "invalid");
    // Nothing of it has happened.
    process.request("GET", &path("new"), &[], b"").expect_problem(404, "not_found");
    let told = show(&process, "there");
    assert_eq!((&told["revision"], &told["policy"]["retention_s"]), (&json!(1), &json!(7)));
}

#[test]
fn a_policy_holds_for_what_comes_after_it() {
    let mut process = Process::start(&[]);
    let classes = |process: &Process| {
        let class = |key: &str| process.head(key).expect(200).header("mesh-durability").unwrap().to_owned();
        let ends = |key: &str| process.head(key).expect(200).header("expires").is_some();
        (class("later/a"), ends("later/a"), class("later/b"), ends("later/b"))
    };
    process.put("later/a", &body_of("later/a", 1, 50_000)).expect(201);
    set(&process, "later", &json!({"durability": "ram", "ttl_s": 3600, "digest": "sha256"})).expect(200);
    let told = process.put("later/b", b"abc").expect(201).json();
    assert!(told["digest"].as_str().unwrap().starts_with("sha256:"), "{told}");
    let expected = ("disk".to_owned(), false, "ram".to_owned(), true);
    assert_eq!(classes(&process), expected);
    // What a request asks wins over the policy, but for a longer life.
    let headers = [("Mesh-Durability", "disk"), ("Mesh-Ttl-S", "999999999")];
    process.request("PUT", &object("later/c"), &headers, b"c").expect(201);
    let stat = process.head("later/c").expect(200);
    assert_eq!(stat.header("mesh-durability"), Some("disk"));
    assert_eq!(stat.header("expires"), process.head("later/c").expect(200).header("expires"));
    set(&process, "later", &json!({"levels": ["disk"]})).expect(200);
    let refused = process.request("PUT", &object("later/d"), &[("Mesh-Durability", "ram")], b"d");
    refused.expect_problem(400, "invalid");
    process.terminate();
    process.restart();
    assert_eq!(classes(&process), expected);
    assert_eq!(process.get("later/b").expect(200).header("mesh-level"), Some("disk"));
    assert_eq!(process.get("later/b").expect(200).header("mesh-level"), Some("disk"), "memory may not hold it");
}

#[test]
fn a_quota_counts_bytes_and_objects() {
    let mut process = Process::start(&[]);
    set(&process, "full", &json!({"quota_bytes": 1000, "quota_objects": 3})).expect(201);
    process.put("full/a", &[1; 600]).expect(201);
    let refused = process.put("full/b", &[2; 500]).expect_problem(413, "too_large");
    let detail = refused["detail"].as_str().unwrap();
    for word in ["quota: bytes", "limit: 1000", "used: 600", "would_be: 1100"] {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    process.get("full/b").expect_problem(404, "not_found");
    // An overwrite counts the difference, whatever the class of either.
    process.put("full/a", &[1; 1000]).expect(200);
    process.put("full/a", &[1; 1001]).expect_problem(413, "too_large");
    let ram = [("Mesh-Durability", "ram")];
    process.request("PUT", &object("full/a"), &ram, &[1; 100]).expect(200);
    assert_eq!(show(&process, "full")["bytes"], 100);
    process.request("PUT", &object("full/b"), &ram, &[2; 900]).expect(201);
    process.put("full/c", &[3; 1]).expect_problem(413, "too_large");
    process.put("full/c", b"").expect(201);
    let refused = process.put("full/d", b"").expect_problem(413, "too_large");
    assert!(refused["detail"].as_str().unwrap().contains("quota: objects"), "{refused}");
    // A body that is refused anyway need not be sent: the answer comes before it.
    let mut connection = process.connect();
    connection.begin("PUT", &object("full/e"), &[], 500_000_000).unwrap();
    assert_eq!(connection.answer().unwrap().status, 413);
    process.delete("full/b").expect(204);
    process.put("full/d", &[4; 900]).expect(201);
    process.terminate();
    process.restart();
    assert_eq!((&show(&process, "full")["objects"], &show(&process, "full")["bytes"]), (&json!(3), &json!(1000)));
    process.put("full/c", &[3; 1]).expect_problem(413, "too_large");
    process.kill9();
    process.restart();
    process.put("full/c", &[3; 1]).expect_problem(413, "too_large");
    // What is over a lowered quota may still shrink and go.
    set(&process, "full", &json!({"quota_bytes": 10})).expect(200);
    process.put("full/d", &[4; 800]).expect(200);
    process.put("full/d", &[4; 801]).expect_problem(413, "too_large");
    process.delete("full/a").expect(204);
}

#[test]
fn pushes_at_the_same_time_never_exceed_a_quota() {
    let process = Process::start(&[]);
    set(&process, "race", &json!({"quota_bytes": 100_000})).expect(201);
    let barrier = Barrier::new(16);
    let stored = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|index: usize| {
                let (process, barrier) = (&process, &barrier);
                scope.spawn(move || {
                    let class = if index.is_multiple_of(2) { "ram" } else { "disk" };
                    let body = body_of("race", index as u64, 30_000);
                    barrier.wait();
                    let address = object(&format!("race/{index}"));
                    process.request("PUT", &address, &[("Mesh-Durability", class)], &body).status
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|status| *status == 201).count()
    });
    let told = show(&process, "race");
    assert_eq!((stored, &told["objects"], &told["bytes"]), (3, &json!(3), &json!(90_000)));
}

#[test]
fn an_object_ends_when_its_time_is_over_and_leaves_the_disk() {
    let mut process = Process::start(&[]);
    set(&process, "ends", &json!({"ttl_s": "1h"})).expect(201);
    set(&process, "soon", &json!({"ttl_s": 1})).expect(201);
    let short = |address: &str, class: &str, ttl: &str, bytes: usize| {
        let headers = [("Mesh-Ttl-S", ttl), ("Mesh-Durability", class)];
        process.request("PUT", &object(address), &headers, &body_of(address, 1, bytes)).expect(201)
    };
    // By request, by policy (which a request cannot lengthen), in a file, in the store, and in memory alone.
    let version = short("ends/file", "disk", "1", 100_000).header("mesh-version").unwrap().to_owned();
    short("ends/small", "disk", "1", 100);
    short("ends/ram", "ram", "1", 100_000);
    short("soon/file", "disk", "9999", 100_000);
    short("ends/stays", "disk", "9999999", 100_000);
    let gone = ["ends/file", "ends/small", "ends/ram", "soon/file"];
    for address in gone {
        // It ends at once for every reader, whether or not it has been cleared away.
        until("an object must end", || process.get(address).status == 404);
        assert_eq!(process.head(address).status, 404);
    }
    let listed = process.request("GET", "/v1/objects/ends", &[], b"").expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    process
        .request("GET", &format!("/v1/objects/ends/file?version={version}"), &[], b"")
        .expect_problem(404, "not_found");
    process.request("PUT", &object("ends/file"), &[("If-Match", "*")], b"x").expect_problem(412, "precondition_failed");
    // The one that stays is the only one with bytes on disk, also after a crash.
    until("ended objects must leave the disk", || files_below(&process.data().join("frames")) == 1);
    assert_eq!(show(&process, "ends")["objects"], 1);
    process.request("DELETE", &path("soon"), &[], b"").expect(204);
    process.kill9();
    process.restart();
    gone.iter().for_each(|address| drop(process.get(address).expect_problem(404, "not_found")));
    process.get("ends/stays").expect(200);
    for bad in ["0", "-1", "1h", "", "99999999999"] {
        let refused = process.request("PUT", &object("ends/bad"), &[("Mesh-Ttl-S", bad)], b"x");
        refused.expect_problem(400, "invalid");
    }
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{word}: {stderr}"));
}

#[test]
fn collections_are_managed_at_the_command_line() {
    let process = Process::start(&[]);
    let cli = |args: &[&str]| process.cli(args, b"");
    let json = |args: &[&str]| -> Value { serde_json::from_str(&done(&cli(args))).unwrap() };
    assert!(done(&cli(&["collection", "create", "--help"])).contains("retention_s"));
    assert_eq!(done(&cli(&["collection", "ls"])), "");
    assert_eq!(done(&cli(&["collection", "create", "meteo", "ttl_s=7d", "levels=ram,disk"])), "meteo  revision 1\n");
    refused(&cli(&["collection", "create", "meteo"]), 14, &["already", "set"]);
    let told = json(&["collection", "set", "meteo", "quota_bytes=1MiB", "--json"]);
    assert_eq!((&told["revision"], &told["policy"]["ttl_s"]), (&json!(2), &json!(604_800)), "other fields stay");
    refused(&cli(&["collection", "set", "meteo", "ttl_s=1d", "--if-match", "1"]), 15, &["meanwhile", "revision: 2"]);
    let faults = ["collection", "set", "meteo", "ttl_s=never", "colour=red", "digest=md5"];
    refused(&cli(&faults), 10, &["ttl_s", "never", "colour", "md5", "faults: 3"]);
    refused(&cli(&["collection", "set", "meteo", "ttl_s=1", "ttl_s=2"]), 10, &["twice", "ttl_s"]);
    refused(&cli(&["collection", "set", "nowhere", "ttl_s=1"]), 13, &["nowhere", "create"]);
    refused(&cli(&["collection", "show", "nowhere"]), 13, &["nowhere"]);
    done(&cli(&["collection", "set", "meteo", "ttl_s=null"]));
    let shown = done(&cli(&["collection", "show", "meteo"]));
    for line in ["revision       3", "ttl_s          -", "levels         ram,disk", "quota_bytes    1048576"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }

    for key in 0..40 {
        process.put(&format!("meteo/{key}"), b"x").expect(201);
    }
    let listed = done(&cli(&["collection", "ls"]));
    assert!(
        listed.starts_with("NAME") && listed.lines().any(|line| line.split_whitespace().take(2).eq(["meteo", "40"])),
        "{listed}"
    );
    assert_eq!(json(&["collection", "ls", "--json"])["bytes"], 40);
    refused(&cli(&["collection", "rm", "meteo"]), 15, &["holds objects", "--recursive", "meteo"]);
    assert_eq!(
        done(&cli(&["collection", "rm", "--recursive", "meteo"])),
        "meteo: 40 objects deleted, collection removed\n"
    );
    refused(&cli(&["collection", "show", "meteo"]), 13, &["meteo"]);
    assert_eq!(json(&["collection", "rm", "-r", "meteo", "--json"]), json!({"name": "meteo", "objects": 0}));
    assert_eq!(done(&cli(&["collection", "rm", "meteo"])), "");
}

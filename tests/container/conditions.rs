//! Conditions, sessions and old versions: what a caller may ask of the present, of the past, and of what
//! it has seen itself.

use std::sync::Barrier;
use std::thread;

use serde_json::Value;

use crate::collections::until;
use crate::harness::{Connection, Process, Response, body_of, object};

const RAM: (&str, &str) = ("Mesh-Durability", "ram");

/// Answers of requests that are sent at the same time, each by a connection of its own.
fn at_once(process: &Process, count: usize, ask: impl Fn(usize, &mut Connection) -> Response + Sync) -> Vec<Response> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (barrier, ask) = (&barrier, &ask);
                scope.spawn(move || {
                    let mut connection = process.connect();
                    barrier.wait();
                    ask(index, &mut connection)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_many_who_want_to_be_first_exactly_one_is() {
    let process = Process::start(&[]);
    // All to disk, all to memory, and both at once.
    for (name, ram) in [("disk", [false; 2]), ("ram", [true; 2]), ("mixed", [true, false])] {
        for round in 0..5 {
            let address = object(&format!("first/{name}-{round}"));
            let answers = at_once(&process, 16, |index, connection| {
                let mut headers = vec![("If-None-Match", "*")];
                headers.extend(ram[index % 2].then_some(RAM));
                connection.request("PUT", &address, &headers, &body_of(name, index as u64, 20_000)).unwrap()
            });
            let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
            assert_eq!(won.len(), 1, "{name} {round}");
            lost.into_iter().for_each(|answer| drop(answer.expect_problem(412, "already_exists")));
            let held = process.request("HEAD", &address, &[], b"").expect(200);
            assert_eq!(held.header("etag"), won[0].header("etag"));
        }
    }
}

#[test]
fn of_many_who_delete_the_version_they_read_exactly_one_does() {
    let process = Process::start(&[]);
    for class in ["disk", "ram"] {
        let put = process.request("PUT", &object("gone/k"), &[("Mesh-Durability", class)], b"x").expect(201);
        let etag = put.header("etag").unwrap().to_owned();
        let answers = at_once(&process, 8, |_, connection| {
            connection.request("DELETE", &object("gone/k"), &[("If-Match", &etag)], b"").unwrap()
        });
        assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 1, "{class}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 412).count(), 7, "{class}");
        process.get("gone/k").expect_problem(404, "not_found");
    }
}

#[test]
fn a_counter_by_compare_and_set_loses_no_increment() {
    const THREADS: usize = 8;
    const EACH: usize = 6;
    let process = Process::start(&[]);
    for class in ["disk", "ram"] {
        let address = object(&format!("counter/{class}"));
        process.request("PUT", &address, &[("Mesh-Durability", class)], b"0").expect(201);
        at_once(&process, THREADS, |_, connection| {
            let mut done = 0;
            loop {
                let read = connection.request("GET", &address, &[], b"").unwrap().expect(200);
                if done == EACH {
                    return read;
                }
                let next = String::from_utf8(read.body.clone()).unwrap().parse::<u64>().unwrap() + 1;
                let headers = [("If-Match", read.header("etag").unwrap()), ("Mesh-Durability", class)];
                let answer = connection.request("PUT", &address, &headers, next.to_string().as_bytes()).unwrap();
                match answer.status {
                    200 => done += 1,
                    _ => drop(answer.expect_problem(412, "precondition_failed")),
                }
            }
        });
        let total = process.request("GET", &address, &[], b"").expect(200).body;
        assert_eq!(String::from_utf8(total).unwrap(), (THREADS * EACH).to_string(), "{class}");
    }
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing() {
    let process = Process::start(&[]);
    let (old, new) = (process.put("if/k", b"1").expect(201), process.put("if/k", b"2").expect(200));
    let tag = |answer: &Response| answer.header("etag").unwrap().to_owned();
    let (old, new) = (tag(&old), tag(&new));
    let ask = |method: &str, address: &str, name: &str, value: &str| {
        process.request(method, &object(address), &[(name, value)], b"3")
    };
    for method in ["PUT", "DELETE"] {
        let stale = ask(method, "if/k", "If-Match", &old).expect_problem(412, "precondition_failed");
        assert!(stale["detail"].as_str().unwrap().contains(new.trim_matches('"')), "{stale}");
        ask(method, "if/none", "If-Match", "*").expect_problem(412, "precondition_failed");
        ask(method, "if/none", "If-Match", &old).expect_problem(412, "precondition_failed");
        ask(method, "if/k", "If-None-Match", "*").expect_problem(412, "already_exists");
        for bad in ["3", "\"3\"", "W/\"0000000000000001-0000000000000001\"", ""] {
            ask(method, "if/k", "If-Match", bad).expect_problem(400, "invalid");
        }
        ask(method, "if/k", "If-None-Match", &old).expect_problem(400, "invalid");
    }
    assert_eq!(process.get("if/k").expect(200).body, b"2");
    ask("GET", "if/k", "If-Match", &old).expect_problem(412, "precondition_failed");
    ask("GET", "if/k", "If-Match", &new).expect(200);
    ask("PUT", "if/k", "If-Match", &format!("{old}, {new}")).expect(200);
    ask("DELETE", "if/k", "If-Match", "*").expect(204);
    ask("PUT", "if/k", "If-None-Match", "*").expect(201);
}

#[test]
fn a_session_reads_what_it_wrote() {
    let mut process = Process::start(&[]);
    let other = Process::start(&[]);
    let token = |answer: &Response| answer.header("mesh-session").unwrap().to_owned();
    let soon = ("Mesh-Deadline-Ms", "150");
    let mut session = token(&process.put("mine/first", b"1").expect(201));
    // More than a token names one by one, in both classes; then a delete.
    for index in 0..70 {
        let class = if index % 2 == 0 { "ram" } else { "disk" };
        let headers = [("Mesh-Session", session.as_str()), ("Mesh-Durability", class)];
        session = token(&process.request("PUT", &object(&format!("mine/{index}")), &headers, b"x").expect(201));
    }
    session = token(&process.request("DELETE", &object("mine/69"), &[("Mesh-Session", &session)], b"").expect(204));
    let look = |process: &Process, path: &str| process.request("GET", path, &[("Mesh-Session", session.as_str())], b"");
    let all_of_it = |process: &Process| {
        look(process, &object("mine/first")).expect(200);
        look(process, &object("mine/68")).expect(200);
        look(process, &object("mine/69")).expect_problem(404, "not_found");
        look(process, &object("mine/never")).expect_problem(404, "not_found");
        assert_eq!(look(process, "/v1/objects/mine").expect(200).json()["items"].as_array().unwrap().len(), 70);
    };
    all_of_it(&process);
    // An orderly stop writes out what was in memory, so the session holds after it, and after a crash then.
    process.terminate();
    process.restart();
    all_of_it(&process);
    process.kill9();
    process.restart();
    all_of_it(&process);
    // A container that has not learnt of it must not answer with less.
    for path in [object("mine/first"), object("mine/68"), object("mine/69"), "/v1/objects/mine".to_owned()] {
        let headers = [("Mesh-Session", session.as_str()), soon];
        let early = other.request("GET", &path, &headers, b"").expect_problem(425, "not_yet");
        assert!(early["detail"].as_str().unwrap().contains("150"), "{early}");
    }
    // Whenever it stops waiting, it says what it waited for.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let headers = [("Mesh-Session", session.as_str()), ("Mesh-Deadline-Ms", "30")];
                    other.request("GET", &object("mine/first"), &headers, b"").expect_problem(425, "not_yet");
                }
            });
        }
    });
    other.request("GET", &object("mine/first"), &[], b"").expect_problem(404, "not_found");
    // A read adds to what was seen.
    let newer = process.put("mine/first", b"2").expect(200);
    let read = look(&process, &object("mine/first")).expect(200);
    let headers = [("Mesh-Session", read.header("mesh-session").unwrap())];
    let stat = process.request("HEAD", &object("mine/first"), &headers, b"").expect(200);
    assert_eq!(stat.header("etag"), newer.header("etag"));
    let long = "A".repeat(10_000);
    for bad in ["x", "AQ", "AQEA", "AgAA", "AQAA====", "AQ\u{e4}A", &long] {
        for method in ["GET", "PUT", "DELETE"] {
            let refused = process.request(method, &object("mine/first"), &[("Mesh-Session", bad)], b"x");
            refused.expect_problem(400, "invalid");
        }
    }
    process.get("mine/first").expect(200);
}

#[test]
fn old_versions_are_read_until_their_time_is_over() {
    let mut process = Process::start(&[]);
    let frames = |process: &Process| process.data().join("frames");
    let version = |answer: &Response| answer.header("mesh-version").unwrap().to_owned();
    let at = |address: &str, version: &str| format!("{}?version={version}", object(address));
    let mut kept = Vec::new();
    for (address, bytes) in [("old/small", 1_000), ("old/file", 1_500_000)] {
        for sequence in 1..=3 {
            let body = body_of(address, sequence, bytes);
            kept.push((address, version(&process.put(address, &body)), body));
        }
    }
    process.delete("old/file").expect(204);
    for life in 0..3 {
        for (address, version, body) in &kept {
            let path = at(address, version);
            let read = process.request("GET", &path, &[], b"").expect(200);
            assert!(read.body == *body, "{path}");
            assert_eq!(read.header("etag"), Some(format!("\"{version}\"").as_str()));
            let known = [("If-None-Match", read.header("etag").unwrap())];
            assert!(process.request("GET", &path, &known, b"").expect(304).body.is_empty());
            let part = process.request("GET", &path, &[("Range", "bytes=5-99")], b"").expect(206);
            assert!(part.body == body[5..100], "{path}");
            let stat = process.request("HEAD", &path, &[], b"").expect(200);
            assert_eq!(stat.header("content-length"), Some(body.len().to_string().as_str()));
        }
        process.get("old/file").expect_problem(404, "not_found");
        match life {
            0 => process.terminate(),
            _ => process.kill9(),
        }
        process.restart();
    }
    let never = "0000000000000001-0000000000000002";
    let absent = process.request("GET", &at("old/small", never), &[], b"").expect_problem(404, "not_found");
    assert!(absent["detail"].as_str().unwrap().contains(never), "{absent}");
    // A version belongs to one object.
    process.request("GET", &at("old/small", &kept[4].1), &[], b"").expect_problem(404, "not_found");
    let loud = kept[0].1.to_uppercase();
    for bad in ["", "3", "x-y", &loud, &format!("{never}0"), &format!("{never}&version={never}")] {
        process.request("GET", &at("old/small", bad), &[], b"").expect_problem(400, "invalid");
    }
    process.request("PUT", &at("old/small", never), &[], b"x").expect_problem(400, "invalid");

    // A shorter time holds for what is replaced from then on.
    process.request("PUT", "/v1/collections/brief", &[], br#"{"retention_s":1}"#).expect(201);
    let first = version(&process.put("brief/k", &body_of("brief/k", 1, 100_000)).expect(201));
    let second = version(&process.put("brief/k", &body_of("brief/k", 2, 100_000)).expect(200));
    until("an old version must end", || process.request("GET", &at("brief/k", &first), &[], b"").status == 404);
    process.request("GET", &at("brief/k", &second), &[], b"").expect(200);
    process.delete("brief/k").expect(204);
    until("a deleted version must end", || process.request("GET", &at("brief/k", &second), &[], b"").status == 404);
    // Three versions of the other file are kept, and none of these.
    until("old versions must leave the disk", || files(&frames(&process)) == 3);
    process.request("GET", &at(kept[5].0, &kept[5].1), &[], b"").expect(200);
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn conditions_sessions_and_versions_are_at_the_command_line() {
    let process = Process::start(&[]);
    let cli = |args: &[&str], stdin: &[u8]| {
        let output = process.cli(args, stdin);
        (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let json = |args: &[&str], stdin: &[u8]| -> Value {
        let (code, stdout, stderr) = cli(args, stdin);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        serde_json::from_slice(&stdout).unwrap()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let first = json(&["push", "-", "line/k", "--if-none-match", "--ttl", "7d", "--json"], b"one");
    assert_eq!(cli(&["push", "-", "line/k", "--if-none-match"], b"two").0, 14);
    let (old, session) = (text(&first["version"]), text(&first["session"]));
    let second = json(&["push", "-", "line/k", "--if-match", &old, "--session", &session, "--json"], b"two");
    let (code, _, stderr) = cli(&["push", "-", "line/k", "--if-match", &old], b"three");
    assert!(code == 15 && stderr.contains("read it again"), "{stderr}");

    let session = text(&second["session"]);
    let stat = json(&["stat", "line/k", "--json", "--session", &session], b"");
    assert_eq!((&stat["version"], stat["expires"].is_null()), (&second["version"], true));
    assert!(json(&["stat", "line/k", "--version", &old, "--json"], b"")["expires"].is_string());
    assert_eq!(cli(&["pull", "line/k", "-", "--version", &old], b"").1, b"one");
    let pulled = json(&["pull", "line/k", "out", "--json"], b"");
    assert_eq!((&pulled["version"], pulled["session"].is_string()), (&second["version"], true));
    assert_eq!(cli(&["ls", "line", "--session", &session], b"").1, b"k\n");
    assert_eq!(cli(&["ls", "line", "--session", "nonsense"], b"").0, 10);
    assert_eq!(cli(&["stat", "line/k", "--session", "nonsense"], b"").0, 10);

    assert_eq!(cli(&["rm", "line/k", "--if-match", &old], b"").0, 15);
    let gone = json(&["rm", "line/k", "--if-match", "*", "--session", &session, "--json"], b"");
    assert!(text(&gone["version"]) > text(&second["version"]));
    let (code, _, stderr) = cli(&["pull", "line/k", "-", "--session", &text(&gone["session"])], b"");
    assert!(code == 13, "{stderr}");
    assert_eq!(cli(&["pull", "line/k", "-", "--version", &text(&second["version"])], b"").1, b"two");
    let (code, _, stderr) = cli(&["stat", "line/k", "--version", "0000000000000001-0000000000000002"], b"");
    assert!(code == 13 && stderr.contains("0000000000000001-0000000000000002"), "{stderr}");
}

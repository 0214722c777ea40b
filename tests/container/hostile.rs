//! What peers send that mean ill or are broken: lying lengths, smuggled requests, torn bodies, absurd
//! ranges, paths in disguise. Each is refused by name, stores nothing, and takes nothing from others.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{Connection, Process, Response, body_of, object};

const PATIENCE: Duration = Duration::from_secs(30);

/// Pauses are short here, so that silence is found out soon.
const QUICK: [&str; 4] = ["--set", "http.stall_timeout_ms=1000", "--set", "http.head_timeout_ms=1000"];

/// Where nothing may ever be.
const NOWHERE: &str = "hostile/never";

fn open(process: &Process) -> TcpStream {
    let stream = TcpStream::connect(process.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes as they are, ends the sending side, and returns all that is answered until the end.
fn say(process: &Process, bytes: &[u8]) -> String {
    let mut stream = open(process);
    // A container that has refused already may close before all was sent.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    rest(stream)
}

fn rest(mut stream: TcpStream) -> String {
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it was never ended: {error}"),
        _ => String::from_utf8_lossy(&got).into_owned(),
    }
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

/// Sends bytes that are refused with 400 once, whatever else stands in them.
#[track_caller]
fn refused(process: &Process, bytes: &[u8]) -> String {
    let answers = say(process, bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    assert_eq!(statuses(&answers), ["400"], "{shown:?}: {answers}");
    process.get(NOWHERE).expect_problem(404, "not_found");
    answers
}

/// Others are served as before, and nothing is held for what was refused.
#[track_caller]
fn all_is_well(process: &Process) {
    let body = body_of("hostile/well", 1, 1_500_000);
    let stored = process.put("hostile/well", &body);
    assert!(matches!(stored.status, 200 | 201), "{}: {}", stored.status, stored.text());
    assert!(process.get("hostile/well").expect(200).body == body);
    process.get(NOWHERE).expect_problem(404, "not_found");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = process.request("GET", "/metrics", &[], b"").expect(200);
        let page = String::from_utf8(page.body).unwrap();
        let used: Vec<&str> = page.lines().filter(|line| line.starts_with("meshstore_permits_used{")).collect();
        assert_eq!(used.len(), 2, "{page}");
        if used.iter().all(|line| line.ends_with(" 0")) {
            return;
        }
        assert!(Instant::now() < deadline, "permits are stuck: {used:?}");
    }
}

/// The problem's words name the input and the remedy.
#[track_caller]
fn told(answer: Response, status: u16, kind: &str, words: &[&str]) {
    let problem = answer.expect_problem(status, kind);
    let detail = problem["detail"].as_str().unwrap();
    words.iter().for_each(|word| assert!(detail.contains(word), "{word:?} is not in: {detail}"));
    assert!(detail.chars().count() <= 2_001, "what was sent is not sent back: {detail}");
}

fn head(method: &str, address: &str, lines: &str) -> String {
    format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n", object(address))
}

/// A request that must never be heard, behind one that is refused.
fn hidden() -> String {
    format!("{}hidden", head("PUT", NOWHERE, "Content-Length: 6\r\n"))
}

#[test]
fn a_length_that_promises_too_much_ends_in_a_deadline_and_stores_nothing() {
    let process = Process::start(&QUICK);
    for (sent, promised) in [(0, 10), (10, 100), (1_500_000, 3_000_000)] {
        let mut stream = open(&process);
        stream.write_all(head("PUT", NOWHERE, &format!("Content-Length: {promised}\r\n")).as_bytes()).unwrap();
        stream.write_all(&vec![7; sent]).unwrap();
        let answer = rest(stream);
        assert_eq!(statuses(&answer), ["504"], "{answer}");
        assert!(answer.contains("the body stalled; send it without long pauses"), "{answer}");
    }
    all_is_well(&process);
}

#[test]
fn a_length_that_promises_too_little_makes_no_request_of_the_rest() {
    let process = Process::start(&[]);
    let short = head("PUT", "hostile/short", "Content-Length: 4\r\n");
    let answers = say(&process, format!("{short}0123 and more\r\n\r\n").as_bytes());
    assert_eq!(statuses(&answers), ["201", "400"], "{answers}");
    assert_eq!(process.get("hostile/short").expect(200).body, b"0123", "what the length says is what was sent");
    // Who sends the digest as well is told that something is amiss.
    let digest = format!("Content-Length: 4\r\nContent-Digest: blake3:{}\r\n", blake3::hash(b"0123 and more").to_hex());
    let answers = say(&process, format!("{}0123 and more\r\n\r\n", head("PUT", NOWHERE, &digest)).as_bytes());
    assert_eq!(statuses(&answers), ["412", "400"], "{answers}");
    all_is_well(&process);
}

#[test]
fn a_length_that_is_none_is_refused() {
    let process = Process::start(&[]);
    for length in ["-1", "+5", "five", "1e3", "0x5", "18446744073709551616", "", "5, 5", "5 5", "5;", "\u{ff15}"] {
        refused(
            &process,
            format!("{}hello", head("PUT", NOWHERE, &format!("Content-Length: {length}\r\n"))).as_bytes(),
        );
    }
    // The largest number is a length, and too much.
    let huge = u64::MAX.to_string();
    let answer = say(&process, head("PUT", NOWHERE, &format!("Content-Length: {huge}\r\n")).as_bytes());
    assert!(statuses(&answer) == ["413"] && answer.contains(&huge) && answer.contains("split it"), "{answer}");
    all_is_well(&process);
}

#[test]
fn an_upload_that_is_half_closed_stores_nothing_and_is_told() {
    let process = Process::start(&[]);
    let large = body_of("hostile/half", 1, 1_500_000);
    for (lines, sent) in [
        ("Content-Length: 10\r\n", &b""[..]),
        ("Content-Length: 1000\r\n", &large[..500]),
        ("Content-Length: 3000000\r\n", &large[..]),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n"),
    ] {
        let answer = refused(&process, &[head("PUT", NOWHERE, lines).as_bytes(), sent].concat());
        assert!(answer.contains("the body ended before all of it arrived"), "{lines} {}: {answer}", sent.len());
    }
    all_is_well(&process);
}

#[test]
fn no_request_is_smuggled_behind_another() {
    let process = Process::start(&[]);
    let end = "0\r\n\r\n";
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "X: y\rContent-Length: 5\r\n",
    ] {
        for method in ["PUT", "GET"] {
            refused(&process, format!("{}{end}{}", head(method, NOWHERE, lines), hidden()).as_bytes());
        }
    }
    // HTTP/1.0 knows no chunks.
    let old = format!("PUT {} HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", object(NOWHERE));
    refused(&process, format!("{old}{end}{}", hidden()).as_bytes());
    all_is_well(&process);
}

#[test]
fn chunks_of_bad_sizes_are_refused() {
    let process = Process::start(&[]);
    for body in [
        "zz\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "\r\nhello\r\n",
        "10000000000000000\r\nhello\r\n",
        "5\nhello\r\n",
        "5;x\ny\r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "4\r\nhello\r\n",
        "6\r\nhello\r\n",
        "5\r\nhello",
        "ffffffffffffffff\r\nhello\r\n",
    ] {
        let head = head("PUT", NOWHERE, "Transfer-Encoding: chunked\r\n");
        // What cannot be read on is cut, mostly without an answer; what ends too early is told.
        let answer = say(&process, format!("{head}{body}0\r\n\r\n{}", hidden()).as_bytes());
        assert!(matches!(statuses(&answer)[..], [] | ["400"]), "{body:?}: {answer}");
        process.get(NOWHERE).expect_problem(404, "not_found");
    }
    let good = head("PUT", "hostile/chunks", "Transfer-Encoding:\tChunked\r\n");
    let answer = say(&process, format!("{good}0005;ext=1\r\nhello\r\n0\r\nTrailer: x\r\n\r\n").as_bytes());
    assert_eq!(statuses(&answer), ["201"], "{answer}");
    assert_eq!(process.get("hostile/chunks").expect(200).body, b"hello");
    all_is_well(&process);
}

#[test]
fn heads_that_are_no_http_are_refused() {
    let process = Process::start(&QUICK);
    let path = object(NOWHERE);
    for bytes in [
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tfolded\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\n Host: localhost\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n: no name\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        format!("PUT {path} HTTP/1.1\r\n\r\n"),
        format!("PUT {path}\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("PUT {path} x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("PUT {path} HTTP/2.0\r\nHost: localhost\r\n\r\n"),
        format!("PUT {path}\r\nHost: localhost\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".to_owned(),
    ] {
        refused(&process, format!("{bytes}{}", hidden()).as_bytes());
    }
    // A line may end in a bare LF; then it ends there for everyone.
    let bare = format!("PUT {} HTTP/1.1\nHost: localhost\nContent-Length: 2\n\nlf", object("hostile/lf"));
    assert_eq!(statuses(&say(&process, bare.as_bytes())), ["201"]);
    assert_eq!(process.get("hostile/lf").expect(200).body, b"lf");
    let both = "Content-Length: 5\nTransfer-Encoding: chunked\r\n";
    refused(&process, format!("{}0\r\n\r\n{}", head("PUT", NOWHERE, both), hidden()).as_bytes());
    // Half a head, then silence.
    let mut stream = open(&process);
    stream.write_all(&hidden().as_bytes()[..30]).unwrap();
    let answer = rest(stream);
    assert!(answer.is_empty() || statuses(&answer) == ["408"], "{answer}");
    all_is_well(&process);
}

#[test]
fn heads_beyond_their_bounds_are_refused() {
    let process = Process::start(&[]);
    let many: String = (0..200).map(|n| format!("X-{n}: v\r\n")).collect();
    let wide = format!("X: {}\r\n", "v".repeat(300_000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "p".repeat(300_000));
    for bytes in [head("PUT", NOWHERE, &many), head("PUT", NOWHERE, &wide), long] {
        let answers = say(&process, bytes.as_bytes());
        // A reset may swallow the answer: the peer still sends what nobody reads.
        assert!(matches!(statuses(&answers)[..], [] | ["400"] | ["431"]), "{answers}");
    }
    let meta = [("Mesh-Meta-A", "v".repeat(9_000))].map(|(name, value)| (name, value));
    let meta: Vec<(&str, &str)> = meta.iter().map(|(name, value)| (*name, value.as_str())).collect();
    told(process.request("PUT", &object(NOWHERE), &meta, b"x"), 413, "too_large", &["8192 bytes"]);
    all_is_well(&process);
}

#[test]
fn absurd_ranges_are_refused_by_name() {
    let process = Process::start(&[]);
    let data = body_of("hostile/range", 1, 2_000);
    process.put("hostile/range", &data).expect(201);
    let ask = |range: &str| process.request("GET", &object("hostile/range"), &[("Range", range)], b"");
    let form = "bytes=first-last";
    let many = format!("bytes={}", (0..2_000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(","));
    for (range, words) in [
        ("bytes=18446744073709551615-", &["bytes=18446744073709551615-", "2000"][..]),
        ("bytes=18446744073709551616-", &["18446744073709551616", "below 2^64"]),
        ("bytes=0-99999999999999999999", &["below 2^64"]),
        ("bytes=18446744073709551615-18446744073709551615", &["2000"]),
        ("bytes=9-3", &["bytes=9-3", "cannot come after"]),
        ("bytes=--1", &["bytes=--1", "decimal"]),
        ("bytes=-", &["bytes=-", "decimal"]),
        ("bytes=+1-2", &["decimal"]),
        ("bytes=1-2-3", &["decimal"]),
        ("bytes=0-0,5-9", &["one range at a time", "a request for each"]),
        (many.as_str(), &["one range at a time", "a request for each"]),
        ("bytes=", &[form]),
        ("bytes", &[form]),
        ("lines=1-2", &["lines=1-2", form]),
        ("", &[form]),
        ("bytes=-0", &["bytes=-0", "2000"]),
    ] {
        let refused = ask(range);
        assert_eq!(refused.header("content-range"), Some("bytes */2000"), "{range}");
        told(refused, 416, "bad_range", words);
    }
    let two = [("Range", "bytes=0-0"), ("Range", "bytes=1-1")];
    told(process.request("GET", &object("hostile/range"), &two, b""), 416, "bad_range", &["one range at a time"]);
    for range in ["bytes=0-18446744073709551615", "bytes=-18446744073709551615"] {
        assert!(ask(range).expect(206).body == data, "{range}");
    }
    all_is_well(&process);
}

#[test]
fn a_range_for_a_version_that_is_gone_gets_the_whole_object() {
    let process = Process::start(&[]);
    let stale = process.put("hostile/if-range", b"the first text").expect(201).header("etag").unwrap().to_owned();
    let now = process.put("hostile/if-range", b"another text").expect(200).header("etag").unwrap().to_owned();
    let weak = format!("W/{now}");
    for tag in [stale.as_str(), &weak, "\"\"", "*", "x", "Sat, 21 Nov 2026 01:44:55 GMT"] {
        let headers = [("Range", "bytes=0-2"), ("If-Range", tag)];
        let whole = process.request("GET", &object("hostile/if-range"), &headers, b"").expect(200);
        assert_eq!((whole.header("content-range"), &whole.body[..]), (None, &b"another text"[..]), "{tag}");
    }
    let headers = [("Range", "bytes=0-2"), ("If-Range", now.as_str())];
    assert_eq!(process.request("GET", &object("hostile/if-range"), &headers, b"").expect(206).body, b"ano");
    all_is_well(&process);
}

#[test]
fn who_expects_to_be_asked_for_the_body_is_asked() {
    let process = Process::start(&QUICK);
    let mut connection = process.connect();
    connection.begin("PUT", &object("hostile/expect"), &[("Expect", "100-continue")], 5).unwrap();
    assert_eq!(connection.answer().unwrap().status, 100);
    connection.send(b"hello").unwrap();
    assert_eq!(connection.answer().unwrap().status, 201);
    assert_eq!(process.get("hostile/expect").expect(200).body, b"hello");
    // Asked, and then silent.
    let lines = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    let mut stream = open(&process);
    stream.write_all(head("PUT", NOWHERE, lines).as_bytes()).unwrap();
    assert_eq!(statuses(&rest(stream)), ["100", "504"]);
    all_is_well(&process);
}

#[test]
fn paths_in_disguise_name_what_they_say_or_nothing() {
    let process = Process::start(&[]);
    let refuse = |path: &str, words: &[&str]| {
        for method in ["PUT", "GET", "DELETE"] {
            told(process.request(method, path, &[], b""), 400, "invalid", words);
        }
    };
    for path in
        ["c/%2e%2e", "c/%2E%2E/k", "c/a/%2e%2e/b", "c/.%2e/k", "c/..%2fk", "c/%2e", "c/a%2F%2Fb", "c/%2Fk", "c/k%2F"]
    {
        refuse(&object(path), &["cannot start or end with '/'", "'..' segments"]);
    }
    refuse(&object("%2e%2e/k"), &["name", ".."]);
    refuse(&object("c%2Fd/k"), &["name", "c/d"]);
    refuse(&object("c%00/k"), &["NUL", "remove it"]);
    for path in ["c/%00", "c/k%00.txt"] {
        refuse(&object(path), &["NUL", "remove it", path.trim_start_matches("c/")]);
    }
    // Overlong forms, halves of surrogates, and beyond the last character.
    for escapes in ["%c0%af", "%c0%ae%c0%ae", "%e0%80%af", "%f0%80%80%af", "%ed%a0%80", "%f4%90%80%80", "%ff", "%c3"] {
        refuse(&object(&format!("c/{escapes}")), &["UTF-8", escapes]);
    }
    for (escapes, words) in [("%", "%25"), ("%2", "%25"), ("%zz", "%25"), ("%%32e", "%25"), ("%u002e", "%25")] {
        refuse(&object(&format!("c/{escapes}")), &[words, escapes]);
    }
    // What is escaped twice is decoded once: a name of its own, and no way out.
    for (path, key) in [("c/%252e%252e", "%2e%2e"), ("c/a%252Fb", "a%2Fb"), ("c/%2500", "%00"), ("c/a%2Fb", "a/b")] {
        assert_eq!(process.put(path, key.as_bytes()).expect(201).json()["address"], format!("c/{key}"));
        assert_eq!(process.get(path).expect(200).body, key.as_bytes());
    }
    assert_eq!(process.get("c/a/b").expect(200).body, b"a/b", "one object, however its slash is written");
    assert!(!process.data().join("%2e%2e").exists() && !process.folder().join("k").exists());
    // A client that folds its path would ask elsewhere; here it is not folded.
    let admin = process.request("GET", "/v1/objects/../admin/tiers", &[], b"");
    assert_eq!(admin.status, 400, "{}", admin.text());
    for path in ["//v1/objects/c/a/b", "/v1//objects/c/a/b", "/V1/objects/c/a/b", "/v1/objects%2Fc%2Fa%2Fb"] {
        process.request("GET", path, &[], b"").expect_problem(404, "not_found");
    }
    all_is_well(&process);
}

#[test]
fn keys_that_are_too_long_are_refused_by_name() {
    let process = Process::start(&[]);
    for key in ["k".repeat(4_096), "%01".repeat(4_096), "%F0%9F%98%80".repeat(1_024), "k/".repeat(2_048) + "k"] {
        told(process.put(&format!("c/{key}"), b""), 400, "invalid", &["1024 bytes", "key"]);
    }
    told(process.put(&format!("{}/k", "n".repeat(4_096)), b""), 400, "invalid", &["63 characters", "name"]);
    all_is_well(&process);
}

#[test]
fn forms_of_one_letter_are_keys_of_their_own() {
    let process = Process::start(&[]);
    let keys = ["caf%C3%A9", "cafe%CC%81", "CAF%C3%89", "caf%C3%A9%E2%80%8B"];
    for key in keys {
        process.put(&format!("forms/{key}"), key.as_bytes()).expect(201);
    }
    for key in keys {
        assert_eq!(process.get(&format!("forms/{key}")).expect(200).body, key.as_bytes());
    }
    let page = process.request("GET", "/v1/objects/forms", &[], b"").expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), keys.len());
    process.delete("forms/caf%C3%A9").expect(204);
    assert_eq!(process.get("forms/cafe%CC%81").expect(200).body, b"cafe%CC%81");
    all_is_well(&process);
}

#[test]
fn keys_that_look_like_operations_are_keys() {
    let process = Process::start(&[]);
    let keys = [
        "k/locate",
        "k/head",
        "k%3Fop=cas",
        "k%3Fversion=1",
        "k%23part",
        "k&op=cas",
        "v1/admin/tokens",
        "k;a=b",
        "k:x",
        "*",
    ];
    for key in keys {
        process.put(&format!("ops/{key}"), key.as_bytes()).expect(201);
        assert_eq!(process.get(&format!("ops/{key}")).expect(200).body, key.as_bytes());
    }
    process.get("ops/k").expect_problem(404, "not_found");
    // Without the escape it is a parameter, and none that is known.
    for method in ["PUT", "GET", "DELETE"] {
        let answer = process.request(method, &object("ops/k?op=cas"), &[], b"x");
        told(answer, 400, "invalid", &["query parameter", "op", "leave it out"]);
    }
    all_is_well(&process);
}

#[test]
fn half_sent_requests_do_not_hold_up_a_stop() {
    let mut process = Process::start(&["--set", "http.stall_timeout_ms=1000", "--set", "http.head_timeout_ms=1000"]);
    let large = body_of("hostile/large", 1, 12_000_000);
    process.put("hostile/large", &large).expect(201);
    let half = |lines: &str, body: &[u8]| {
        let mut stream = open(&process);
        stream.write_all(&[head("PUT", NOWHERE, lines).as_bytes(), body].concat()).unwrap();
        stream
    };
    let mut torn = open(&process);
    torn.write_all(&hidden().as_bytes()[..30]).unwrap();
    let mut rests = process.connect();
    rests.request("GET", "/healthz", &[], b"").unwrap().expect(200);
    // It reads the head of an answer and nothing of its body.
    let mut deaf = process.connect();
    deaf.begin("GET", &object("hostile/large"), &[], 0).unwrap();
    deaf.answer().unwrap().expect(200);
    let held = [
        torn,
        open(&process),
        half("Content-Length: 100\r\n", b"some"),
        half("Content-Length: 3000000\r\n", &large[..1_500_000]),
        half("Transfer-Encoding: chunked\r\n", b"5\r\nhel"),
    ];
    let began = Instant::now();
    process.signal("TERM");
    process.ended();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop((held, rests, deaf));
    process.restart();
    assert!(process.get("hostile/large").expect(200).body == large);
    all_is_well(&process);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_pull_that_fails_after_its_head_is_cut_and_never_ends_cleanly() {
    let mut process = Process::start(&[]);
    let body = body_of("hostile/torn", 1, 5_000_000);
    process.put("hostile/torn", &body).expect(201);
    process.terminate();
    let frame = files(&process.data().join("frames")).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len());
    let frame = frame.unwrap();
    let mut bytes = fs::read(&frame).unwrap();
    let at = bytes.len() * 9 / 10;
    bytes[at] ^= 1;
    fs::write(&frame, bytes).unwrap();
    process.restart();

    let mut connection = Connection::open(process.addr()).unwrap();
    connection.begin("GET", &object("hostile/torn"), &[], 0).unwrap();
    let head = connection.answer().unwrap().expect(200);
    assert_eq!(head.header("content-length"), Some("5000000"));
    let (mut got, mut byte) = (Vec::new(), [0]);
    while connection.read_exact(&mut byte).is_ok() {
        got.push(byte[0]);
    }
    assert!(got.len() < body.len() && body.starts_with(&got), "{} of {} bytes", got.len(), body.len());
    told(process.get("hostile/torn"), 500, "corrupt", &["hostile/torn"]);
    all_is_well(&process);
    process.put("hostile/torn", &body).expect(200);
    assert!(process.get("hostile/torn").expect(200).body == body, "a push heals it");
}

#[test]
fn pages_of_other_origins_reach_nothing() {
    let process = Process::start(&[]);
    process.put("hostile/private", b"private").expect(201);
    for (method, path) in [
        ("GET", "/v1/objects/hostile/private"),
        ("PUT", "/v1/objects/hostile/never"),
        ("DELETE", "/v1/objects/hostile/private"),
        ("OPTIONS", "/v1/objects/hostile/private"),
        ("GET", "/v1/events"),
        ("POST", "/v1/admin/tokens"),
        ("POST", "/v1/batch"),
    ] {
        for (header, value, words) in [
            ("Host", "evil.example", ["evil.example", "localhost"]),
            ("Origin", "http://evil.example", ["http://evil.example", "origins"]),
            ("Origin", "null", ["null", "origins"]),
            ("Sec-Fetch-Site", "cross-site", ["cross-site", "sites"]),
        ] {
            let answer = process.request(method, path, &[(header, value)], b"");
            assert!(answer.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("access-control")));
            told(answer, 403, "forbidden", &words);
        }
    }
    // A request line with a host of its own does not get around the Host header.
    let line = "GET http://evil.example/v1/objects/hostile/private HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = say(&process, line.as_bytes());
    assert!(statuses(&answer) == ["403"] && !answer.ends_with("private"), "{answer}");
    assert_eq!(process.get("hostile/private").expect(200).body, b"private");
    all_is_well(&process);
}

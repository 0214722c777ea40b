//! What one caller, or many at once, cannot do to a container: rates, connections, heads, stalls, memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Connection, Process, body_of, object};
use crate::misuse::{counted, held, resident_bytes};

const PATIENCE: Duration = Duration::from_secs(30);

/// Headers that a request may have, as the container's documentation names them.
const HEADERS_MAX: usize = 96;
const HEAD_BYTES_MAX: usize = 128 << 10;

#[test]
fn who_asks_too_often_is_told_when_to_come_back_and_others_are_not_touched() {
    let process = Process::start(&["--set", "limits.requests_per_s=5", "--set", "auth.required=true"]);
    let root = fs::read_to_string(process.data().join("root.token")).unwrap().trim().to_owned();
    let with = |token: &str, method: &str, path: &str, body: &[u8]| {
        process.request(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
    };
    let document = json!({"subject": "ada", "scopes": ["read"]}).to_string();
    let made = with(&root, "POST", "/v1/admin/tokens", document.as_bytes()).expect(201).json();
    let ada = made["token"].as_str().unwrap();
    let refused = |token: &str| {
        let began = Instant::now();
        loop {
            let answer = with(token, "GET", &object("c"), b"");
            if answer.status == 429 {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "the limit was never met");
        }
    };
    let busy = refused(ada);
    assert_eq!(busy.header("retry-after"), Some("1"));
    busy.expect_problem(429, "busy");
    with(&root, "GET", &object("c"), b"").expect(200);
    // Bad tokens count against the address, so that nobody tries many.
    refused("ms1_guess");
    let deadline = Instant::now() + PATIENCE;
    while with(ada, "GET", &object("c"), b"").status == 429 {
        assert!(Instant::now() < deadline, "the bucket never refilled");
    }
    for _ in 0..20 {
        process.request("GET", "/healthz", &[], b"").expect(200);
    }
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let process = Process::start(&["--set", "limits.connections_max=1", "--set", "http.workers=1"]);
    let mut first = process.connect();
    first.request("GET", "/healthz", &[], b"").unwrap().expect(200);
    let mut second = TcpStream::connect(process.addr()).unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(second.read(&mut [0; 16]).is_err(), "nobody serves it yet");
    first.request("GET", "/healthz", &[], b"").unwrap().expect(200);
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut start = [0; 12];
    second.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[test]
fn heads_have_bounds() {
    let process = Process::start(&[]);
    let ask = |headers: &[(&str, &str)]| process.request("GET", "/healthz", headers, b"").status;
    // Host and Content-Length are two more.
    let names: Vec<String> = (0..HEADERS_MAX - 1).map(|n| format!("x-{n}")).collect();
    let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    assert!(matches!(ask(&headers), 400 | 431), "one too many");
    headers.pop();
    assert_eq!(ask(&headers), 200, "as many as there may be");
    let long = "v".repeat(HEAD_BYTES_MAX / 2);
    assert_eq!(ask(&[("x-a", &long)]), 200);
    let mut connection = process.connect();
    // The answer may come before all was sent, and the sending then fails: both are a refusal.
    let longer = "v".repeat(2 * HEAD_BYTES_MAX);
    if let Ok(answer) = connection.request("GET", "/healthz", &[("x-a", &longer)], b"") {
        assert!(matches!(answer.status, 400 | 431), "{answer:?}");
    }
    process.request("GET", "/healthz", &[], b"").expect(200);
}

/// Reads until the other side ends the connection, and returns what came.
fn until_the_end(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it was never ended: {error}"),
        _ => got,
    }
}

#[test]
fn who_is_slow_or_silent_is_cut_off() {
    let process = Process::start(&[
        "--set",
        "http.head_timeout_ms=700",
        "--set",
        "http.idle_timeout_ms=700",
        "--set",
        "http.stall_timeout_ms=700",
    ]);
    let mut slow = TcpStream::connect(process.addr()).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHos").unwrap();
    let got = String::from_utf8(until_the_end(slow)).unwrap();
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 408"), "{got}");

    let mut idle = TcpStream::connect(process.addr()).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let got = String::from_utf8(until_the_end(idle)).unwrap();
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");

    let mut upload = process.connect();
    upload.begin("PUT", &object("c/k"), &[], 1_000_000).unwrap();
    upload.send(b"some of it").unwrap();
    assert_eq!(upload.answer().unwrap().status, 504);
    process.get("c/k").expect_problem(404, "not_found");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off_and_its_place_is_free_again() {
    const BYTES: usize = 40_000_000;
    const STALL_MS: u64 = 1_000;
    // One connection and one request at a time: whoever comes next waits for all that the reader holds.
    let stall = format!("http.stall_timeout_ms={STALL_MS}");
    let one = ["http.workers=1", "limits.connections_max=1", "limits.requests_max=1", &stall];
    let args: Vec<&str> = one.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut process = Process::start(&args);
    process.put("c/large", &body_of("c/large", 1, BYTES)).expect(201);
    process.put("c/small", b"small").expect(201);
    for from_disk in [false, true] {
        if from_disk {
            process.kill9();
            process.restart();
        }
        let mut reader = process.connect();
        reader.begin("GET", &object("c/large"), &[], 0).unwrap();
        reader.answer().unwrap().expect(200);
        let began = Instant::now();
        let mut next = TcpStream::connect(process.addr()).unwrap();
        next.set_read_timeout(Some(PATIENCE)).unwrap();
        next.write_all(b"GET /v1/objects/c/small HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut start = [0; 12];
        next.read_exact(&mut start).unwrap_or_else(|error| panic!("the stalled reader is never let go of: {error}"));
        let waited = began.elapsed();
        assert_eq!(&start, b"HTTP/1.1 200", "its permits are free as well");
        drop(next);
        // Cut off for its stall and for nothing else; the system looks at times that grow, so not at once.
        let stall = Duration::from_millis(STALL_MS);
        assert!(waited >= stall / 2 && waited < stall * 10, "{waited:?} for a stall of {stall:?}");
        // What was on its way may still be read, but never all of it.
        let (mut piece, mut got) = (vec![0; 100_000], 0);
        while reader.read_exact(&mut piece).is_ok() {
            got += piece.len();
        }
        assert!(got < BYTES, "the body ended as if it were whole");
    }
}

#[test]
fn what_stalled_readers_hold_is_given_back_and_others_are_served_all_the_while() {
    const BYTES: usize = 100_000_000;
    let stall = Duration::from_secs(2);
    let setting = format!("http.stall_timeout_ms={}", stall.as_millis());
    let mut process = Process::start(&["--set", &setting]);
    process.put("c/small", b"small").expect(201);
    process.put("c/on-disk", &body_of("c/on-disk", 1, BYTES)).expect(201);
    process.kill9();
    process.restart();
    let before = resident_bytes(&process);
    let body = body_of("c/in-memory", 1, BYTES);
    process.request("PUT", &object("c/in-memory"), &[("Mesh-Durability", "ram")], &body).expect(201);
    let stalled = |address: &str| {
        let mut reader = process.connect();
        reader.begin("GET", &object(address), &[], 0).unwrap();
        reader.answer().unwrap().expect(200);
        reader
    };
    let began = Instant::now();
    let mut readers = ["c/in-memory", "c/in-memory", "c/on-disk"].map(stalled);
    // From here on the readers alone keep its bytes in memory.
    process.delete("c/in-memory").expect(204);
    let metrics = || String::from_utf8(process.request("GET", "/metrics", &[], b"").expect(200).body).unwrap();
    // But for the one that asks.
    let connections = || counted(&metrics(), "meshstore_http_connections ") - 1;
    let bytes = || resident_bytes(&process).saturating_sub(before);
    let holding = || (connections() > 0, bytes() > BYTES as u64 / 2, !held(&process).is_empty());
    assert_eq!(holding(), (true, true, true), "places, memory and permits");
    while holding() != (false, false, false) {
        let asked = Instant::now();
        assert_eq!(process.get("c/small").expect(200).body, b"small");
        assert!(asked.elapsed() < stall / 2, "another client waited {:?}", asked.elapsed());
        assert!(began.elapsed() < stall * 10, "never let go of: {:?} of places, memory and permits", holding());
    }
    assert!(began.elapsed() > stall / 2, "cut off after {:?}, before its time", began.elapsed());
    for reader in &mut readers {
        let (mut piece, mut got) = (vec![0; 100_000], 0);
        while reader.read_exact(&mut piece).is_ok() {
            got += piece.len();
        }
        assert!(got < BYTES, "the body ended as if it were whole");
    }
}

#[test]
fn a_small_budget_holds_whatever_is_uploaded_at_once() {
    const UPLOADS: usize = 40;
    let budget: u64 = 64 << 20;
    let process = Process::start(&["--set", &format!("memory.budget_bytes={budget}")]);
    let (process, start) = (&process, &Barrier::new(UPLOADS));
    let stored = thread::scope(|scope| {
        let upload = |n: usize| {
            let address = format!("many/{n}");
            let body = body_of(&address, 1, 10_000_000);
            start.wait();
            // Not before: at a door as small as this one, who says nothing for long makes room.
            let mut connection = Connection::open(process.addr()).unwrap();
            let answer = connection.request("PUT", &object(&address), &[], &body).unwrap();
            assert!(matches!(answer.status, 201 | 429 | 503), "{answer:?}: {}", answer.text());
            answer.status == 201
        };
        let uploads: Vec<_> = (0..UPLOADS).map(|n| scope.spawn(move || upload(n))).collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).filter(|stored| *stored).count()
    });
    let peak = process.peak_memory_bytes();
    println!("{stored} of {UPLOADS} stored, {} MiB of {} MiB at the peak", peak >> 20, budget >> 20);
    assert!(stored > 0 && peak < budget, "{stored} stored, {} MiB of {} MiB", peak >> 20, budget >> 20);
}

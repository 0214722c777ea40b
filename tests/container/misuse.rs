//! What a client of the bus may get wrong or mean ill: headers, sizes, subjects and tickets. Each is refused by name
//! in the headers of the convention, and holds nothing afterwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meshstore::nfr::{Grant, Keyring, SystemRng};

use super::harness::*;
use super::nats_client::{Heard, NatsClient};
use super::nats_server::NatsServer;
use super::site::{Site, until};

const HOUR_MS: u64 = 3_600_000;

fn start(args: &[&str]) -> (NatsServer, Process, NatsClient) {
    let server = NatsServer::start();
    let process = Process::start(&[&["--site", "edge", "--bus", server.url()], args].concat());
    let client = NatsClient::connect(server.url());
    (server, process, client)
}

#[track_caller]
fn expect_error(answer: &Heard, code: u16, kind: &str, word: &str) {
    assert_eq!(answer.header("Nats-Service-Error-Code"), Some(code.to_string().as_str()), "{answer:?}");
    assert_eq!(answer.json()["kind"], kind, "{answer:?}");
    let said = answer.header("Nats-Service-Error").unwrap();
    assert!(said.contains(word), "{said}");
}

fn status(answer: &Heard) -> Option<&str> {
    answer.header("Mesh-Status").or(answer.header("Status"))
}

/// What holds a place of any queue that the container tells of.
pub fn held(process: &Process) -> Vec<String> {
    let queues = process.request("GET", "/v1/admin/queues", &[], b"").expect(200).json();
    let queues = queues["queues"].as_array().unwrap().clone();
    let used = queues.iter().filter(|queue| queue["used"].as_u64() != Some(0));
    used.map(|queue| format!("{} {}", queue["name"], queue["used"])).collect()
}

/// Waits until nothing is held any more, and nothing of what came was lost.
pub fn nothing_is_held(process: &Process) {
    until("the end of all that is at work", || held(process).is_empty());
    let queues = process.request("GET", "/v1/admin/queues", &[], b"").json();
    let lost = |queue: &&serde_json::Value| queue["lost"].as_u64().is_some_and(|lost| lost > 0);
    assert_eq!(queues["queues"].as_array().unwrap().iter().find(lost), None);
}

pub fn resident_bytes(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn absurd_headers_are_refused_by_name() {
    let (_server, process, mut client) = start(&[]);
    process.put("c/k", b"0123456789").expect(201);
    let at = ("Mesh-Address", "c/k");
    let mut refused = |subject: &str, headers: &[(&str, &str)], code: u16, kind: &str, word: &str| {
        for subject in [format!("mesh.edge.{subject}"), format!("mesh.edge.c1.{subject}")] {
            expect_error(&client.ask(&subject, headers, b""), code, kind, word);
        }
    };
    let (most, over) = ("18446744073709551615", "18446744073709551616");
    // What is said twice could be meant either way.
    refused("pull", &[at, ("Mesh-Address", "c/l")], 400, "invalid", "once");
    refused("pull", &[at, ("mesh-address", "c/l")], 400, "invalid", "once");
    refused("pull", &[at, ("Mesh-Range", "0-1"), ("Mesh-Range", "2-3")], 416, "bad_range", "one range");
    refused("pull", &[at, ("Mesh-Version", "1-1"), ("Mesh-Version", "1-2")], 400, "invalid", "once");
    refused("push", &[at, ("Mesh-Size", "9"), ("Mesh-Size", "10")], 400, "invalid", "once");
    refused("push", &[at, ("Mesh-Nfr", "compress=lz4"), ("Mesh-Nfr", "compress=none")], 400, "invalid", "once");
    refused("list", &[("Mesh-Address", "c"), ("Mesh-Limit", "1"), ("Mesh-Limit", "2")], 400, "invalid", "once");
    refused("transfers", &[("Mesh-Transfer", "1"), ("Mesh-Transfer", "2")], 400, "invalid", "once");
    let long = format!("c/{}", "k".repeat(60_000));
    refused("pull", &[("Mesh-Address", &long)], 400, "invalid", "1024 bytes");
    for range in
        ["5-2", "0-1,3-4", "-0", "-", "bytes=bytes=0-1", "1-2-3", &format!("{over}-"), &format!("-{over}"), "0x1-"]
    {
        refused("pull", &[at, ("Mesh-Range", range)], 416, "bad_range", "");
    }
    for bytes in [over, "-1", "1e6", "", "٣"] {
        refused("pull", &[at, ("Mesh-Inline-Max", bytes)], 400, "invalid", "number");
        refused("push", &[at, ("Mesh-Size", bytes)], 400, "invalid", "number");
    }
    refused("push", &[at, ("Mesh-Size", most)], 413, "too_large", "");
    for limit in ["0", "1001", "-1", "1e2", most, over] {
        refused("list", &[("Mesh-Address", "c"), ("Mesh-Limit", limit)], 400, "invalid", "limit");
    }
    for deadline in ["0", "600001", "-1", "1e3", most, over, ""] {
        refused("pull", &[at, ("Mesh-Deadline-Ms", deadline)], 400, "invalid", "deadline");
    }
    for seconds in ["0", "-1", "3153600001", most, over] {
        refused("push", &[at, ("Mesh-Ttl-S", seconds)], 400, "invalid", "time to live");
    }
    for version in ["0", "", "-", &format!("{}-{}", "f".repeat(17), "f".repeat(16)), &"f".repeat(5000)] {
        refused("pull", &[at, ("Mesh-Version", version)], 400, "invalid", "version");
    }
    refused("pull", &[at, ("Mesh-Session", &"A".repeat(100_000))], 400, "invalid", "session");
    refused("pull", &[at, ("Mesh-Mode", "sideways")], 400, "invalid", "sideways");
    refused("push", &[at, ("Mesh-Meta-A", &"x".repeat(9_000))], 413, "too_large", "metadata");
    refused("push", &[at, ("Content-Type", &"x".repeat(300))], 400, "invalid", "content type");
    refused("push", &[at, ("If-Match", "yesterday's")], 400, "invalid", "If-Match");
    refused("push", &[at, ("If-None-Match", "\"1\"")], 400, "invalid", "If-None-Match");
    refused("push", &[at, ("Content-Digest", "sha-256=:AAAA:")], 400, "invalid", "");
    refused("batch", &[("Content-Type", "multipart/mixed")], 400, "invalid", "boundary");
    // What is no business of ours, or can be met half-way, is not held against who asks.
    for harmless in
        [("traceparent", "00-zz"), ("Mesh-Range", &*format!("0-{most}")), ("Mesh-Inline-Max", most), ("X-Y", "")]
    {
        let answer = client.ask("mesh.edge.pull", &[at, harmless], b"");
        assert!(matches!(status(&answer), Some("200" | "206")) && answer.body == b"0123456789", "{answer:?}");
    }
    assert_eq!(process.get("c/k").body, b"0123456789");
    nothing_is_held(&process);
}

#[test]
fn what_no_library_would_send_costs_a_moment_and_nothing_else() {
    let (server, process, _client) = start(&[]);
    process.put("c/k", b"x").expect(201);
    for head in
        [&b"NATS/1.0\r\nno colon\r\n\r\n"[..], b"XATS/9\r\n\r\n", b"NATS/1.0\r\nA: \xff\xfe\r\n\r\n", b"\r\n\r\n"]
    {
        let mut stranger = NatsClient::connect(server.url());
        let line = format!("HPUB mesh.edge.pull _INBOX.nobody {0} {0}\r\n", head.len());
        stranger.raw(&[line.as_bytes(), head, b"\r\n"].concat());
        // What is asked while the container connects anew is lost.
        let ask = || {
            NatsClient::ask_once(server.url(), Duration::from_millis(500), "mesh.edge.pull", &[("Mesh-Address", "c/k")])
        };
        until("an answer", || ask().is_some_and(|answer| answer.body == b"x"));
    }
    nothing_is_held(&process);
}

#[test]
fn subjects_that_are_none_are_answered_or_reach_nobody() {
    let (server, process, mut client) = start(&[]);
    process.put("c/k", b"x").expect(201);
    let at = [("Mesh-Address", "c/k")];
    // What is no subject to the server reaches nobody; what is none to us is refused.
    for pattern in ["mesh.edge.*", "mesh.*.pull", "mesh.edge.>", "mesh.edge.c1.*", "mesh.edge."] {
        let mut rude = NatsClient::connect(server.url());
        rude.publish(pattern, "_INBOX.rude", &at, b"");
        assert_eq!(rude.line(), "-ERR 'Invalid Publish Subject'", "{pattern}");
    }
    for strange in
        ["mesh.edge.pull*", "mesh.edge.c1.>>", "mesh.edge.p\u{7}ull", &format!("mesh.edge.{}", "p".repeat(3000))]
    {
        let answer = client.ask(strange, &at, b"");
        assert_eq!(answer.header("Nats-Service-Error-Code"), Some("400"), "{strange}: {answer:?}");
        assert!(answer.header("Nats-Service-Error").unwrap().contains("subject"), "{answer:?}");
    }
    for nobody in ["mesh.fog.pull", "mesh.any.pull", "mesh.EDGE.pull", "mesh.edge.c2.pull", "mesh.edge.c1.pull.k"] {
        assert_eq!(status(&client.ask(nobody, &at, b"")), Some("503"), "{nobody}");
    }
    for unknown in ["mesh.edge.fly", "mesh.edge.PULL", "mesh.edge.c1", "mesh.edge.c1.peer"] {
        expect_error(&client.ask(unknown, &at, b""), 400, "invalid", "there are push, pull");
    }
    // An answer that is to go where requests come in, or to a pattern, makes no answers of its own.
    client.subscribe("mesh.event.edge.*");
    let mut rude = NatsClient::connect(server.url());
    for reply in ["mesh.edge.*", "mesh.edge.c1.*", "mesh.edge.c1.pull", "mesh.edge.push"] {
        rude.publish("mesh.edge.pull", reply, &at, b"");
    }
    // The last of them is a push of nothing to nowhere, and is told as one that failed.
    let told = client.next();
    assert_eq!(told.subject, "mesh.event.edge.push");
    expect_error(&told, 400, "invalid", "Mesh-Address");
    process.put("c/last", b"x").expect(201);
    assert_eq!(client.next().header("Mesh-Address"), Some("c/last"), "and that was all");
    let mut other = NatsClient::connect(server.url());
    assert_eq!(other.ask("mesh.edge.pull", &at, b"").body, b"x");
    nothing_is_held(&process);
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn a_ticket_of_another_object_another_site_or_another_hour_opens_nothing() {
    let (_server, process, mut client) = start(&["--set", "auth.required=true"]);
    let root = std::fs::read_to_string(process.data().join("root.token")).unwrap().trim().to_owned();
    let bearer = format!("Bearer {root}");
    let put = |key: &str| {
        let put = process.request("PUT", &object(key), &[("Authorization", &bearer)], &body_of(key, 1, 300_000));
        put.expect(201).header("mesh-version").unwrap().to_owned()
    };
    let (version, other_version) = (put("c/k"), put("c/other"));
    let ours = Keyring::parse(&std::fs::read_to_string(process.data().join("keys.toml")).unwrap()).unwrap();
    let theirs = Keyring::generate(&SystemRng);
    let address = "c/k".parse().unwrap();
    let pull = Grant::Pull(version.parse().unwrap());
    let good = ours.ticket(&address, pull, now_ms() + HOUR_MS).unwrap();
    let mut cut = good.clone();
    cut.truncate(40);
    let over = ours.ticket(&address, pull, now_ms() - 1).unwrap();
    let mut tries: Vec<(&str, String, &str)> = vec![
        ("that expired", over, "expired"),
        ("of another site", theirs.ticket(&address, pull, now_ms() + HOUR_MS).unwrap(), "none of this site's"),
        (
            "of another object",
            ours.ticket(&"c/other".parse().unwrap(), pull, now_ms() + HOUR_MS).unwrap(),
            "not for this",
        ),
        (
            "of another version",
            ours.ticket(&address, Grant::Pull(other_version.parse().unwrap()), now_ms() + HOUR_MS).unwrap(),
            "not for this",
        ),
        ("to bring it", ours.ticket(&address, Grant::Push(300_000), now_ms() + HOUR_MS).unwrap(), "not for this"),
        ("between containers", ours.ticket(&address, Grant::Peer, now_ms() + HOUR_MS).unwrap(), "not for this"),
        ("cut short", cut, "not for this"),
        ("of letters", "zz".repeat(41), "not for this"),
        ("that is empty", String::new(), "not for this"),
        ("far too long", "0".repeat(50_000), "not for this"),
    ];
    let path = format!("{}?version={version}", object("c/k"));
    for (what, ticket, word) in &tries {
        // The head of a request over HTTP has its own bound, and its own test.
        if ticket.len() < 10_000 {
            let refused =
                process.request("GET", &path, &[("Mesh-Ticket", ticket)], b"").expect_problem(401, "unauthorised");
            assert!(refused["detail"].as_str().unwrap().contains(word), "{what}: {refused}");
        }
        let headers =
            [("Mesh-Address", "c/k"), ("Mesh-Version", &*version), ("Mesh-Range", "0-9"), ("Mesh-Ticket", ticket)];
        for subject in ["mesh.edge.pull", "mesh.edge.c1.pull", "mesh.edge.head"] {
            expect_error(&client.ask(subject, &headers, b""), 401, "unauthorised", word);
        }
    }
    // Nor does one to bring an object: not a longer one, not elsewhere, not late, not with another keyring's word.
    let push = |ring: &Keyring, size, until_ms| ring.ticket(&address, Grant::Push(size), until_ms).unwrap();
    tries.clear();
    for (ticket, word) in [
        (push(&ours, 5, now_ms() + HOUR_MS), "not for this"),
        (push(&ours, 4, now_ms() - 1), "expired"),
        (push(&theirs, 4, now_ms() + HOUR_MS), "none of this site's"),
        (good.clone(), "not for this"),
    ] {
        let refused = process
            .request("PUT", &object("c/k"), &[("Mesh-Ticket", &ticket)], b"evil")
            .expect_problem(401, "unauthorised");
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
        expect_error(
            &client.ask("mesh.edge.push", &[("Mesh-Address", "c/k"), ("Mesh-Ticket", &ticket)], b"evil"),
            401,
            "unauthorised",
            word,
        );
    }
    // And the good one opens no more than it says.
    let ticket = ("Mesh-Ticket", good.as_str());
    for subject in ["push", "delete", "list", "locate", "batch", "sync", "transfers"] {
        let answer = client.ask(&format!("mesh.edge.{subject}"), &[("Mesh-Address", "c/k"), ticket], b"");
        assert!(matches!(status(&answer), Some("400" | "401" | "403")), "{subject}: {answer:?}");
    }
    let read = client.ask(
        "mesh.edge.pull",
        &[("Mesh-Address", "c/k"), ("Mesh-Version", &version), ("Mesh-Range", "0-9"), ticket],
        b"",
    );
    assert_eq!((status(&read), &*read.body), (Some("206"), &body_of("c/k", 1, 300_000)[..10]));
    assert_eq!(process.request("GET", &path, &[ticket], b"").expect(200).body, body_of("c/k", 1, 300_000));
    let held = process.request("GET", "/v1/admin/queues", &[("Authorization", &bearer)], b"").expect(200).json();
    assert!(held["queues"].as_array().unwrap().iter().all(|queue| queue["used"] == 0), "{held}");
}

#[test]
fn what_a_message_cannot_carry_is_refused_and_harms_nobody() {
    let (server, process, mut client) = start(&[]);
    let at = ("Mesh-Address", "c/k");
    // The server cuts off who sends more than it carries; the container hears nothing of it.
    let mut rude = NatsClient::connect(server.url());
    let head = b"NATS/1.0\r\nMesh-Address: c/k\r\n\r\n";
    let line = format!("HPUB mesh.edge.push {} {}\r\n", head.len(), head.len() + (1 << 20));
    rude.raw(&[line.as_bytes(), head, &vec![7; 1 << 20], b"\r\n"].concat());
    assert!(rude.last_words().contains("Maximum Payload Violation"));
    assert_eq!(status(&client.ask("mesh.edge.head", &[at], b"")), Some("404"));
    // As much as goes is taken, and comes back by a ticket or in ranges.
    let body = body_of("c/k", 1, (1 << 20) - 100);
    assert_eq!(status(&client.ask("mesh.edge.push", &[at], &body)), Some("201"));
    let ticket = client.ask("mesh.edge.pull", &[at, ("Mesh-Inline-Max", "1048576")], b"");
    assert!(ticket.header("Mesh-Ticket").is_some(), "{ticket:?}");
    let half = client.ask("mesh.edge.pull", &[at, ("Mesh-Range", "500000-999999")], b"");
    assert!(half.body == body[500_000..1_000_000]);
    expect_error(
        &client.ask("mesh.edge.pull", &[at, ("Mesh-Range", "0-1040000")], b""),
        413,
        "too_large",
        "Mesh-Range",
    );
    // A list whose page is larger than a message says how to ask for a smaller one.
    let part = |n: usize| {
        let put = format!("PUT /v1/objects/long/{n:03}{} HTTP/1.1\r\nContent-Length: 1", "k".repeat(1000));
        format!("--b\r\nContent-Type: application/http\r\n\r\n{put}\r\n\r\nx\r\n")
    };
    let batch: String = (0..1000).map(part).collect();
    let headers = [("Content-Type", "multipart/mixed; boundary=b")];
    process.request("POST", "/v1/batch", &headers, format!("{batch}--b--\r\n").as_bytes()).expect(200);
    let long = ("Mesh-Address", "long");
    expect_error(&client.ask("mesh.edge.list", &[long, ("Mesh-Limit", "1000")], b""), 413, "too_large", "ask for less");
    let page = client.ask("mesh.edge.list", &[long, ("Mesh-Limit", "500")], b"");
    assert_eq!(page.json()["items"].as_array().unwrap().len(), 500);
    nothing_is_held(&process);
}

#[test]
fn ten_thousand_pulls_of_what_nobody_has_are_all_answered_and_leave_nothing() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let mut client = site.client();
    client.subscribe("_INBOX.absent.>");
    let ask = |client: &mut NatsClient, n: u64| {
        // Many miss the same, and many each something else.
        let key = if n.is_multiple_of(2) { "c/none".to_owned() } else { format!("c/none-{n}") };
        client.publish("mesh.edge.pull", &format!("_INBOX.absent.{n}"), &[("Mesh-Address", &key)], b"");
    };
    let round = |client: &mut NatsClient, pulls: u64| {
        let (mut asked, mut answered) = (0, 0);
        while answered < pulls {
            while asked < pulls && asked - answered < 200 {
                ask(client, asked);
                asked += 1;
            }
            let answer = client.next();
            assert_eq!(answer.header("Nats-Service-Error-Code"), Some("404"), "{answer:?}");
            assert_eq!(answer.header("Mesh-Unasked"), None, "{answer:?}");
            answered += 1;
        }
    };
    // What is made once and kept is made now.
    round(&mut client, 1000);
    let before = [resident_bytes(&a), resident_bytes(&b)];
    round(&mut client, 10_000);
    for (process, before) in [&a, &b].into_iter().zip(before) {
        nothing_is_held(process);
        let grown = resident_bytes(process).saturating_sub(before);
        assert!(grown < 24 << 20, "{grown} bytes more than before");
    }
    let metrics = |process: &Process| String::from_utf8(process.request("GET", "/metrics", &[], b"").body).unwrap();
    let misses = [&a, &b]
        .map(|process| counted(&metrics(process), "meshstore_bus_requests_total{operation=\"pull\",status=\"4xx\"}"));
    assert_eq!(misses.iter().sum::<u64>(), 11_000);
    assert!(misses.iter().all(|misses| *misses > 2_000), "both take part: {misses:?}");
    // Who knows that it is there by now is not told of its absence, and the others are not for long.
    let put = a.put("c/none", b"now").expect(201);
    let seen = [("Mesh-Address", "c/none"), ("Mesh-Session", put.header("mesh-session").unwrap())];
    assert_eq!(client.ask("mesh.edge.b.pull", &seen, b"").body, b"now");
    assert_eq!(client.ask("mesh.edge.b.pull", &seen[..1], b"").body, b"now");
}

pub fn counted(metrics: &str, series: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse::<f64>().unwrap() as u64)
}

#[test]
fn of_many_who_start_together_with_one_name_one_runs() {
    let site = Site::new();
    for _ in 0..2 {
        let began = Instant::now();
        let outcomes = std::thread::scope(|scope| {
            let starts = [0, 1, 2, 3].map(|_| scope.spawn(|| site.attempt("twin", &[])));
            starts.map(|start| start.join().unwrap())
        });
        let refused: Vec<&Refused> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(refused.len(), 3, "{:?}", outcomes.map(|outcome| outcome.map(|process| process.said())));
        assert!(refused.iter().all(|refused| refused.stderr.contains("--name")), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

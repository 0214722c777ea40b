//! What a container tells of itself: its page of metrics, the traces it joins, its log lines, the
//! spans it sends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Connection, Process, body_of, object};
use crate::openmetrics::{Page, parse};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn page(process: &Process) -> Page {
    let answer = process.request("GET", "/metrics", &[], b"").expect(200);
    let media = answer.header("content-type");
    assert_eq!(media, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    parse(&text).unwrap_or_else(|fault| panic!("{fault} in\n{text}"))
}

/// Waits until something holds of the page.
fn page_when(process: &Process, what: &str, holds: impl Fn(&Page) -> bool) -> Page {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let page = page(process);
        if holds(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{what}: {page:?}");
    }
}

#[test]
fn the_page_holds_under_load_and_counters_never_go_back() {
    let process = Process::start(&[]);
    let mut before: Option<Page> = None;
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..3)
            .map(|worker| {
                let process = &process;
                scope.spawn(move || {
                    let mut door = process.connect();
                    for round in 0..60 {
                        let path = object(&format!("load/{worker}-{}", round % 7));
                        door.request("PUT", &path, &[], &body_of("load/x", round, 1000)).unwrap().expect(201);
                        door.request("GET", &path, &[], b"").unwrap().expect(200);
                        door.request("GET", &object("load/none"), &[], b"").unwrap().expect(404);
                        door.request("DELETE", &path, &[], b"").unwrap().expect(204);
                    }
                })
            })
            .collect();
        while load.iter().any(|worker| !worker.is_finished()) {
            let now = page(&process);
            if let Some(before) = &before {
                now.follows(before).unwrap();
            }
            before = Some(now);
        }
        load.into_iter().for_each(|worker| worker.join().unwrap());
    });
    let page = page(&process);
    page.follows(&before.unwrap()).unwrap();
    let objects = "/v1/objects/{collection}/{key}";
    for (method, status, count) in [("GET", "2xx", 180.0), ("GET", "4xx", 180.0), ("DELETE", "2xx", 180.0)] {
        let labels = [("method", method), ("route", objects), ("status", status)];
        assert_eq!(page.value("meshstore_http_requests_total", &labels), Some(count), "{method} {status}");
    }
    assert_eq!(page.value("meshstore_pushes_total", &[("outcome", "ok"), ("level", "disk")]), Some(180.0));
    assert_eq!(page.value("meshstore_deletes_total", &[("outcome", "ok")]), Some(180.0));
    assert_eq!(page.value("meshstore_http_received_bytes_total", &[]), Some(180_000.0));
    let counted = |name: &str| page.value(name, &[]).unwrap();
    assert!(counted("meshstore_http_sent_bytes_total") > 180_000.0);
    assert!(counted("meshstore_commit_duration_seconds_count") >= 1.0);
    assert!(counted("meshstore_commit_duration_seconds_sum") > 0.0);
    let timed = [("method", "PUT"), ("route", objects)];
    assert_eq!(page.value("meshstore_http_request_duration_seconds_count", &timed), Some(180.0));
    for what in ["file", "folder"] {
        assert!(page.value("meshstore_sync_duration_seconds_count", &[("what", what)]).unwrap() > 0.0, "{what}");
    }
}

#[test]
fn the_page_tells_of_levels_actors_permits_and_the_process() {
    let process = Process::start(&["--set", "memory.level1_bytes=1MiB"]);
    let dirty = [("Mesh-Durability", "ram")];
    process.request("PUT", &object("levels/dirty"), &dirty, &body_of("levels/dirty", 1, 5000)).expect(201);
    process.put("levels/kept", &body_of("levels/kept", 1, 60_000)).expect(201);
    let first = page(&process);
    let at = |page: &Page, name: &str, level: &str| page.value(name, &[("level", level)]).unwrap();
    assert_eq!(at(&first, "meshstore_level_objects", "ram"), 2.0);
    assert_eq!(at(&first, "meshstore_level_objects", "disk"), 1.0);
    assert!(at(&first, "meshstore_level_bytes", "ram") >= 65_000.0);
    assert!(at(&first, "meshstore_level_bytes", "disk") >= 60_000.0);
    assert_eq!(at(&first, "meshstore_level_dirty_objects", "ram"), 1.0);
    assert_eq!(at(&first, "meshstore_level_dirty_bytes", "ram"), 5000.0);
    assert_eq!(at(&first, "meshstore_level_budget_bytes", "ram"), f64::from(1 << 20));

    // More than level 1 holds: what came first has to go, and is read back from disk.
    for n in 0..40 {
        process.put(&format!("levels/more-{n}"), &body_of("levels/more", n, 60_000)).expect(201);
    }
    let read = |n: u64| drop(process.get(&format!("levels/more-{n}")).expect(200));
    (0..40).for_each(read);
    process.get("levels/none").expect(404);
    // A push goes straight into the commit queue; a delete asks the disk actor.
    process.delete("levels/none").expect(204);
    let then = page(&process);
    then.follows(&first).unwrap();
    assert!(at(&then, "meshstore_level_evictions_total", "ram") >= 20.0);
    let (ram, disk) = (at(&then, "meshstore_level_hits_total", "ram"), at(&then, "meshstore_level_hits_total", "disk"));
    assert_eq!(ram + disk, 40.0, "{ram} {disk}");
    assert_eq!(at(&then, "meshstore_level_misses_total", "ram"), disk + 1.0);
    assert_eq!(at(&then, "meshstore_level_misses_total", "disk"), 1.0);

    for actor in ["container", "memory", "eviction", "disk", "nfr"] {
        let told = |name: &str| then.value(name, &[("actor", actor)]).unwrap_or_else(|| panic!("{name} of {actor}"));
        assert!(told("meshstore_actor_queue_limit") > told("meshstore_actor_queued_messages"));
        assert_eq!(told("meshstore_actor_restarts_total"), 0.0);
        let waited = told("meshstore_actor_wait_seconds_count");
        assert!(waited > 0.0 || actor == "memory" || actor == "eviction", "{actor} was never asked");
    }
    let told = |name: &str| then.value(name, &[]).unwrap_or_else(|| panic!("no {name}"));
    assert!(told("process_resident_memory_bytes") > 1e6 && told("process_open_fds") > 3.0);
    assert!(told("process_start_time_seconds") > 1.6e9 && told("process_cpu_seconds_total") >= 0.0);
    assert_eq!((told("meshstore_ready"), told("meshstore_permits_refused_total")), (1.0, 0.0));
    assert_eq!(then.value("meshstore_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let process = Process::start(&[]);
    let doors: Vec<Connection> = (0..5)
        .map(|_| {
            let mut door = process.connect();
            door.request("GET", "/healthz", &[], b"").unwrap().expect(200);
            door
        })
        .collect();
    let open = |page: &Page| page.value("meshstore_http_connections", &[]).unwrap();
    // The page itself is asked for on a connection, too.
    let with = page(&process);
    assert!(open(&with) >= 6.0, "{}", open(&with));
    drop(doors);
    let without = page_when(&process, "connections go", |page| open(page) <= 2.0);
    assert!(without.value("meshstore_http_connections_opened_total", &[]).unwrap() >= 7.0);
}

#[test]
fn names_from_outside_make_no_series() {
    let process = Process::start(&[]);
    for n in 0..20 {
        process.request("GET", &format!("/nowhere/{n}"), &[], b"").expect(404);
        process.request(&format!("BREW{n}"), "/v1/objects/a/b", &[], b"");
        process.put(&format!("names-{n}/planted-{n}"), b"x").expect(201);
    }
    let answer = process.request("GET", "/metrics", &[], b"").expect(200);
    let text = String::from_utf8(answer.body).unwrap();
    for planted in ["nowhere", "BREW", "names-", "planted"] {
        assert!(!text.contains(planted), "{planted} in\n{text}");
    }
    let page = parse(&text).unwrap();
    let labels = [("method", "GET"), ("route", "other"), ("status", "4xx")];
    assert_eq!(page.value("meshstore_http_requests_total", &labels), Some(20.0));
}

#[test]
fn the_page_takes_get_and_head_alone() {
    let process = Process::start(&[]);
    let head = process.request("HEAD", "/metrics", &[], b"").expect(200);
    assert!(head.header("content-length").unwrap().parse::<u64>().unwrap() > 1000);
    process.request("POST", "/metrics", &[], b"").expect_problem(405, "invalid");
    process.request("GET", "/metrics?format=json", &[], b"").expect_problem(400, "invalid");
}

#[test]
fn a_request_joins_the_trace_of_its_caller() {
    let process = Process::start(&[]);
    process.put("trace/k", b"x").expect(201);
    for (method, path) in [("GET", object("trace/k")), ("PUT", object("trace/l")), ("GET", "/nowhere".to_owned())] {
        let headers = [("traceparent", CALLER), ("tracestate", "vendor=a"), ("tracestate", "b@c=d")];
        let answer = process.request(method, &path, &headers, b"");
        let told = answer.header("traceparent").unwrap();
        assert_eq!((told.len(), &told[..36], &told[52..]), (55, format!("00-{TRACE}-").as_str(), "-01"));
        assert_ne!(&told[36..52], &CALLER[36..52], "a span of its own");
        assert_eq!(answer.header("tracestate"), Some("vendor=a,b@c=d"));
    }
    let answer = process.request("GET", &object("trace/k"), &[("traceparent", CALLER), ("tracestate", "A,=")], b"");
    assert!(answer.header("traceparent").unwrap().contains(TRACE));
    assert_eq!(answer.header("tracestate"), None);
}

#[test]
fn a_malformed_traceparent_starts_a_new_trace_and_is_no_error() {
    let process = Process::start(&[]);
    process.put("trace/k", b"x").expect(201);
    let upper = CALLER.to_uppercase();
    let long = "0".repeat(4000);
    let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    for bad in ["", "x", &CALLER[1..], &upper, &zero, &long, "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]
    {
        let headers = [("traceparent", bad), ("tracestate", "vendor=a")];
        let answer = process.request("GET", &object("trace/k"), &headers, b"").expect(200);
        let told = answer.header("traceparent").unwrap();
        assert!(told.len() == 55 && !told.contains(TRACE) && told.starts_with("00-"), "{bad}: {told}");
        assert_eq!(answer.header("tracestate"), None, "the state goes with the trace");
    }
    // Nobody asked and all is well: nothing is told. Something to look up: it is.
    assert_eq!(process.get("trace/k").expect(200).header("traceparent"), None);
    assert!(process.get("trace/none").expect(404).header("traceparent").is_some());
    let twice = [("traceparent", CALLER), ("traceparent", CALLER)];
    let answer = process.request("GET", &object("trace/k"), &twice, b"").expect(200);
    assert!(!answer.header("traceparent").unwrap().contains(TRACE));
}

#[test]
fn log_lines_name_their_trace_and_no_secret() {
    let args = ["--set", "log.level=trace", "--set", "log.format=json"];
    let mut process = Process::start(&args);
    let planted = "planted-0c9ef1";
    let headers = [
        ("traceparent", CALLER),
        ("Authorization", "Bearer planted-0c9ef1"),
        ("Mesh-Meta-Note", planted),
        ("Cookie", planted),
    ];
    process.request("PUT", &object("logs/k"), &headers, planted.as_bytes());
    process.request("GET", &object("logs/k"), &headers, b"");
    process.request("GET", &format!("/nowhere?token={planted}"), &headers, b"").expect(401);
    process.terminate();
    let said = process.said();
    assert!(!said.contains(planted), "{said}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of_request = |line: &&Value| line["message"] == "request" && line["method"] == "PUT";
    let line = lines.iter().find(of_request).unwrap_or_else(|| panic!("no line of the request in {said}"));
    assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str().map(str::len)), (Some(TRACE), Some(16)));
    for line in &lines {
        for key in ["timestamp", "level", "target", "site", "container", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
}

#[test]
fn log_lines_are_for_people_where_that_is_wanted() {
    let mut process = Process::start(&["--set", "log.level=info", "--set", "log.format=human"]);
    process.terminate();
    let said = process.said();
    assert!(said.contains("INFO") && said.lines().all(|line| !line.starts_with('{')), "{said}");
}

/// A collector on loopback: what is posted to it, with the path.
fn collector(answers: &'static str) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, posted) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, told) = (stream.unwrap(), told.clone());
            std::thread::spawn(move || {
                while let Some(post) = read_post(&mut stream) {
                    let answer = format!("HTTP/1.1 {answers}\r\nContent-Length: 2\r\n\r\n{{}}");
                    if stream.write_all(answer.as_bytes()).is_err() || told.send(post).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, posted)
}

fn read_post(stream: &mut impl Read) -> Option<(String, Value)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).ok()?;
    Some((head.lines().next().unwrap().to_owned(), serde_json::from_slice(&body).unwrap()))
}

#[test]
fn spans_reach_the_collector() {
    let (url, posted) = collector("200 OK");
    let process = Process::start(&["--set", &format!("telemetry.otlp_url={url}"), "--site", "edge"]);
    let headers = [("traceparent", CALLER), ("tracestate", "vendor=a")];
    process.request("PUT", &object("spans/k"), &headers, b"12345").expect(201);
    process.get("spans/k").expect(200);
    let mut spans: Vec<Value> = Vec::new();
    while spans.len() < 2 {
        let (line, batch) = posted.recv_timeout(Duration::from_secs(20)).expect("a batch");
        assert_eq!(line, "POST /v1/traces HTTP/1.1");
        let resource = &batch["resourceSpans"][0];
        let text = resource["resource"]["attributes"].to_string();
        assert!(text.contains("service.name") && text.contains("\"edge\""), "{text}");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
    }
    let put = &spans[0];
    assert_eq!((put["traceId"].as_str(), put["parentSpanId"].as_str()), (Some(TRACE), Some(&CALLER[36..52])));
    assert_eq!((put["name"].as_str(), put["kind"].as_u64()), (Some("PUT /v1/objects/{collection}/{key}"), Some(2)));
    assert_eq!(put["traceState"], "vendor=a");
    let attributes: BTreeMap<&str, &Value> = put["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attribute| (attribute["key"].as_str().unwrap(), &attribute["value"]))
        .collect();
    assert_eq!(attributes["http.response.status_code"]["intValue"], "201");
    let nanos = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos(put, "startTimeUnixNano") < nanos(put, "endTimeUnixNano"));
    assert!(spans[1].get("parentSpanId").is_none(), "nobody asked for the second one with a trace");
    page_when(&process, "the spans are counted", |page| {
        page.value("meshstore_spans_total", &[("outcome", "exported")]).is_some_and(|count| count >= 2.0)
    });
}

#[test]
fn a_collector_that_is_not_there_costs_drops_and_one_line() {
    // A port that was free a moment ago; nobody listens there.
    let url = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let set = format!("telemetry.otlp_url={url}");
    let mut process = Process::start(&["--set", &set, "--set", "log.format=json", "--set", "log.level=info"]);
    process.put("spans/k", b"x").expect(201);
    let mut door = process.connect();
    let path = object("spans/k");
    for _ in 0..6000 {
        door.request("GET", &path, &[], b"").unwrap().expect(200);
    }
    let spans = |page: &Page, outcome: &str| page.value("meshstore_spans_total", &[("outcome", outcome)]).unwrap();
    let page = page_when(&process, "spans are dropped", |page| spans(page, "dropped") > 0.0);
    assert_eq!(spans(&page, "exported"), 0.0);
    assert!(page.value("meshstore_spans_queued", &[]).unwrap() <= 4096.0);
    process.terminate();
    let said = process.said();
    let lines = said.lines().filter(|line| line.contains("collector")).count();
    assert_eq!(lines, 1, "{said}");
}

//! What an operator sees of a container, and what it does when told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Process, Response, body_of, object};

const PATIENCE: Duration = Duration::from_secs(30);

fn show(process: &Process, path: &str) -> Value {
    let answer = process.request("GET", &format!("/v1/admin/{path}"), &[], b"").expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    answer.json()
}

fn ask(process: &Process, path: &str, body: &Value) -> Response {
    process.request("POST", &format!("/v1/admin/{path}"), &[], body.to_string().as_bytes())
}

/// The item of a list that has this value under this name.
fn named<'a>(list: &'a Value, name: &str, value: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item[name] == value);
    found.unwrap_or_else(|| panic!("{value} is not in {list}"))
}

fn put_in_memory(process: &Process, address: &str, body: &[u8]) {
    process.request("PUT", &object(address), &[("Mesh-Durability", "ram")], body).expect(201);
}

fn level(process: &Process, level: &str) -> Value {
    named(&show(process, "tiers")["tiers"], "level", level).clone()
}

#[test]
fn tiers_tell_what_is_where_and_how_it_served() {
    let process = Process::start(&[]);
    process.put("tiers/a", &body_of("tiers/a", 1, 5_000)).expect(201);
    process.put("tiers/b", &body_of("tiers/b", 1, 90_000)).expect(201);
    put_in_memory(&process, "tiers/dirty", &[7; 1_000]);
    process.get("tiers/a").expect(200);
    process.get("tiers/none").expect_problem(404, "not_found");
    let (ram, disk) = (level(&process, "ram"), level(&process, "disk"));
    assert_eq!((ram["objects"].as_u64(), disk["objects"].as_u64()), (Some(3), Some(2)));
    assert_eq!((ram["dirty_objects"].as_u64(), ram["dirty_bytes"].as_u64()), (Some(1), Some(1_000)));
    assert!(ram["bytes"].as_u64() > Some(96_000) && disk["bytes"].as_u64() > Some(95_000), "{ram} {disk}");
    assert!(ram["hits"].as_u64() >= Some(1) && ram["misses"].as_u64() >= Some(1), "{ram}");
    assert_eq!(disk["misses"], 1);
    let (fill, ratio) = (ram["fill"].as_f64().unwrap(), ram["hit_ratio"].as_f64().unwrap());
    assert!(fill > 0.0 && fill < 1.0 && ratio > 0.0 && ratio < 1.0, "{ram}");
    assert_eq!((ram["quarantined"].as_u64(), ram["evictions"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn objects_of_a_level_come_in_order_page_by_page() {
    let process = Process::start(&[]);
    // By the bytes of collection and key, where `a` comes before `a-b`.
    let addresses = ["a/1", "a/2", "a/x/1", "a-b/1", "b/1"];
    addresses.iter().rev().for_each(|address| drop(process.put(address, b"x").expect(201)));
    for level in ["ram", "disk"] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = show(&process, &format!("tiers/{level}/objects?limit=2&after={after}"));
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item["address"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, addresses, "{level}");
        let below = show(&process, &format!("tiers/{level}/objects?prefix=a/"));
        assert_eq!(below["items"].as_array().unwrap().len(), 3, "{level}");
        assert_eq!(below["items"][0]["size"], 1);
    }
    let path = "/v1/admin/tiers";
    for bad in ["tape/objects", "disk/objects?limit=0", "disk/objects?after=nokey", "disk/objects?frob=1"] {
        process.request("GET", &format!("{path}/{bad}"), &[], b"").expect_problem(400, "invalid");
    }
    process.request("GET", &format!("{path}/cloud/objects"), &[], b"").expect_problem(501, "unimplemented");
}

#[test]
fn actors_queues_container_and_configuration_are_told() {
    let process = Process::start_with_env(&["--set", "limits.requests_max=77"], &[("MESHSTORE__LOG__LEVEL", "error")]);
    let actors = show(&process, "actors");
    for name in ["container", "memory", "eviction", "disk", "nfr", "sync", "scrub", "keys"] {
        let actor = named(&actors["actors"], "name", name);
        assert!(actor["bound"].as_u64() > Some(0), "{actor}");
        assert_eq!((&actor["restarts"], &actor["last_error"]), (&json!(0), &Value::Null));
    }
    let queues = show(&process, "queues");
    for name in ["commit", "discards", "requests", "bodies"] {
        assert!(named(&queues["queues"], "name", name)["used"].is_u64());
    }
    assert_eq!(named(&queues["queues"], "name", "requests")["bound"], 77);
    let containers = show(&process, "containers");
    let here = named(&containers["containers"], "name", "c1");
    assert_eq!((here["site"].as_str(), here["ready"].as_bool()), (Some("local"), Some(true)));
    assert_eq!((here["pid"].as_u64(), here["version"].as_str()), (Some(process.pid().into()), Some("0.1.0")));
    assert_eq!(here["http"], format!("http://{}", process.addr()));
    assert_eq!(here["recovery"]["orphans"], 0);
    let config = show(&process, "config");
    let key = |name| named(&config["config"], "key", name).clone();
    let told = key("limits.requests_max");
    assert_eq!((told["value"].as_str(), told["from"].as_str()), (Some("77"), Some("flag")));
    assert_eq!(key("log.level")["from"], "flag", "the harness names it");
    assert_eq!(key("http.addr")["value"], "127.0.0.1:0");
    assert_eq!(key("site.name")["from"], "default");
}

#[test]
fn a_value_of_a_variable_is_told_with_its_variable() {
    let process = Process::start_with_env(&[], &[("MESHSTORE__SITE__NAME", "edge")]);
    let config = show(&process, "config");
    assert_eq!(named(&config["config"], "key", "site.name")["from"], "MESHSTORE__SITE__NAME");
}

#[test]
fn eviction_by_request_keeps_the_rules() {
    let process = Process::start(&[]);
    for n in 0..6 {
        process.put(&format!("clean/{n}"), &body_of("clean", n, 20_000)).expect(201);
    }
    let dirty = body_of("dirty/only", 1, 50_000);
    put_in_memory(&process, "dirty/only", &dirty);
    // What memory alone holds is on disk before it leaves.
    let told =
        ask(&process, "evict", &json!({"level": "ram", "collection": "dirty", "key": "only"})).expect(200).json();
    assert_eq!(told["objects"], 1);
    let read = process.head("dirty/only").expect(200);
    assert_eq!(read.header("mesh-level"), Some("disk"));
    assert!(process.get("dirty/only").expect(200).body == dirty);
    // A part of a collection, then what is left of it.
    let told =
        ask(&process, "evict", &json!({"level": "ram", "collection": "clean", "bytes": 30_000})).expect(200).json();
    assert_eq!(told["objects"], 2, "{told}");
    let told = ask(&process, "evict", &json!({"level": "ram", "collection": "clean"})).expect(200).json();
    assert_eq!(told["objects"], 4, "{told}");
    assert!(level(&process, "ram")["evictions"].as_u64() >= Some(7));
    // By the policy's choice.
    (0..3).for_each(|n| drop(process.put(&format!("clean/{n}"), &[1; 20_000]).expect(200)));
    let told = ask(&process, "evict", &json!({"level": "ram", "bytes": 1})).expect(200).json();
    assert!(told["bytes"].as_u64() >= Some(1), "{told}");
    ask(&process, "evict", &json!({"level": "ram"})).expect(200);
    assert_eq!(level(&process, "ram")["objects"], 0);
    for n in 0..6 {
        process.get(&format!("clean/{n}")).expect(200);
    }
}

#[test]
fn wrong_requests_to_the_admin_door_are_refused_by_name() {
    let process = Process::start(&[]);
    for (body, status, kind) in [
        (json!({"level": "tape"}), 400, "invalid"),
        (json!({}), 400, "invalid"),
        (json!([]), 400, "invalid"),
        (json!({"level": "ram", "frob": 1}), 400, "invalid"),
        (json!({"level": "ram", "key": "k"}), 400, "invalid"),
        (json!({"level": "ram", "bytes": 0}), 400, "invalid"),
        (json!({"level": "ram", "bytes": -1}), 400, "invalid"),
        (json!({"level": "ram", "collection": "UP"}), 400, "invalid"),
        (json!({"level": "ram", "collection": "c", "key": "../k"}), 400, "invalid"),
        (json!({"level": "x".repeat(70_000)}), 413, "too_large"),
    ] {
        ask(&process, "evict", &body).expect_problem(status, kind);
    }
    ask(&process, "drain", &json!({"really": true})).expect_problem(400, "invalid");
    process.request("POST", "/v1/admin/recover", &[], b"").expect_problem(501, "unimplemented");
    process.request("GET", "/v1/admin/frob", &[], b"").expect_problem(404, "not_found");
    for (method, path, allow) in [("POST", "tiers", "GET"), ("GET", "drain", "POST"), ("DELETE", "actors", "GET")] {
        let refused = process.request(method, &format!("/v1/admin/{path}"), &[], b"").expect(405);
        assert_eq!(refused.header("allow"), Some(allow));
    }
    // A page of another origin must not drain a container.
    let page = [("Origin", "http://evil.example")];
    process.request("POST", "/v1/admin/drain", &page, b"").expect_problem(403, "forbidden");
    process.request("GET", "/readyz", &[], b"").expect(200);
}

#[test]
fn a_drained_container_is_read_and_not_changed_until_it_is_started_anew() {
    let mut process = Process::start(&[]);
    put_in_memory(&process, "drain/only", b"in memory alone");
    process.put("drain/durable", b"durable").expect(201);
    let told = ask(&process, "drain", &json!({})).expect(200).json();
    assert_eq!((&told["objects"], &told["bytes"]), (&json!(1), &json!(15)));
    process.request("GET", "/readyz", &[], b"").expect_problem(503, "unavailable");
    process.put("drain/later", b"x").expect_problem(503, "unavailable");
    process.request("DELETE", &object("drain/durable"), &[], b"").expect_problem(503, "unavailable");
    process.request("PUT", "/v1/collections/drain", &[], b"").expect_problem(503, "unavailable");
    process.request("DELETE", "/v1/collections/none", &[], b"").expect_problem(503, "unavailable");
    assert_eq!(process.get("drain/only").expect(200).body, b"in memory alone");
    assert_eq!(process.get("drain/durable").expect(200).body, b"durable");
    // Asked again it has nothing left to do.
    assert_eq!(ask(&process, "drain", &json!({})).expect(200).json()["objects"], 0);
    process.kill9();
    process.restart();
    process.request("GET", "/readyz", &[], b"").expect(200);
    assert_eq!(process.get("drain/only").expect(200).body, b"in memory alone");
    process.put("drain/later", b"x").expect(201);
}

#[test]
fn a_drain_waits_for_pushes_at_work() {
    let process = Process::start(&[]);
    let body = body_of("drain/slow", 1, 3_000_000);
    let mut slow = process.connect();
    slow.begin("PUT", &object("drain/slow"), &[], body.len() as u64).unwrap();
    slow.send(&body[..2_000_000]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while named(&show(&process, "queues")["queues"], "name", "requests")["used"] == 0 {
        assert!(Instant::now() < deadline, "the push never began");
    }
    let headers = [("Mesh-Deadline-Ms", "100")];
    process.request("POST", "/v1/admin/drain", &headers, b"").expect_problem(504, "deadline");
    slow.send(&body[2_000_000..]).unwrap();
    assert_eq!(slow.answer().unwrap().status, 201, "a push that was at work is finished");
    ask(&process, "drain", &json!({})).expect(200);
    assert!(process.get("drain/slow").expect(200).body == body);
}

#[test]
fn the_command_line_shows_tables_and_json() {
    let process = Process::start(&[]);
    process.put("cli/a", &[1; 3_000]).expect(201);
    let run = |args: &[&str]| {
        let output = process.cli(args, b"");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let tiers = run(&["admin", "tiers"]);
    assert!(tiers.starts_with("LEVEL") && tiers.contains("\nram ") && tiers.contains("\ndisk "), "{tiers}");
    assert!(run(&["admin", "actors"]).contains("eviction"));
    assert!(run(&["admin", "queues"]).contains("commit"));
    assert!(run(&["admin", "containers"]).contains("local"));
    assert!(run(&["admin", "config"]).contains("limits.requests_max"));
    let line: Value = serde_json::from_str(&run(&["admin", "objects", "disk", "cli/", "--json"])).unwrap();
    assert_eq!((line["address"].as_str(), line["size"].as_u64()), (Some("cli/a"), Some(3_000)));
    let told: Value = serde_json::from_str(&run(&["admin", "evict", "cli/a", "--json"])).unwrap();
    assert_eq!(told["objects"], 1);
    assert!(run(&["admin", "drain"]).contains("drained: 0 objects"));
    let refused = process.cli(&["admin", "objects", "tape"], b"");
    assert_eq!(refused.status.code(), Some(10), "an invalid level");
}

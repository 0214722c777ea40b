//! Push and pull on subjects, as any NATS client meets them: over the plain text protocol.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use super::harness::*;
use super::nats_client::{Heard, NatsClient};
use super::nats_server::NatsServer;

const ADDRESS: (&str, &str) = ("Mesh-Address", "meteo/today/a b.csv");

fn start(args: &[&str]) -> (NatsServer, Process, NatsClient) {
    let server = NatsServer::start();
    let url = server.url().to_owned();
    let process = Process::start(&[&["--site", "edge", "--bus", &url], args].concat());
    let client = NatsClient::connect(&url);
    (server, process, client)
}

fn expect(answer: &Heard, status: &str) {
    assert_eq!(answer.header("Mesh-Status"), Some(status), "{answer:?} {}", String::from_utf8_lossy(&answer.body));
}

fn expect_error(answer: &Heard, code: u16, kind: &str, word: &str) {
    assert_eq!(answer.header("Nats-Service-Error-Code"), Some(code.to_string().as_str()), "{answer:?}");
    assert_eq!(answer.json()["kind"], kind);
    let said = answer.header("Nats-Service-Error").unwrap();
    assert!(said.contains(word), "{said}");
}

#[test]
fn an_object_goes_in_and_out_over_subjects_and_is_the_one_that_http_sees() {
    let (_server, process, mut client) = start(&[]);
    let headers = [ADDRESS, ("Content-Type", "text/csv"), ("Mesh-Meta-Station", "7"), ("Mesh-Durability", "disk")];
    let pushed = client.ask("mesh.edge.push", &headers, b"time,temp\n1,20.5\n");
    expect(&pushed, "201");
    assert_eq!(pushed.header("Mesh-Durability"), Some("disk"));
    let version = pushed.header("Mesh-Version").unwrap().to_owned();
    assert_eq!(pushed.json()["version"], version.as_str());
    assert!(pushed.header("Mesh-Session").is_some());
    let seen = process.get("meteo/today/a%20b.csv");
    assert_eq!((seen.status, seen.body.as_slice()), (200, b"time,temp\n1,20.5\n".as_slice()));
    assert_eq!(seen.header("mesh-meta-station"), Some("7"));

    let pulled = client.ask("mesh.edge.pull", &[ADDRESS], b"");
    expect(&pulled, "200");
    assert_eq!(pulled.body, seen.body);
    assert_eq!((pulled.header("Content-Type"), pulled.header("Mesh-Meta-Station")), (Some("text/csv"), Some("7")));
    assert_eq!(pulled.header("Mesh-Version"), Some(version.as_str()));
    let part = client.ask("mesh.edge.c1.pull", &[ADDRESS, ("Mesh-Range", "5-8")], b"");
    expect(&part, "206");
    assert_eq!((part.text(), part.header("Content-Range")), ("temp", Some("bytes 5-8/17")));
    let head = client.ask("mesh.edge.head", &[ADDRESS], b"");
    assert_eq!((head.header("Mesh-Size"), head.body.len()), (Some("17"), 0));

    expect(&client.ask("mesh.edge.push", &[ADDRESS], b"second"), "200");
    assert_eq!(client.ask("mesh.edge.pull", &[ADDRESS], b"").text(), "second");
    let old = client.ask("mesh.edge.pull", &[ADDRESS, ("Mesh-Version", &version)], b"");
    assert_eq!(old.body, seen.body);
    let stale = client.ask("mesh.edge.push", &[ADDRESS, ("If-Match", &format!("\"{version}\""))], b"third");
    expect_error(&stale, 412, "precondition_failed", "");

    let listed = client.ask("mesh.edge.list", &[("Mesh-Address", "meteo"), ("Mesh-Prefix", "today/")], b"").json();
    assert_eq!(listed["items"][0]["key"], "today/a b.csv");
    expect(&client.ask("mesh.edge.delete", &[ADDRESS], b""), "204");
    expect_error(&client.ask("mesh.edge.pull", &[ADDRESS], b""), 404, "not_found", "");
    let metrics = String::from_utf8(process.request("GET", "/metrics", &[], b"").body).unwrap();
    let counted: Vec<&str> = metrics.lines().filter(|line| line.starts_with("meshstore_bus_requests_total")).collect();
    let pulls = "meshstore_bus_requests_total{operation=\"pull\",status=\"2xx\"} 4";
    assert!(counted.contains(&pulls), "{counted:?}");
}

#[test]
fn metadata_that_http_takes_comes_out_on_subjects() {
    let (_server, process, mut client) = start(&[]);
    let headers = [("Mesh-Meta-From", "édge"), ("Mesh-Meta-Tab", "a\tb"), ("Content-Type", "text/plain")];
    process.request("PUT", "/v1/objects/c/k", &headers, b"x").expect(201);
    let pulled = client.ask("mesh.edge.pull", &[("Mesh-Address", "c/k")], b"");
    expect(&pulled, "200");
    assert_eq!((pulled.header("Mesh-Meta-From"), pulled.header("Mesh-Meta-Tab")), (Some("édge"), Some("a b")));
}

#[test]
fn who_asks_too_often_is_told_so_on_subjects_too() {
    let (_server, _process, mut client) = start(&["--set", "limits.requests_per_s=5"]);
    let answers: Vec<Heard> = (0..12).map(|_| client.ask("mesh.edge.head", &[("Mesh-Address", "c/k")], b"")).collect();
    expect_error(answers.last().unwrap(), 429, "busy", "");
    assert_eq!(answers.last().unwrap().header("Retry-After"), Some("1"));
}

#[test]
fn a_server_that_others_can_reach_is_joined_only_with_tokens() {
    let server = NatsServer::listening_at("0.0.0.0");
    let refused = Process::refused(&["--bus", server.url()], &[]);
    assert!(refused.stderr.contains("auth.required"), "{}", refused.stderr);
    let process = Process::start(&["--bus", server.url(), "--set", "auth.required=true"]);
    let mut client = NatsClient::connect(server.url());
    expect_error(&client.ask("mesh.local.pull", &[ADDRESS], b""), 401, "unauthorised", "");
    drop(process);
}

#[test]
fn a_push_without_a_reply_subject_is_told_to_who_listens() {
    let (_server, _process, mut client) = start(&[]);
    client.subscribe("mesh.event.edge.push");
    client.publish("mesh.edge.push", "", &[("Mesh-Address", "c/k")], b"x");
    let told = client.next();
    assert_eq!((told.subject.as_str(), told.header("Mesh-Address")), ("mesh.event.edge.push", Some("c/k")));
    expect(&told, "201");
    client.publish("mesh.edge.push", "", &[("Mesh-Address", "c/k"), ("Mesh-Nfr", "encrypt=rot13")], b"x");
    let told = client.next();
    assert_eq!(told.header("Mesh-Address"), Some("c/k"));
    expect_error(&told, 400, "invalid", "rot13");
}

#[test]
fn what_happened_last_is_told_before_a_container_ends() {
    let (_server, mut process, mut client) = start(&[]);
    client.subscribe("mesh.event.edge.push");
    // The server answers in order, so it has taken the subscription by then.
    expect_error(&client.ask("mesh.edge.c1.pull", &[ADDRESS], b""), 404, "not_found", "");
    // Pushed until it refuses: the last one was acknowledged just before the end.
    let mut connection = process.connect();
    let mut pushed = 0;
    loop {
        match connection.request("PUT", &object(&format!("c/{pushed}")), &[], b"x") {
            Ok(answer) if answer.status == 201 => pushed += 1,
            _ => break,
        }
        if pushed == 50 {
            process.signal("TERM");
        }
    }
    assert!(pushed >= 50);
    process.ended();
    let mut told = std::collections::BTreeSet::new();
    while told.len() < pushed {
        let heard = client.next_within(Duration::from_secs(5));
        let heard = heard.unwrap_or_else(|| panic!("{} of {pushed} were told", told.len()));
        told.insert(heard.header("Mesh-Address").unwrap().to_owned());
    }
}

#[test]
fn a_batch_is_one_message() {
    let (_server, process, mut client) = start(&[]);
    let part = |key: &str| {
        format!(
            "--b\r\nContent-Type: application/http\r\n\r\nPUT /v1/objects/c/{key} HTTP/1.1\r\nContent-Length: 1\r\n\r\n{key}\r\n"
        )
    };
    let body = format!("{}{}--b--\r\n", part("1"), part("2"));
    let headers = [("Content-Type", "multipart/mixed; boundary=b")];
    let answer = client.ask("mesh.edge.batch", &headers, body.as_bytes());
    expect(&answer, "200");
    assert_eq!(answer.text().matches("HTTP/1.1 201").count(), 2, "{}", answer.text());
    assert_eq!(process.get("c/2").body, b"2");
}

#[test]
fn services_are_found_by_the_convention() {
    let (_server, _process, mut client) = start(&[]);
    client.ask("mesh.edge.push", &[ADDRESS], b"x");
    client.ask("mesh.edge.pull", &[("Mesh-Address", "c/none")], b"");
    let ping = client.ask("$SRV.PING", &[], b"").json();
    assert_eq!((&ping["name"], &ping["type"]), (&"meshstore".into(), &"io.nats.micro.v1.ping_response".into()));
    assert_eq!(ping["metadata"]["site"], "edge");
    let info = client.ask("$SRV.INFO.meshstore", &[], b"").json();
    assert!(info["endpoints"].as_array().unwrap().iter().any(|one| one["subject"] == "mesh.edge.pull"), "{info}");
    let id = ping["id"].as_str().unwrap();
    let stats = client.ask(&format!("$SRV.STATS.meshstore.{id}"), &[], b"").json();
    let of =
        |name: &str| stats["endpoints"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!((&of("push")["num_requests"], &of("push")["num_errors"]), (&1.into(), &0.into()));
    assert_eq!((&of("pull")["num_requests"], &of("pull")["num_errors"]), (&1.into(), &1.into()));
    assert!(of("push")["processing_time"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_wrong_is_said_in_the_headers_of_the_convention() {
    let (_server, process, mut client) = start(&[]);
    process.put("c/k", b"0123456789").expect(201);
    let mut refused = |subject: &str, headers: &[(&str, &str)], code: u16, kind: &str, word: &str| {
        let answer = client.ask(subject, headers, b"");
        expect_error(&answer, code, kind, word);
    };
    let at = ("Mesh-Address", "c/k");
    refused("mesh.edge.pull", &[], 400, "invalid", "Mesh-Address");
    refused("mesh.edge.fly", &[at], 400, "invalid", "no such operation");
    refused("mesh.edge.locate", &[("Mesh-Address", "c/none")], 404, "not_found", "");
    refused("mesh.edge.head", &[("Mesh-Address", "c/none")], 404, "not_found", "");
    refused("mesh.edge.list", &[at], 400, "invalid", "");
    refused("mesh.edge.push", &[at, ("Mesh-Size", "9"), ("Mesh-Durability", "granite")], 400, "invalid", "granite");
    refused("mesh.edge.push", &[at, ("Mesh-Size", "9"), ("If-Match", "*")], 400, "invalid", "PUT");
    refused("mesh.edge.pull", &[("Mesh-Address", "c/../k")], 400, "invalid", "");
    refused("mesh.edge.pull", &[("Mesh-Address", "C/k")], 400, "invalid", "");
    refused("mesh.edge.pull", &[at, ("Mesh-Range", "90-99")], 416, "bad_range", "");
    refused("mesh.edge.pull", &[at, ("Mesh-Range", "x")], 416, "bad_range", "");
    refused("mesh.edge.pull", &[at, ("Mesh-Version", "yesterday")], 400, "invalid", "");
    refused("mesh.edge.pull", &[at, ("Mesh-Session", "forged")], 400, "invalid", "session");
    refused("mesh.edge.pull", &[at, ("Mesh-Deadline-Ms", "0")], 400, "invalid", "deadline");
    refused("mesh.edge.push", &[at, ("Mesh-Durability", "granite")], 400, "invalid", "granite");
    refused("mesh.edge.push", &[at, ("Mesh-Token", "wrong")], 401, "unauthorised", "");
    refused("mesh.edge.batch", &[], 400, "invalid", "multipart");
    process.put("c/large", &vec![7; 2 << 20]).expect(201);
    let large = ("Mesh-Address", "c/large");
    refused("mesh.edge.pull", &[large, ("Mesh-Range", "0-1999999")], 413, "too_large", "Mesh-Range");
    refused("mesh.edge.pull", &[large, ("Mesh-Inline-Max", "much")], 400, "invalid", "number");
    refused("mesh.edge.pull", &[at, ("Mesh-Ticket", "00")], 400, "invalid", "version");
    refused("mesh.edge.push", &[at, ("Mesh-Ticket", "00")], 401, "unauthorised", "ticket");
    refused("mesh.edge.push", &[at, ("Mesh-Size", "99999999999999999999")], 400, "invalid", "number");
    refused("mesh.edge.push", &[at, ("Mesh-Size", "9999999999999")], 413, "too_large", "");
    // Nobody is there for another site.
    let nobody = client.ask("mesh.fog.pull", &[at], b"");
    assert_eq!(nobody.header("Status"), Some("503"));
    // Missing keys by the thousand leave nothing behind.
    for n in 0..2000 {
        expect_error(
            &client.ask("mesh.edge.pull", &[("Mesh-Address", &format!("c/no-{n}"))], b""),
            404,
            "not_found",
            "",
        );
    }
    let queues = process.request("GET", "/v1/admin/queues", &[], b"").json();
    let used = |queue: &serde_json::Value| queue["used"].as_u64().unwrap();
    assert!(queues["queues"].as_array().unwrap().iter().all(|queue| used(queue) == 0), "{queues}");
    assert_eq!(process.get("c/k").body, b"0123456789");
}

#[test]
fn what_is_owed_to_the_cloud_is_shown_and_paid_on_subjects() {
    let (_server, process, mut client) = start(&[]);
    for address in ["a/1", "a/2", "b/1"] {
        process.put(address, b"x").expect(201);
    }
    let addresses = |heard: &Heard| -> Vec<String> {
        let items = heard.json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["address"].as_str().unwrap().to_owned()).collect()
    };
    let all = client.ask("mesh.edge.transfers", &[], b"");
    expect(&all, "200");
    assert_eq!(
        (addresses(&all), all.header("Mesh-Container")),
        (["a/1", "a/2", "b/1"].map(str::to_owned).into(), Some("c1"))
    );
    assert_eq!(all.json(), process.request("GET", "/v1/transfers", &[], b"").json());
    // Page by page, and of a collection or one object.
    let first = client.ask("mesh.edge.c1.transfers", &[("Mesh-Limit", "2")], b"");
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let rest = client.ask("mesh.edge.transfers", &[("Mesh-After", &next)], b"");
    assert_eq!([addresses(&first), addresses(&rest)].concat(), addresses(&all));
    assert_eq!(addresses(&client.ask("mesh.edge.transfers", &[("Mesh-Address", "a")], b"")), ["a/1", "a/2"]);
    assert_eq!(addresses(&client.ask("mesh.edge.transfers", &[("Mesh-Address", "b/1")], b"")), ["b/1"]);

    let mut paid = |subject: &str, headers: &[(&str, &str)]| {
        let answer = client.ask(subject, headers, b"");
        expect(&answer, "200");
        assert_eq!(answer.header("Mesh-Container"), Some("c1"));
        let told = answer.json();
        (told["sent"]["objects"].as_u64().unwrap(), told["owed"]["objects"].as_u64().unwrap())
    };
    assert_eq!(paid("mesh.edge.sync", &[("Mesh-Address", "a/1")]), (1, 2));
    assert_eq!(paid("mesh.edge.c1.sync", &[("Mesh-Address", "b")]), (1, 1));
    assert_eq!(paid("mesh.edge.sync", &[("Mesh-Deadline-Ms", "20000")]), (1, 0));
    assert_eq!(process.request("GET", "/v1/transfers", &[], b"").json()["items"].as_array().unwrap().len(), 0);

    let mut refused = |operation: &str, headers: &[(&str, &str)], body: &[u8], code: u16, kind: &str, word: &str| {
        for subject in ["mesh.edge.", "mesh.edge.c1."] {
            expect_error(&client.ask(&format!("{subject}{operation}"), headers, body), code, kind, word);
        }
    };
    for operation in ["sync", "transfers"] {
        refused(operation, &[("Mesh-Address", "")], b"", 400, "invalid", "empty");
        refused(operation, &[("Mesh-Address", "/k")], b"", 400, "invalid", "");
        refused(operation, &[("Mesh-Address", "C")], b"", 400, "invalid", "");
        refused(operation, &[("Mesh-Address", "a/../b")], b"", 400, "invalid", "");
        refused(operation, &[("Mesh-Address", "none")], b"", 404, "not_found", "collection");
        refused(operation, &[("Mesh-Deadline-Ms", "soon")], b"", 400, "invalid", "deadline");
        refused(operation, &[("Mesh-Token", "wrong")], b"", 401, "unauthorised", "");
        refused(operation, &[("Mesh-Ticket", "00")], b"", 403, "forbidden", "ticket");
    }
    refused("sync", &[], b"all of it", 400, "invalid", "Mesh-Address");
    refused("transfers", &[("Mesh-Limit", "0")], b"", 400, "invalid", "");
    refused("transfers", &[("Mesh-Limit", "many")], b"", 400, "invalid", "number");
    refused("transfers", &[("Mesh-After", "yesterday")], b"", 400, "invalid", "");
    refused("transfers", &[("Mesh-Cancel", "true")], b"", 400, "invalid", "Mesh-Transfer");
    refused("transfers", &[("Mesh-Transfer", "1"), ("Mesh-Cancel", "please")], b"", 400, "invalid", "Mesh-Cancel");
    // As over HTTP, where one transfer cannot be asked for either.
    process.request("GET", "/v1/transfers/1", &[], b"").expect_problem(501, "unimplemented");
    refused("transfers", &[("Mesh-Transfer", "1")], b"", 501, "unimplemented", "");
    refused("transfers", &[("Mesh-Transfer", "1"), ("Mesh-Cancel", "true")], b"", 501, "unimplemented", "");
}

#[test]
fn what_is_owed_needs_its_permission_on_subjects() {
    let (_server, process, mut client) = start(&["--set", "auth.required=true"]);
    let root = std::fs::read_to_string(process.data().join("root.token")).unwrap().trim().to_owned();
    let token = |scope: &str| {
        let wanted = format!(r#"{{"subject":"ada","scopes":["{scope}"]}}"#);
        let bearer = format!("Bearer {root}");
        let made = process.request("POST", "/v1/admin/tokens", &[("Authorization", &bearer)], wanted.as_bytes());
        made.expect(201).json()["token"].as_str().unwrap().to_owned()
    };
    let (reader, writer, narrow) = (token("read"), token("write"), token("write:a"));
    for (token, sync, transfers) in [
        (Some(&reader), Some("write"), None),
        (Some(&writer), None, Some("read")),
        (Some(&narrow), Some("write"), Some("read")),
        (None, Some("Mesh-Token"), Some("Mesh-Token")),
    ] {
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("Mesh-Token", token.as_str())).collect();
        for (operation, refusal) in [("sync", sync), ("transfers", transfers)] {
            let answer = client.ask(&format!("mesh.edge.{operation}"), &headers, b"");
            match (refusal, token) {
                (None, _) => expect(&answer, "200"),
                (Some(word), Some(_)) => expect_error(&answer, 403, "forbidden", word),
                (Some(word), None) => expect_error(&answer, 401, "unauthorised", word),
            }
        }
    }
}

#[test]
fn tokens_count_on_subjects_as_they_do_over_http() {
    let (_server, process, mut client) = start(&["--set", "auth.required=true"]);
    let root = std::fs::read_to_string(process.data().join("root.token")).unwrap();
    expect_error(&client.ask("mesh.edge.push", &[ADDRESS], b"x"), 401, "unauthorised", "Mesh-Token");
    let batch = client.ask("mesh.edge.batch", &[("Content-Type", "multipart/mixed; boundary=b")], b"--b--");
    expect_error(&batch, 401, "unauthorised", "");
    expect(&client.ask("mesh.edge.push", &[ADDRESS, ("Mesh-Token", root.trim())], b"x"), "201");
    // No door for the rest of the API: an address is an object's, never a path.
    let admin = client.ask("mesh.edge.pull", &[("Mesh-Address", "../admin/keys"), ("Mesh-Token", root.trim())], b"");
    expect_error(&admin, 400, "invalid", "");
}

#[test]
fn a_container_outlives_its_server() {
    let (mut server, mut process, mut client) = start(&[]);
    expect(&client.ask("mesh.edge.push", &[ADDRESS], b"x"), "201");
    server.kill();
    assert_eq!(process.get("meteo/today/a%20b.csv").body, b"x", "http goes on");
    server.restart();
    let mut client = NatsClient::connect(server.url());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let answer = client.ask("mesh.edge.pull", &[ADDRESS], b"");
        if answer.header("Status").is_none() {
            assert_eq!(answer.text(), "x");
            break;
        }
        assert!(std::time::Instant::now() < end, "it does not come back");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    process.terminate();
    assert_eq!(client.ask("mesh.edge.pull", &[ADDRESS], b"").header("Status"), Some("503"), "it left the bus");
}

#[test]
fn a_server_that_cannot_be_used_is_refused_by_name() {
    let away = Process::refused(&["--bus", "nats://u:planted@127.0.0.1:1"], &[]);
    assert!(away.stderr.contains("nats://127.0.0.1:1") && !away.stderr.contains("planted"), "{}", away.stderr);
    // One that says it is old.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let info = r#"{"server_id":"X","server_name":"x","version":"2.9.10","proto":1,"host":"h","port":1,"headers":true,"max_payload":1048576}"#;
            stream.write_all(format!("INFO {info}\r\nPONG\r\n").as_bytes()).unwrap();
            std::mem::forget(stream);
        }
    });
    let old = Process::refused(&["--bus", &url], &[]);
    assert!(old.stderr.contains("2.9.10") && old.stderr.contains("2.12.0"), "{}", old.stderr);
}

/// Runs an example of the project's with Python.
pub fn example(name: &str, args: &[&str]) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = std::process::Command::new("sh").arg(root.join("scripts/python.sh")).output().unwrap();
    let folder = String::from_utf8(found.stdout).unwrap();
    let mut command = std::process::Command::new("python3");
    command.arg(root.join("examples").join(name)).args(args).env("PYTHONPATH", folder.trim());
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}

#[test]
fn the_examples_do_what_they_say() {
    let (server, process, _client) = start(&[]);
    let said = example("nats_push_pull.py", &[server.url(), "edge"]);
    assert!(
        said.contains("pulled 4.72 m at 06:00") && said.contains("ticket 201") && said.contains("same True"),
        "{said}"
    );
    assert_eq!(process.get("meteo/scan.bin").body.len(), 2 << 20);
    let (host, port) = server.url().strip_prefix("nats://").unwrap().split_once(':').unwrap();
    let said = example("nats_socket.py", &[host, port, "edge"]);
    assert!(said.contains("Mesh-Status: 200") && said.ends_with("4.72 m at 06:00\n"), "{said}");
}

#[test]
fn auto_takes_the_server_that_others_name() {
    let server = NatsServer::start();
    let process = Process::start_with_env(&["--bus", "auto"], &[("NATS_URL", server.url())]);
    let mut client = NatsClient::connect(server.url());
    expect(&client.ask("mesh.local.push", &[ADDRESS], b"x"), "201");
    assert_eq!(process.get("meteo/today/a%20b.csv").body, b"x");
}

#[test]
fn what_is_too_large_for_a_message_goes_by_ticket() {
    let (_server, process, mut client) = start(&["--set", "auth.required=true"]);
    let root = std::fs::read_to_string(process.data().join("root.token")).unwrap();
    let (token, at) = (("Mesh-Token", root.trim()), ("Mesh-Address", "c/large"));
    let body = body_of("large", 1, 3_000_000);
    // A ticket to bring it.
    expect_error(&client.ask("mesh.edge.push", &[at, ("Mesh-Size", "3000000")], b""), 401, "unauthorised", "");
    let ticket = client.ask("mesh.edge.push", &[token, at, ("Mesh-Size", "3000000")], b"");
    let told = ticket.json();
    assert_eq!(ticket.header("Mesh-Ticket"), told["token"].as_str(), "{told}");
    let path = |told: &serde_json::Value| {
        let url = told["urls"][0].as_str().unwrap();
        url.strip_prefix(&format!("http://{}", process.addr())).unwrap().to_owned()
    };
    let brought = [("Mesh-Ticket", told["token"].as_str().unwrap())];
    process.request("PUT", &path(&told), &brought, b"short").expect_problem(401, "unauthorised");
    process.request("PUT", "/v1/objects/c/other", &brought, &body).expect_problem(401, "unauthorised");
    process.request("PUT", &path(&told), &brought, &body).expect(201);
    process.request("GET", &path(&told), &brought, b"").expect_problem(400, "invalid");
    process.request("GET", "/v1/admin/keys", &brought, b"").expect_problem(403, "forbidden");
    process.request("GET", "/v1/objects/c/large", &[], b"").expect_problem(401, "unauthorised");

    // A ticket to read it, in two parts, as after a transfer that broke off.
    let ticket = client.ask("mesh.edge.pull", &[token, at], b"");
    let told = ticket.json();
    assert_eq!((&told["address"], &told["size"]), (&"c/large".into(), &3_000_000.into()), "{told}");
    assert_eq!(
        (told["version"].as_str(), told["digest"].as_str()),
        (ticket.header("Mesh-Version"), ticket.header("Mesh-Digest"))
    );
    assert!(told["expires"].as_str().unwrap().ends_with('Z'));
    let reading = ("Mesh-Ticket", told["token"].as_str().unwrap());
    let first = process.request("GET", &path(&told), &[reading, ("Range", "bytes=0-1999999")], b"").expect(206);
    let rest = process.request("GET", &path(&told), &[reading, ("Range", "bytes=2000000-")], b"").expect(206);
    assert_eq!([first.body, rest.body].concat(), body);
    // It is good for that version, also once there is another.
    process
        .request("PUT", "/v1/objects/c/large", &[("Authorization", &format!("Bearer {}", root.trim()))], b"new")
        .expect(200);
    assert_eq!(process.request("GET", &path(&told), &[reading], b"").expect(200).body, body);
    process.request("GET", "/v1/objects/c/large", &[reading], b"").expect_problem(400, "invalid");
    process.request("DELETE", &path(&told), &[reading], b"").expect_problem(403, "forbidden");

    // Where there is no route, the same bytes come over the bus, at the receiver's pace.
    let version = told["version"].as_str().unwrap();
    let subject = told["nats"].as_str().unwrap();
    let mut got = Vec::new();
    while got.len() < body.len() {
        let range = format!("{}-{}", got.len(), got.len() + 499_999);
        let part = client.ask(subject, &[at, reading, ("Mesh-Version", version), ("Mesh-Range", &range)], b"");
        expect(&part, "206");
        got.extend(part.body);
    }
    assert_eq!(got, body);
    // More than usual, where it is asked for.
    let inline =
        client.ask("mesh.edge.pull", &[token, at, ("Mesh-Version", version), ("Mesh-Inline-Max", "1000")], b"");
    assert!(inline.header("Mesh-Ticket").is_some());
    process
        .request(
            "PUT",
            "/v1/objects/c/half",
            &[("Authorization", &format!("Bearer {}", root.trim()))],
            &body[..500_000],
        )
        .expect(201);
    let half = ("Mesh-Address", "c/half");
    assert!(client.ask("mesh.edge.pull", &[token, half], b"").header("Mesh-Ticket").is_some());
    let inline = client.ask("mesh.edge.pull", &[token, half, ("Mesh-Inline-Max", "600000")], b"");
    assert_eq!(inline.body, &body[..500_000]);
}

/// Takes one request at a socket and answers it; gives its head and its body.
fn taken(listener: TcpListener, status: &'static str) -> std::thread::JoinHandle<(String, Vec<u8>)> {
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let head = loop {
            let mut part = [0; 65536];
            let count = std::io::Read::read(&mut socket, &mut part).unwrap();
            assert!(count > 0, "no whole head");
            bytes.extend_from_slice(&part[..count]);
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap().to_ascii_lowercase();
            }
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut rest = vec![0; length.parse::<usize>().unwrap() - bytes.len()];
        std::io::Read::read_exact(&mut socket, &mut rest).unwrap();
        bytes.extend(rest);
        write!(socket, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        (head, bytes)
    })
}

fn socket() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in?x=1", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn what_is_too_large_for_a_message_is_brought_to_whoever_offers_a_url() {
    let (_server, process, mut client) = start(&[]);
    let (at, body) = (("Mesh-Address", "meteo/scan.bin"), body_of("scan", 1, 3_000_000));
    let sent = [("Content-Type", "image/x-scan"), ("Mesh-Meta-Station", "7")];
    process.connect().request("PUT", &object("meteo/scan.bin"), &sent, &body).unwrap().expect(201);

    let (listener, url) = socket();
    let receiver = taken(listener, "204 No Content");
    let answer = client.ask("mesh.edge.pull", &[at, ("Mesh-Receive", &url)], b"");
    expect(&answer, "200");
    assert_eq!(
        (answer.header("Mesh-Received"), answer.header("Mesh-Ticket"), answer.body.len()),
        (Some("3000000"), None, 0)
    );
    let (head, brought) = receiver.join().unwrap();
    assert!(brought == body, "other bytes");
    assert!(head.starts_with("put /in?x=1 http/1.1\r\n") && head.contains("content-type: image/x-scan\r\n"), "{head}");
    assert!(head.contains("mesh-meta-station: 7\r\n"), "{head}");
    assert!(head.contains(&format!("mesh-version: {}\r\n", answer.header("Mesh-Version").unwrap())), "{head}");

    // A range of it.
    let (listener, url) = socket();
    let receiver = taken(listener, "200 OK");
    let range = [at, ("Mesh-Receive", &url), ("Mesh-Range", "1000000-2999998")];
    expect(&client.ask("mesh.edge.pull", &range, b""), "200");
    let (head, brought) = receiver.join().unwrap();
    assert!(
        brought == body[1_000_000..2_999_999] && head.contains("content-range: bytes 1000000-2999998/3000000"),
        "{head}"
    );

    // Who refuses it, or is not there, gets the ticket; what fits a message needs neither.
    let (listener, url) = socket();
    let receiver = taken(listener, "403 Forbidden");
    let refused = client.ask("mesh.edge.pull", &[at, ("Mesh-Receive", &url)], b"");
    drop(receiver.join().unwrap());
    let nobody = client.ask("mesh.edge.pull", &[at, ("Mesh-Receive", "http://127.0.0.1:1/in")], b"");
    for answer in [refused, nobody] {
        expect(&answer, "200");
        assert!(answer.header("Mesh-Receive-Error").is_some() && answer.header("Mesh-Ticket").is_some(), "{answer:?}");
        assert_eq!(answer.json()["size"], 3_000_000);
    }
    let small = client.ask("mesh.edge.pull", &[at, ("Mesh-Receive", &url), ("Mesh-Range", "0-9")], b"");
    assert_eq!(small.body, body[..10]);
}

#[test]
fn an_object_is_brought_only_where_that_is_allowed() {
    let (_server, process, mut client) = start(&[]);
    let at = ("Mesh-Address", "meteo/scan.bin");
    process.put("meteo/scan.bin", &body_of("scan", 1, 400_000)).expect(201);
    let refused = |client: &mut NatsClient, url: &str, code, kind, word| {
        let answer = client.ask("mesh.edge.pull", &[at, ("Mesh-Receive", url)], b"");
        expect_error(&answer, code, kind, word);
    };
    refused(&mut client, "http://192.0.2.1/in", 403, "forbidden", "bus.receivers");
    for bad in ["", "nonsense", "ftp://127.0.0.1/in", "http://u:secret@127.0.0.1/in"] {
        refused(&mut client, bad, 400, "invalid", "URL");
    }
    let (_server, process, mut client) = start(&["--set", "bus.receivers=none"]);
    process.put("meteo/scan.bin", &body_of("scan", 1, 400_000)).expect(201);
    refused(&mut client, "http://127.0.0.1:1/in", 403, "forbidden", "bus.receivers");
}

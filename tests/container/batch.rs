//! Many operations in one request: answered in order, each by itself, and refused by name when they are none.

use serde_json::Value;

use crate::harness::{Process, Response, body_of};

const KIND: &str = "multipart/mixed; boundary=b";

/// A part that asks this, with these bytes.
fn part(request: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("Content-Type: application/http\r\n\r\n{request} HTTP/1.1\r\n").into_bytes();
    headers.iter().for_each(|(name, value)| out.extend(format!("{name}: {value}\r\n").bytes()));
    if !body.is_empty() {
        out.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    out.extend(b"\r\n");
    out.extend(body);
    out
}

fn put(address: &str, body: &[u8]) -> Vec<u8> {
    part(&format!("PUT /v1/objects/{address}"), &[], body)
}

fn get(address: &str) -> Vec<u8> {
    part(&format!("GET /v1/objects/{address}"), &[], b"")
}

fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"--b\r\n" } else { b"\r\n--b\r\n" });
        out.extend(part);
    }
    out.extend(b"\r\n--b--\r\n");
    out
}

fn send(process: &Process, body: &[u8]) -> Response {
    process.request("POST", "/v1/batch", &[("Content-Type", KIND)], body)
}

/// The answers of a batch, read by their lengths.
fn answers(response: Response) -> Vec<Response> {
    let response = response.expect(200);
    let kind = response.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").expect(kind).to_owned();
    let mut rest = &response.body[..];
    let mut out = Vec::new();
    loop {
        let lead = format!("{}--{boundary}", if out.is_empty() { "" } else { "\r\n" });
        rest = rest.strip_prefix(lead.as_bytes()).unwrap_or_else(|| panic!("no boundary: {}", rest.escape_ascii()));
        if rest == b"--\r\n" {
            return out;
        }
        let (own, message) = cut(rest.strip_prefix(b"\r\n").unwrap());
        assert!(own.contains("Content-Type: application/http"), "{own}");
        let (head, body) = cut(message);
        let mut lines = head.lines();
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let header =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
        let mut headers: Vec<_> = lines.map(header).collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
        headers.extend(own.lines().skip(1).map(header));
        let body_length: usize = length.unwrap_or(0);
        out.push(Response { status, headers, body: body[..body_length].to_vec() });
        rest = &body[body_length..];
    }
}

/// The text up to an empty line, and what follows.
fn cut(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 4..])
}

fn statuses(answers: &[Response]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn operations_are_answered_in_order_as_they_would_be_one_by_one() {
    let process = Process::start(&[]);
    let large = body_of("box/large", 1, 900_000);
    let answers = answers(send(
        &process,
        &joined(&[
            put("box/a", b"one"),
            put("box/large", &large),
            put("box/a", b"two"),
            get("box/a"),
            get("box/large"),
            part("GET /v1/objects/box/large", &[("Range", "bytes=10-19")], b""),
            part("DELETE /v1/objects/box/a", &[], b""),
            get("box/a"),
            part("PUT /v1/objects/box/a", &[("If-None-Match", "*"), ("Mesh-Meta-X", "y")], b"three"),
            part("PUT /v1/objects/box/a", &[("If-None-Match", "*")], b"four"),
            part("GET /v1/objects/box?limit=1", &[], b""),
            part("GET /v1/objects/box/a%20b", &[], b""),
        ]),
    ));
    assert_eq!(statuses(&answers), [201, 201, 200, 200, 200, 206, 204, 404, 201, 412, 200, 404]);
    assert_eq!(answers[3].body, b"two");
    assert!(answers[4].body == large);
    assert_eq!(
        (&answers[5].body[..], answers[5].header("content-range")),
        (&large[10..20], Some("bytes 10-19/900000"))
    );
    assert_eq!(answers[10].json()["items"][0]["key"], "a");
    assert!(answers[0].header("etag").is_some() && answers[0].header("mesh-durability") == Some("disk"));
    assert_eq!(process.head("box/a").expect(200).header("mesh-meta-x"), Some("y"));
}

#[test]
fn each_part_fails_by_itself_and_its_name_comes_back() {
    let process = Process::start(&[]);
    let mut named = put("box/named", b"x");
    named.splice(..0, *b"Content-ID: <first>\r\n");
    let answers = answers(send(
        &process,
        &joined(&[
            named,
            put("BAD/a", b"x"),
            part("PUT /v1/objects/box/over", &[], &vec![1; (1 << 20) + 1]),
            part("PATCH /v1/objects/box/a", &[], b""),
            part("GET /v1/admin/tiers", &[], b""),
            part("POST /v1/batch", &[("Content-Type", KIND)], b"--b--"),
            part("GET http://evil.example/v1/objects/box/named", &[], b""),
            part("GET /v1/objects/box/named", &[("Authorization", "Bearer x")], b""),
            part("GET /v1/objects/box/named", &[("Origin", "http://evil.example")], b""),
            part("GET /v1/objects/box/named", &[("Host", "evil.example")], b""),
            part("PUT /v1/objects/box/later", &[("Mesh-Durability", "cloud")], b"x"),
            b"Content-Type: application/http\r\n\r\nGET /v1/objects/box/named HTTP/1.0\r\n\r\n".to_vec(),
            put("box/last", b"y"),
        ]),
    ));
    assert_eq!(statuses(&answers), [201, 400, 413, 405, 400, 400, 400, 400, 400, 400, 501, 400, 201]);
    assert_eq!(answers[0].header("Content-ID"), Some("<first>"));
    for (n, answer) in answers.into_iter().enumerate().filter(|(n, _)| ![0, 12].contains(n)) {
        let status = answer.status;
        let problem: Value = answer.json();
        assert_eq!(problem["status"], status, "{n}");
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{n}");
    }
    assert_eq!(process.get("box/last").expect(200).body, b"y");
    process.get("box/over").expect_problem(404, "not_found");
}

#[test]
fn what_is_no_batch_is_refused_by_name() {
    let process = Process::start(&[]);
    let good = joined(&[put("box/a", b"x")]);
    let ask = |kind: &str, body: &[u8]| process.request("POST", "/v1/batch", &[("Content-Type", kind)], body);
    for kind in ["text/plain", "multipart/mixed", "multipart/mixed; boundary=", "multipart/form-data; boundary=b"] {
        ask(kind, &good).expect_problem(400, "invalid");
    }
    process.request("POST", "/v1/batch", &[], &good).expect_problem(400, "invalid");
    process.request("GET", "/v1/batch", &[], b"").expect(405);
    process.request("POST", "/v1/batch?frob=1", &[("Content-Type", KIND)], &good).expect_problem(400, "invalid");
    ask("multipart/mixed; boundary=other", &good).expect_problem(400, "invalid");
    ask(KIND, b"").expect_problem(400, "invalid");
    ask(KIND, b"--b--\r\n").expect_problem(400, "invalid");
    ask(KIND, b"no multipart at all").expect_problem(400, "invalid");
    // Nested, and of another kind.
    let nested = [b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n".to_vec(), good.clone()].concat();
    ask(KIND, &nested).expect_problem(400, "invalid");
    ask(KIND, b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n\r\n--b--").expect_problem(400, "invalid");
    // Headers beyond the limit.
    let long = part("GET /v1/objects/box/a", &[("Mesh-Meta-A", &"x".repeat(20_000))], b"");
    ask(KIND, &joined(&[long])).expect_problem(413, "too_large");
    // Torn in its first part, with and without an honest length of the whole.
    ask(KIND, &good[..good.len() - 12]).expect_problem(400, "invalid");
    ask(KIND, &good[..60]).expect_problem(400, "invalid");
    // A page of another origin.
    let page = [("Content-Type", KIND), ("Origin", "http://evil.example")];
    process.request("POST", "/v1/batch", &page, &good).expect_problem(403, "forbidden");
}

#[test]
fn a_batch_that_goes_wrong_later_keeps_what_came_before() {
    let process = Process::start(&[]);
    let torn = |tail: &[u8]| {
        let mut body = joined(&[put("torn/a", b"kept"), put("torn/b", b"kept too")]);
        body.truncate(body.len() - b"--b--\r\n".len());
        body.extend(tail);
        answers(send(&process, &body))
    };
    for tail in [
        &b"--b\r\nContent-Type: application/http\r\n\r\nPUT /v1/objects/torn/c HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"[..],
        b"--b\r\nContent-Type: application/http\r\n\r\nPUT /v1/obj",
        b"--c\r\n",
        b"",
        b"--b--\r\nmore",
    ] {
        let mut answers = torn(tail);
        let last = answers.pop().unwrap();
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201)), "{}", tail.escape_ascii());
        assert_eq!(answers.len(), 2, "{}", tail.escape_ascii());
        last.expect_problem(400, "invalid");
    }
    assert_eq!(process.get("torn/b").expect(200).body, b"kept too");
    process.get("torn/c").expect_problem(404, "not_found");
    // One part too many: all that fit are done.
    let many: Vec<_> = (0..1001).map(|n| put(&format!("many/{n:04}"), b"x")).collect();
    let mut answers = answers(send(&process, &joined(&many)));
    assert_eq!(answers.len(), 1001);
    answers.pop().unwrap().expect_problem(413, "too_large");
    assert!(answers.iter().all(|answer| answer.status == 201));
}

#[test]
fn a_batch_of_many_megabytes_is_held_piece_by_piece() {
    let process = Process::start(&["--set", "memory.budget_bytes=16MiB"]);
    let bodies: Vec<_> = (0..96).map(|n| body_of("heavy", n, 1 << 20)).collect();
    let parts: Vec<_> = bodies.iter().enumerate().map(|(n, body)| put(&format!("heavy/{n:02}"), body)).collect();
    assert!(answers(send(&process, &joined(&parts))).iter().all(|answer| answer.status == 201));
    let read: Vec<_> = (0..96).map(|n| get(&format!("heavy/{n:02}"))).collect();
    let answers = answers(send(&process, &joined(&read)));
    assert!(answers.iter().zip(&bodies).all(|(answer, body)| answer.body == *body));
    let peak = process.peak_memory_bytes();
    assert!(peak < 90 << 20, "96 MiB in a batch took {peak} bytes of memory");
}

#[test]
fn a_folder_of_small_files_is_pushed_in_batches() {
    let process = Process::start(&[]);
    let folder = process.folder().join("files");
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    for n in 0..300 {
        std::fs::write(folder.join(format!("deep/{n:03}")), body_of("cli", n, 2_000)).unwrap();
    }
    std::fs::write(folder.join("empty"), b"").unwrap();
    std::fs::write(folder.join("large"), body_of("cli", 1, 3_000_000)).unwrap();
    let run = || process.cli(&["push", "-r", "files", "cli", "--json", "--meta", "a=b"], b"");
    let output = run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 302);
    assert_eq!((&lines[0]["address"], &lines[0]["created"]), (&Value::from("cli/deep/000"), &Value::from(true)));
    assert_eq!(lines[301]["address"], "cli/large");
    let read = process.get("cli/deep/299").expect(200);
    assert!(read.body == body_of("cli", 299, 2_000) && read.header("mesh-meta-a") == Some("b"));
    assert_eq!(process.get("cli/empty").expect(200).body, b"");
    // What is refused is told with its address; what came before it stays.
    process.request("PUT", "/v1/collections/cli", &[], br#"{"quota_objects":302}"#).expect(200);
    std::fs::write(folder.join("new"), b"x").unwrap();
    let refused = run();
    assert_eq!(refused.status.code(), Some(16), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cli/new"));
}

#[test]
fn the_example_of_the_documentation_works_as_typed() {
    let text = include_str!("../../docs/batch.md");
    let (_, typed) = text.split_once("```sh\n").unwrap();
    let (command, rest) = typed.split_once(" |\n").unwrap();
    assert!(rest.contains(KIND), "{rest}");
    let printed = std::process::Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let process = Process::start(&[]);
    assert_eq!(statuses(&answers(send(&process, &printed.stdout))), [201, 404]);
    assert_eq!(process.get("meteo/a.csv").expect(200).body, b"hello");
}

//! What happens in a container, as a reader of its events sees it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Connection, Process, object};

/// A reader of a stream of events.
struct Reader {
    connection: Connection,
    text: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Reader {
    fn open(process: &Process, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = process.connect();
        connection.begin("GET", &format!("/v1/events{query}"), headers, 0).unwrap();
        let head = connection.answer().unwrap().expect(200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        let mut reader = Reader { connection, text: String::new() };
        let opening = reader.block().expect("an opening");
        assert!(opening.starts_with("retry: ") && opening.contains("\nid: "), "{opening}");
        reader
    }

    /// The next block of lines; `None` at the end of the stream.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = self.connection.chunk().unwrap();
            if piece.is_empty() {
                assert_eq!(self.text, "", "the stream ended inside an event");
                return None;
            }
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// The next event; comments are passed over.
    fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block()?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
            let data = serde_json::from_str(&field("data: ")).unwrap();
            return Some(Event { id: field("id: "), kind: field("event: "), data });
        }
    }

    fn expect(&mut self, kind: &str) -> Event {
        let event = self.next().expect(kind);
        assert_eq!(event.kind, kind, "{event:?}");
        event
    }
}

fn put(process: &Process, address: &str, headers: &[(&str, &str)]) -> u16 {
    process.request("PUT", &object(address), headers, b"body").status
}

#[test]
fn everything_that_changes_is_told_in_order() {
    let process = Process::start(&[]);
    let mut reader = Reader::open(&process, "", &[]);
    assert_eq!(put(&process, "news/a", &[]), 201);
    let made = reader.expect("collection");
    assert_eq!((&made.data["change"], &made.data["revision"]), (&json!("created"), &json!(1)));
    let pushed = reader.expect("push");
    assert_eq!(pushed.data["address"], "news/a");
    assert_eq!((&pushed.data["size"], &pushed.data["created"]), (&json!(4), &json!(true)));
    assert_eq!((&pushed.data["durability"], &pushed.data["collection"]), (&json!("disk"), &json!("news")));
    let version = process.head("news/a").expect(200).header("mesh-version").unwrap().to_owned();
    assert_eq!(pushed.data["version"], version);
    // Conditional changes that meet another version, in both classes, and one that does not.
    assert_eq!(put(&process, "news/a", &[("If-None-Match", "*")]), 412);
    assert!(reader.expect("conflict").data["detail"].as_str().unwrap().contains("If-None-Match"));
    assert_eq!(put(&process, "news/a", &[("If-None-Match", "*"), ("Mesh-Durability", "ram")]), 412);
    reader.expect("conflict");
    assert_eq!(put(&process, "news/a", &[("If-Match", &format!("\"{version}\""))]), 200);
    assert_eq!(reader.expect("push").data["created"], false);
    // A digest that lies is nobody's conflict.
    let lie = ("Content-Digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    assert_eq!(put(&process, "news/a", &[lie]), 412);
    assert_eq!(put(&process, "news/ram", &[("Mesh-Durability", "ram")]), 201);
    assert_eq!(reader.expect("push").data["durability"], "ram");
    // What leaves memory is still an object; it is pushed once.
    let body = json!({"level": "ram", "collection": "news", "key": "ram"}).to_string();
    process.request("POST", "/v1/admin/evict", &[], body.as_bytes()).expect(200);
    let evicted = reader.expect("evict");
    assert_eq!((&evicted.data["address"], &evicted.data["level"]), (&json!("news/ram"), &json!("ram")));
    process.delete("news/a").expect(204);
    assert_eq!(reader.expect("delete").data["address"], "news/a");
    process.delete("news/a").expect(204);
    assert_eq!(put(&process, "news/short", &[("Mesh-Ttl-S", "1")]), 201);
    reader.expect("push");
    assert_eq!(reader.expect("expire").data["address"], "news/short");
    process.request("PUT", "/v1/collections/news", &[], br#"{"ttl_s":"7d"}"#).expect(200);
    assert_eq!(reader.expect("collection").data["change"], "set");
    process.delete("news/ram").expect(204);
    reader.expect("delete");
    process.request("DELETE", "/v1/collections/news", &[], b"").expect(204);
    assert_eq!(reader.expect("collection").data["change"], "removed");
}

#[test]
fn a_reader_chooses_and_goes_on_where_it_was() {
    let mut process = Process::start(&[]);
    process.request("PUT", "/v1/collections/one", &[], b"").expect(201);
    process.request("PUT", "/v1/collections/two", &[], b"").expect(201);
    let mut chosen = Reader::open(&process, "?collection=one&kind=delete,conflict", &[]);
    let mut all = Reader::open(&process, "", &[]);
    for address in ["two/a", "one/a", "one/b"] {
        put(&process, address, &[]);
    }
    process.delete("two/a").expect(204);
    process.delete("one/b").expect(204);
    assert_eq!(chosen.expect("delete").data["address"], "one/b");
    let first = all.expect("push");
    drop(all);
    let mut resumed = Reader::open(&process, "", &[("Last-Event-ID", &first.id)]);
    let told: Vec<Event> = (0..4).map(|_| resumed.next().unwrap()).collect();
    let addresses: Vec<&str> = told.iter().map(|event| event.data["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["one/a", "one/b", "two/a", "one/b"]);
    // Another life: what was lost is unknown, and what there is since is told.
    let last = told[3].id.clone();
    process.terminate();
    process.restart();
    // The first thing that this life does: its actors may still be on their way.
    assert_eq!(put(&process, "one/c", &[]), 201);
    let mut after = Reader::open(&process, "", &[("Last-Event-ID", &last)]);
    assert_eq!(after.expect("gap").data, json!({"lost": null}));
    assert_eq!(after.expect("push").data["address"], "one/c");
}

#[test]
fn silence_is_kept_alive_and_wrong_readers_are_refused() {
    let process = Process::start(&["--set", "http.events_keep_alive_ms=50"]);
    let mut reader = Reader::open(&process, "?kind=delete", &[]);
    let quiet = reader.block().unwrap();
    assert!(quiet.starts_with(": ") && quiet.contains("\nid: "), "{quiet}");
    for (query, header) in [
        ("?kind=frob", None),
        ("?kind=", None),
        ("?kind=push,,delete", None),
        ("?collection=BAD", None),
        ("?frob=1", None),
        ("", Some("nonsense")),
        ("", Some("0000000000000000")),
    ] {
        let headers: Vec<(&str, &str)> = header.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        process.request("GET", &format!("/v1/events{query}"), &headers, b"").expect_problem(400, "invalid");
    }
    // An id that is still to come.
    let id = quiet.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let ahead = format!("{}-99", id.split_once('-').unwrap().0);
    process.request("GET", "/v1/events", &[("Last-Event-ID", &ahead)], b"").expect_problem(400, "invalid");
    process.request("POST", "/v1/events", &[], b"").expect(405);
    let page = [("Origin", "http://evil.example")];
    process.request("GET", "/v1/events", &page, b"").expect_problem(403, "forbidden");
}

#[test]
fn readers_hear_the_last_of_it_when_the_container_is_drained_or_stopped() {
    let mut process = Process::start(&[]);
    let mut reader = Reader::open(&process, "?kind=push,evict", &[]);
    put(&process, "end/only", &[("Mesh-Durability", "ram")]);
    process.request("POST", "/v1/admin/drain", &[], b"").expect(200);
    reader.expect("push");
    reader.expect("evict");
    assert!(reader.next().is_none(), "the stream ends with the drain");
    process.request("GET", "/v1/events", &[], b"").expect_problem(503, "unavailable");
    process.kill9();
    process.restart();
    let mut reader = Reader::open(&process, "", &[]);
    let began = Instant::now();
    process.terminate();
    assert!(began.elapsed() < Duration::from_secs(10), "a reader held up the end");
    assert!(reader.next().is_none());
}

//! The client against canned answers: what it sends, what it makes of what comes back.

use std::io;

use bytes::Bytes;

use super::fake::{Fake, answer};
use super::*;
use crate::model::{Condition, Digest, DigestKind, Durability};

const VERSION: &str = "0000000000010000-00000000000000aa";

fn digest(body: &str) -> Digest {
    Digest { kind: DigestKind::Blake3, bytes: *blake3::hash(body.as_bytes()).as_bytes() }
}

fn object_headers(body: &str) -> String {
    format!(
        "ETag: \"{VERSION}\"\r\nMesh-Version: {VERSION}\r\nMesh-Digest: {}\r\nMesh-Durability: disk\r\nMesh-Level: ram\r\n\
         Content-Type: text/plain\r\nMesh-Meta-Owner: ada\r\n",
        digest(body)
    )
}

fn stored(body: &str) -> Vec<u8> {
    let json = format!(
        r#"{{"address":"c/k","version":"{VERSION}","size":{},"digest":"{}","durability":"disk"}}"#,
        body.len(),
        digest(body)
    );
    answer("201 Created", &object_headers(body), &json)
}

fn address() -> Address {
    "c/a b".parse().unwrap()
}

async fn client(answers: Vec<Vec<u8>>) -> (Client, Fake) {
    let fake = Fake::answering(answers).await;
    (Client::new(&fake.url, Some("t0ken".into())).unwrap(), fake)
}

#[tokio::test]
async fn a_push_carries_its_options() {
    let (client, fake) = client(vec![stored("hello")]).await;
    let options = PushOptions {
        durability: Some(Durability::Ram),
        nfr: Some("compress=none".into()),
        content_type: Some("text/plain".into()),
        meta: [("owner".to_owned(), "ada".to_owned())].into(),
        content_digest: Some(digest("hello")),
        condition: Condition::Absent,
        ttl_s: Some(60),
        session: Some("AQAA".into()),
        peer: None,
    };
    let pushed = client.push(&address(), Upload::bytes("hello"), &options).await.unwrap();
    assert_eq!((pushed.size, pushed.created, pushed.digest), (5, true, digest("hello")));
    assert_eq!((pushed.durability.as_str(), pushed.version.to_string().as_str()), ("disk", VERSION));
    let asked = fake.asked().await.remove(0);
    let content_digest = format!("content-digest: {}", digest("hello"));
    for part in
        ["PUT /v1/objects/c/a%20b HTTP", "mesh-durability: ram", "mesh-nfr: compress=none", "mesh-meta-owner: ada"]
    {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    for part in [
        "content-type: text/plain",
        "if-none-match: *",
        "mesh-ttl-s: 60",
        "mesh-session: AQAA",
        "content-length: 5",
        "authorization: Bearer t0ken",
        &content_digest,
        "\r\n\r\nhello",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[tokio::test]
async fn a_stream_of_known_size_says_so_and_another_is_chunked() {
    let pieces = || futures_util::stream::iter(["he", "llo"].map(|piece| Ok(Bytes::from(piece))));
    let (client, fake) = client(vec![stored("hello"), stored("hello")]).await;
    client.push(&address(), Upload::stream(pieces(), Some(5)), &PushOptions::default()).await.unwrap();
    client.push(&address(), Upload::stream(pieces(), None), &PushOptions::default()).await.unwrap();
    let asked = fake.asked().await;
    assert!(asked[0].contains("content-length: 5") && asked[0].ends_with("\r\n\r\nhello"), "{}", asked[0]);
    assert!(asked[1].contains("transfer-encoding: chunked"), "{}", asked[1]);
}

#[tokio::test]
async fn a_source_that_fails_is_named() {
    let (client, _fake) = client(vec![Vec::new()]).await;
    let pieces = futures_util::stream::iter([Ok(Bytes::from("he")), Err(io::Error::other("disk on fire"))]);
    let error = client.push(&address(), Upload::stream(pieces, Some(5)), &PushOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("disk on fire"), "{error}");
}

#[tokio::test]
async fn nonsense_is_refused_before_it_is_sent() {
    let client = Client::new("http://127.0.0.1:1", None).unwrap();
    let with = |options: PushOptions| {
        let client = client.clone();
        async move { client.push(&address(), Upload::bytes("x"), &options).await.unwrap_err().kind() }
    };
    assert_eq!(with(PushOptions { nfr: Some("encrypt=rot13".into()), ..Default::default() }).await, Kind::Invalid);
    assert_eq!(with(PushOptions { content_type: Some("a\nb".into()), ..Default::default() }).await, Kind::Invalid);
    assert_eq!(
        with(PushOptions { meta: [("a b".into(), "x".into())].into(), ..Default::default() }).await,
        Kind::Invalid
    );
}

#[tokio::test]
async fn a_pull_gives_object_and_bytes() {
    let (client, fake) = client(vec![answer("200 OK", &object_headers("hello"), "hello")]).await;
    let pulled = client.pull(&address(), None).await.unwrap();
    assert_eq!((pulled.object.size, pulled.range.clone()), (5, 0..5));
    assert_eq!(
        (pulled.object.level.as_deref(), pulled.object.content_type.as_deref()),
        (Some("ram"), Some("text/plain"))
    );
    assert_eq!(pulled.object.meta["owner"], "ada");
    assert_eq!(pulled.bytes().await.unwrap(), "hello");
    assert!(!fake.asked().await[0].to_lowercase().contains("range:"));
}

#[tokio::test]
async fn a_range_is_asked_for_and_understood() {
    let headers = format!("{}Content-Range: bytes 1-2/5\r\n", object_headers("hello"));
    let (client, fake) = client(vec![answer("206 Partial Content", &headers, "el")]).await;
    let pulled = client.pull(&address(), Some("bytes=1-2".parse().unwrap())).await.unwrap();
    assert_eq!((pulled.object.size, pulled.range.clone()), (5, 1..3));
    assert_eq!(pulled.bytes().await.unwrap(), "el");
    assert!(fake.asked().await[0].contains("range: bytes=1-2"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let mut torn = answer("200 OK", &object_headers("hello"), "hello");
    torn.truncate(torn.len() - 2);
    let (client, _fake) = client(vec![torn]).await;
    let error = client.pull(&address(), None).await.unwrap().bytes().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("c/a b"), "{error}");
}

#[tokio::test]
async fn a_body_that_breaks_off_over_damage_says_so() {
    let mut torn = answer("200 OK", &object_headers("hello"), "hello");
    torn.truncate(torn.len() - 2);
    let head = b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 99\r\n\r\n".to_vec();
    let json = r#"{"kind":"corrupt","detail":"the object's bytes are damaged"}"#;
    let why = answer("500 Internal Server Error", "Content-Type: application/problem+json\r\n", json);
    let (client, fake) = client(vec![torn, head, why]).await;
    let error = client.pull(&address(), None).await.unwrap().bytes().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.to_string().contains("c/a b"), "{error}");
    let asked = fake.asked().await;
    assert!(asked[1].starts_with("HEAD ") && asked[2].starts_with("GET "), "{asked:?}");
}

#[tokio::test]
async fn a_body_with_another_digest_is_corrupt() {
    let (client, _fake) = client(vec![answer("200 OK", &object_headers("hello"), "jello")]).await;
    let error = client.pull(&address(), None).await.unwrap().bytes().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_problem_keeps_its_kind_text_and_delay() {
    let json =
        r#"{"type":"x","title":"busy","status":429,"detail":"too much at once","kind":"busy","address":"c/a b"}"#;
    let headers = "Content-Type: application/problem+json\r\nRetry-After: 2\r\n";
    let (client, _fake) = client(vec![answer("429 Too Many Requests", headers, json)]).await;
    let error = client.pull(&address(), None).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Busy, "too much at once"));
    assert_eq!(error.delay(), Some(std::time::Duration::from_secs(2)));
    assert_eq!(error.to_string(), "too much at once (address: c/a b)");
}

#[tokio::test]
async fn kinds_that_share_a_status_are_told_apart() {
    for kind in ["already_exists", "precondition_failed"] {
        let json = format!(r#"{{"kind":"{kind}","detail":"no"}}"#);
        let (client, _fake) =
            client(vec![answer("412 Precondition Failed", "Content-Type: application/problem+json\r\n", &json)]).await;
        assert_eq!(client.delete(&address()).await.unwrap_err().kind().name(), kind);
    }
}

#[tokio::test]
async fn a_head_has_only_its_status() {
    let found = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n{}\r\n", object_headers("hello"));
    let missing = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 99\r\n\r\n".to_vec();
    let (client, _fake) = client(vec![found.into_bytes(), missing]).await;
    assert_eq!(client.stat(&address()).await.unwrap().size, 5);
    let error = client.stat(&address()).await.unwrap_err();
    assert_eq!((error.kind(), error.context("address")), (Kind::NotFound, Some("c/a b")));
}

#[tokio::test]
async fn another_server_is_recognised() {
    let (client, _fake) = client(vec![answer("200 OK", "Content-Type: text/html\r\n", "<html>")]).await;
    let error = client.pull(&address(), None).await.unwrap_err();
    assert!(error.to_string().contains("not one of a container"), "{error}");
}

#[tokio::test]
async fn nobody_there_says_what_to_do() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::new(&format!("http://127.0.0.1:{port}"), None).unwrap();
    let error = client.health().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("meshstore serve") && error.message().contains("--url"), "{error}");
}

#[tokio::test]
async fn a_list_goes_on_page_by_page() {
    let item = |key: &str| {
        format!(
            r#"{{"key":"{key}","version":"{VERSION}","size":1,"digest":"{}","type":null,"modified":"2026-01-01T00:00:00Z","level":"disk"}}"#,
            digest("x")
        )
    };
    let page = |items: &str, next: &str| answer("200 OK", "", &format!(r#"{{"items":[{items}],"next":{next}}}"#));
    let first = page(&format!("{},{}", item("a"), item("b")), "\"b\"");
    let (client, fake) = client(vec![first, page(&item("c d"), "null")]).await;
    let mut lister = client.list_all(&"c".parse().unwrap(), "p/");
    let mut keys = Vec::new();
    while let Some(item) = lister.next().await.unwrap() {
        keys.push(item.key);
    }
    assert_eq!(keys, ["a", "b", "c d"]);
    let asked = fake.asked().await;
    assert!(asked[0].starts_with("GET /v1/objects/c?prefix=p%2F HTTP"), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /v1/objects/c?prefix=p%2F&after=b HTTP"), "{}", asked[1]);
}

#[tokio::test]
async fn a_list_that_goes_in_circles_ends() {
    let page = || answer("200 OK", "", r#"{"items":[],"next":"b"}"#);
    let (client, _fake) = client(vec![page(), page()]).await;
    assert!(client.list_all(&"c".parse().unwrap(), "").next().await.is_err());
}

#[tokio::test]
async fn a_version_and_a_session_are_asked_for_and_told() {
    let headers = format!("{}Mesh-Session: AQAB\r\n", object_headers("hello"));
    let gone = answer("204 No Content", &format!("Mesh-Version: {VERSION}\r\nMesh-Session: AQAC\r\n"), "");
    let (client, fake) = client(vec![answer("200 OK", &headers, "hello"), gone]).await;
    let options = ReadOptions { version: VERSION.parse().ok(), session: Some("AQAA".into()), ..ReadOptions::default() };
    let pulled = client.pull_with(&address(), &options).await.unwrap();
    assert_eq!(pulled.object.session.as_deref(), Some("AQAB"));
    let condition = Condition::OneOf(vec![VERSION.parse().unwrap(); 2]);
    let options = DeleteOptions { condition, session: Some("AQAB".into()), peer: None };
    let deleted = client.delete_with(&address(), &options).await.unwrap();
    assert_eq!((deleted.version.as_deref(), deleted.session.as_deref()), (Some(VERSION), Some("AQAC")));
    let asked = fake.asked().await;
    assert!(asked[0].starts_with(&format!("GET /v1/objects/c/a%20b?version={VERSION} HTTP")), "{}", asked[0]);
    assert!(asked[0].contains("mesh-session: AQAA"), "{}", asked[0]);
    assert!(asked[1].contains(&format!("if-match: \"{VERSION}\", \"{VERSION}\"")), "{}", asked[1]);
    assert!(asked[1].contains("mesh-session: AQAB"), "{}", asked[1]);
    let bad = ReadOptions { session: Some("a\nb".into()), ..ReadOptions::default() };
    assert_eq!(client.stat_with(&address(), &bad).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_collection_is_changed_on_the_revision_that_was_read() {
    let shown = |revision: u64| {
        let json = format!(
            r#"{{"name":"c","policy":{{"ttl_s":5,"newer":true}},"revision":{revision},"created":"a","changed":"b","objects":1,"bytes":2}}"#
        );
        answer("200 OK", "", &json)
    };
    let stale = r#"{"kind":"precondition_failed","detail":"changed meanwhile"}"#;
    let stale = answer("412 Precondition Failed", "Content-Type: application/problem+json\r\n", stale);
    let (client, fake) = client(vec![shown(3), shown(4), stale, answer("204 No Content", "", "")]).await;
    let name = "c".parse().unwrap();
    let collection = client.collection(&name).await.unwrap();
    let (changed, created) = client.put_collection(&name, &collection.policy, Some(collection.revision)).await.unwrap();
    assert_eq!((changed.revision, created), (4, false));
    let error = client.put_collection(&name, &collection.policy, Some(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.context("collection")), (Kind::PreconditionFailed, Some("c")));
    client.remove_collection(&name, None).await.unwrap();
    let asked = fake.asked().await;
    assert!(asked[1].starts_with("PUT /v1/collections/c HTTP") && asked[1].contains("if-match: \"3\""), "{}", asked[1]);
    assert!(asked[1].ends_with(r#"{"newer":true,"ttl_s":5}"#), "{}", asked[1]);
    assert!(asked[2].contains("if-none-match: *"), "{}", asked[2]);
    assert!(asked[3].starts_with("DELETE /v1/collections/c HTTP"), "{}", asked[3]);
}

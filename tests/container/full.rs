//! A disk that is really full: pushes are refused, everything else goes on, and nothing is lost.
//!
//! With a container that never gives its reserve up, the deletes of this test fail with "the disk is full".

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Connection, Process, Response, body_of, object};
use crate::room::Room;

const PATIENCE: Duration = Duration::from_secs(30);

const DISK_BYTES: u64 = 48 << 20;
/// What the container keeps for deletes and receipts.
const RESERVE_BYTES: u64 = 16 << 20;

/// What is there by the answers: address, and the size of its body.
type Book = BTreeMap<String, usize>;

fn put(connection: &mut Connection, address: &str, bytes: usize) -> Response {
    connection.request("PUT", &object(address), &[], &body_of(address, 1, bytes)).unwrap()
}

/// Whether the object was stored. If it was not, the answer must say why, and what to do.
fn try_push(connection: &mut Connection, book: &mut Book, address: String, bytes: usize) -> bool {
    let answer = put(connection, &address, bytes);
    if answer.status == 201 {
        book.insert(address, bytes);
        return true;
    }
    let problem = answer.expect_problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the disk is full") && detail.contains("delete objects"), "{detail}");
    false
}

/// Pushes until not even the smallest object finds room, and gives what is left of the disk to somebody else.
fn fill(room: &Room, process: &Process) -> Book {
    let (mut book, mut connection) = (Book::new(), process.connect());
    let mut number = 0;
    // Frames of their own go when they are deleted; objects that rest in the store leave an old version there.
    for (collection, bytes) in [("keep", 3_000), ("drop", 90_000), ("keep", 12_000), ("keep", 200)] {
        let most = if bytes == 3_000 { 300 } else { usize::MAX };
        for _ in 0..most {
            number += 1;
            if !try_push(&mut connection, &mut book, format!("{collection}/{number}"), bytes) {
                break;
            }
            assert!(number < 20_000, "the disk never fills");
        }
    }
    let mut ballast = fs::File::create(room.data(process).join("ballast")).unwrap();
    let block = [1; 4096];
    while ballast.write_all(&block).is_ok() {}
    assert!(!try_push(&mut connection, &mut book, "keep/one-more".into(), 1_000));
    book
}

fn verify(process: &Process, book: &Book, gone: &[String]) {
    let mut connection = process.connect();
    for (address, bytes) in book {
        let answer = connection.request("GET", &object(address), &[], b"").unwrap().expect(200);
        assert!(answer.body == body_of(address, 1, *bytes), "{address} is not whole");
    }
    for address in gone {
        connection.request("GET", &object(address), &[], b"").unwrap().expect_problem(404, "not_found");
    }
}

/// Says so when it goes, also by a panic: those who push until then must not go on for ever.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Deletes from several connections at once, while others push: groups of both kinds of change.
fn delete(process: &Process, book: &mut Book, collection: &str) -> Vec<String> {
    let gone: Vec<String> = book.keys().filter(|address| address.starts_with(collection)).cloned().collect();
    let done = AtomicBool::new(false);
    let stored = thread::scope(|scope| {
        let (done, until) = (&done, Until(&done));
        let pushes: Vec<_> = (0..2)
            .map(|pusher| {
                scope.spawn(move || {
                    let (mut stored, mut connection) = (Book::new(), process.connect());
                    let mut number = 0;
                    while !done.load(Ordering::SeqCst) {
                        number += 1;
                        let address = format!("meanwhile/{collection}{pusher}/{number}");
                        try_push(&mut connection, &mut stored, address, if number % 2 == 0 { 2_000 } else { 30_000 });
                    }
                    stored
                })
            })
            .collect();
        let deletes: Vec<_> = gone
            .chunks(gone.len().div_ceil(4))
            .map(|part| {
                scope.spawn(move || {
                    let mut connection = process.connect();
                    for address in part {
                        connection.request("DELETE", &object(address), &[], b"").unwrap().expect(204);
                    }
                })
            })
            .collect();
        deletes.into_iter().for_each(|delete| delete.join().unwrap());
        drop(until);
        pushes.into_iter().flat_map(|push| push.join().unwrap()).collect::<Book>()
    });
    book.retain(|address, _| !address.starts_with(collection));
    book.extend(stored);
    gone
}

#[test]
fn a_full_disk_refuses_pushes_and_takes_deletes_also_across_a_kill() {
    let room = Room::new();
    // A budget that never bites: what is tested is the disk itself.
    let mut process = room.start(DISK_BYTES, &["--set", "data.budget_bytes=1000000000000"]);
    let reserve = room.data(&process).join("reserve");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES);
    process.request("PUT", "/v1/collections/keep", &[], b"{}").expect(201);
    process.request("PUT", "/v1/collections/drop", &[], br#"{"retention_s":0}"#).expect(201);
    process.request("PUT", "/v1/collections/meanwhile", &[], b"{}").expect(201);
    let mut book = fill(&room, &process);
    assert!(reserve.exists(), "pushes do not touch what is kept for deletes");
    verify(&process, &book, &[]);

    let mut gone = delete(&process, &mut book, "keep/");
    assert!(!reserve.exists(), "the deletes were to need it");
    verify(&process, &book, &gone);
    process.kill9();
    process.restart();
    verify(&process, &book, &gone);
    // Nothing has made room yet, and what is left of the reserve is not for pushes.
    process.put("keep/refused", b"bytes").expect_problem(503, "unavailable");

    gone.extend(delete(&process, &mut book, "drop/"));
    let deadline = Instant::now() + PATIENCE;
    let mut connection = process.connect();
    while !try_push(&mut connection, &mut book, "drop/again".into(), 90_000) {
        assert!(Instant::now() < deadline, "there is room, and pushes are still refused");
    }
    assert_eq!(fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES, "room for pushes comes after the reserve");
    process.kill9();
    process.restart();
    verify(&process, &book, &gone);
}

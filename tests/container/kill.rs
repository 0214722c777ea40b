//! `kill -9` at random instants of a mixed load: what was acknowledged is there afterwards, whole, and what was
//! owed to the cloud is still owed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Connection, Dice, Process, body_of, from_env, object, seed};

const WRITERS: u64 = 8;
const KEYS_EACH: u64 = 6;

/// What a key holds: the number and size of its last push, or nothing.
type Held = Option<(u64, usize)>;

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: Held,
    /// Asked for and not answered: it may or may not have happened.
    unanswered: Option<Held>,
    /// Changes asked for; no number is given twice.
    changes: u64,
}

/// The keys of one writer: nobody else touches them, so it knows what each must hold.
type Book = BTreeMap<String, Known>;

/// Objects up to 16 KiB rest in the store and larger ones in files; some have two chunks.
fn size(dice: &mut Dice) -> usize {
    match dice.below(10) {
        0..=5 => 1_000,
        6..=8 => 100_000 + dice.below(200_000) as usize,
        _ => 500_000 + dice.below(1_500_000) as usize,
    }
}

/// Pushes, overwrites and deletes until the container is gone. Gives the instant at which the push
/// began that was not answered, if it was a push.
fn write(addr: SocketAddr, book: &mut Book, mut dice: Dice, killed: &AtomicBool) -> Option<Instant> {
    let keys: Vec<String> = book.keys().cloned().collect();
    let mut connection = Connection::open(addr).ok()?;
    loop {
        let key = &keys[dice.below(KEYS_EACH) as usize];
        let known = book.get_mut(key).unwrap();
        known.changes += 1;
        let wanted = (dice.below(6) > 0).then(|| (known.changes, size(&mut dice)));
        let body = wanted.map(|(number, bytes)| body_of(key, number, bytes));
        let began = Instant::now();
        let answer = match &body {
            Some(body) => connection.request("PUT", &object(key), &[], body),
            None => connection.request("DELETE", &object(key), &[], b""),
        };
        match answer {
            Ok(answer) => {
                let right = if body.is_some() { matches!(answer.status, 200 | 201) } else { answer.status == 204 };
                assert!(right, "{key}: {answer:?}");
                known.acknowledged = wanted;
            }
            Err(error) => {
                assert!(killed.load(Ordering::SeqCst), "{key}: {error} while the container was alive");
                known.unanswered = Some(wanted);
                return body.map(|_| began);
            }
        }
    }
}

/// What a key holds now. Fails on bytes that nobody ever pushed as a whole.
fn read(connection: &mut Connection, key: &str) -> Held {
    let answer = connection.request("GET", &object(key), &[], b"").unwrap_or_else(|error| panic!("{key}: {error}"));
    if answer.status == 404 {
        return None;
    }
    let answer = answer.expect(200);
    let head = answer.body.split(|byte| *byte == b'\n').next().unwrap();
    let head = std::str::from_utf8(head).unwrap_or_else(|_| panic!("{key}: the body has no head"));
    let [whose, number, bytes] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{key}: {head:?}") };
    assert_eq!(whose, key, "another object's bytes");
    let held = (number.parse().unwrap(), bytes.parse().unwrap());
    assert!(answer.body == body_of(key, held.0, held.1), "{key}: {head:?} is not whole");
    let digest = format!("blake3:{}", blake3::hash(&answer.body).to_hex());
    assert_eq!(answer.header("mesh-digest"), Some(digest.as_str()), "{key}: bytes of one version, head of another");
    Some(held)
}

/// Every key of every writer holds what it must; what had been open is known from now on.
fn verify(process: &Process, books: &mut [Book], paid: bool) {
    let mut connection = process.connect();
    let mut there = Vec::new();
    for (key, known) in books.iter_mut().flatten() {
        let held = read(&mut connection, key);
        assert!(held == known.acknowledged || Some(held) == known.unanswered, "{key} holds {held:?}, not {known:?}");
        (known.acknowledged, known.unanswered) = (held, None);
        there.extend(held.map(|(_, bytes)| (key.split_once('/').unwrap().1.to_owned(), bytes as u64)));
    }
    there.sort_unstable();
    let page = connection.request("GET", "/v1/objects/kill?limit=1000", &[], b"").unwrap().expect(200).json();
    let listed = page["items"].as_array().unwrap().iter();
    let listed: Vec<_> =
        listed.map(|item| (item["key"].as_str().unwrap().to_owned(), item["size"].as_u64().unwrap())).collect();
    assert_eq!(listed, there, "the list and the objects differ");
    owes(&mut connection, &there, paid);
}

/// Every object is owed to the cloud until it is paid, and nothing else is owed.
fn owes(connection: &mut Connection, there: &[(String, u64)], paid: bool) {
    let page = connection.request("GET", "/v1/transfers?limit=1000", &[], b"").unwrap().expect(200).json();
    let owed = page["items"].as_array().unwrap().iter();
    let mut owed: Vec<&str> = owed.map(|item| item["address"].as_str().unwrap().split_once('/').unwrap().1).collect();
    owed.sort_unstable();
    let there: Vec<&str> = there.iter().map(|(key, _)| key.as_str()).collect();
    let right = if paid { owed.iter().all(|key| there.contains(key)) } else { owed == there };
    assert!(right, "{owed:?} are owed, and there are {there:?}");
}

/// Pays what is owed and lets the cloud alone keep it: what a kill made the container forget to send stays behind.
fn settle(process: &Process, books: &[Book]) {
    let objects = books.iter().flat_map(BTreeMap::values).filter(|known| known.acknowledged.is_some()).count();
    let report = process.request("POST", "/v1/sync", &[], b"").expect(200).json();
    assert_eq!(report["owed"]["objects"], 0, "{report}");
    let report = process.request("POST", "/v1/admin/evict", &[], br#"{"level":"disk"}"#).expect(200).json();
    assert_eq!(report["objects"], objects, "what the cloud has may leave: {report}");
    // What is deleted, or replaced, is to be forgotten there.
    let heads = process.data().join("cloud/heads");
    let deadline = Instant::now() + Duration::from_secs(20);
    while files_below(&heads) != objects {
        assert!(Instant::now() < deadline, "{} heads in the cloud for {objects} objects", files_below(&heads));
        thread::sleep(Duration::from_millis(20));
    }
}

/// The cloud's folder shows no file with a `#` in its name: it was being written when a kill came.
fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: PathBuf| match path.is_dir() {
        true => files_below(&path),
        false => usize::from(!path.to_str().unwrap().contains('#')),
    };
    entries.map(count).sum()
}

/// What kills left behind goes: a container that is killed every day must not fill its disk.
fn nothing_lies_about(process: &Process, books: &[Book]) {
    let large = |known: &&Known| known.acknowledged.is_some_and(|(_, bytes)| bytes > 16 << 10);
    let expected = books.iter().flat_map(BTreeMap::values).filter(large).count();
    let (frames, staging) = (process.data().join("frames"), process.data().join("staging"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while (files_below(&frames), files_below(&staging)) != (expected, 0) {
        let found = (files_below(&frames), files_below(&staging));
        assert!(Instant::now() < deadline, "{found:?} frames and unfinished ones for {expected} large objects");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn whatever_was_acknowledged_survives_kill_9_at_any_instant() {
    let rounds = from_env("MESHSTORE_KILL_ROUNDS", 50);
    println!("MESHSTORE_KILL_ROUNDS={rounds}");
    let mut dice = Dice::new(seed());
    let mut books: Vec<Book> = (0..WRITERS)
        .map(|writer| (0..KEYS_EACH).map(|key| (format!("kill/{writer}/{key}"), Known::default())).collect())
        .collect();
    let mut process = Process::start(&[]);
    // Old versions go at once here, so that the frames on disk can be counted at the end.
    let policy = br#"{"retention_s":0}"#;
    process.request("PUT", "/v1/collections/kill", &[], policy).expect(201);
    let mut in_flight = 0;
    for round in 0..rounds {
        if round > 0 {
            process.restart();
        }
        // Later on the load pays what it owes as well, so that kills meet payments too.
        let pays = round >= rounds / 2;
        verify(&process, &mut books, round > rounds / 2);
        let killed = AtomicBool::new(false);
        let wait = Duration::from_micros(dice.below(120_000));
        in_flight += thread::scope(|scope| {
            let addr = process.addr();
            if pays {
                scope.spawn(move || {
                    let mut connection = Connection::open(addr)?;
                    while connection.request("POST", "/v1/sync", &[], b"").is_ok() {}
                    Ok::<(), std::io::Error>(())
                });
            }
            let writers: Vec<_> = books
                .iter_mut()
                .map(|book| {
                    let (dice, killed) = (Dice::new(dice.roll()), &killed);
                    scope.spawn(move || write(addr, book, dice, killed))
                })
                .collect();
            // The instant itself is what is random; nothing is waited for.
            thread::sleep(wait);
            let kill = Instant::now();
            killed.store(true, Ordering::SeqCst);
            process.kill9();
            let open = writers.into_iter().map(|writer| writer.join().unwrap());
            open.filter(|began| began.is_some_and(|began| began < kill)).count() as u64
        });
    }
    process.restart();
    verify(&process, &mut books, true);
    nothing_lies_about(&process, &books);
    settle(&process, &books);
    process.kill9();
    process.restart();
    verify(&process, &mut books, true);
    let changes: u64 = books.iter().flat_map(BTreeMap::values).map(|known| known.changes).sum();
    println!("{changes} changes, {in_flight} pushes in flight at {rounds} kills");
    assert!(in_flight >= 3 * rounds, "{in_flight} pushes in flight at {rounds} kills prove too little");
    assert!(changes >= 20 * rounds, "{changes} changes in {rounds} rounds prove too little");
}

//! Actors that die and a container that is told to stop, both under a mixed load: what was acknowledged
//! stays, and service goes on or ends in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Connection, Dice, Process, Response, body_of, object};

const WRITERS: u64 = 6;
const KEYS_EACH: u64 = 6;
/// Longest time in which nothing of one writer may succeed.
const OUTAGE_MAX: Duration = Duration::from_secs(10);
/// Level 1 holds a part of the load, so that memory and eviction have work to do.
const SMALL: [&str; 4] = ["--set", "memory.budget_bytes=64MiB", "--set", "memory.level1_bytes=4MiB"];

/// What a key holds: the number and size of its last push, or nothing.
type Held = Option<(u64, usize)>;

#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Held,
    /// Asked for, and refused or not answered: it may or may not have happened.
    open: Vec<Held>,
    changes: u64,
}

/// The keys of one writer: nobody else changes them.
type Book = BTreeMap<String, Known>;

fn books() -> Vec<Book> {
    let keys = |writer| (0..KEYS_EACH).map(move |key| (format!("upheaval/{writer}/{key}"), Known::default()));
    (0..WRITERS).map(|writer| keys(writer).collect()).collect()
}

fn size(dice: &mut Dice) -> usize {
    match dice.below(10) {
        0..=4 => 1_000,
        5..=8 => 50_000 + dice.below(200_000) as usize,
        _ => 1_100_000,
    }
}

/// Which push an answer's body is; fails on bytes that nobody pushed as a whole to this key.
fn identify(key: &str, answer: &Response) -> (u64, usize) {
    let head = answer.body.split(|byte| *byte == b'\n').next().unwrap();
    let head = std::str::from_utf8(head).unwrap_or_else(|_| panic!("{key}: the body has no head"));
    let [whose, number, bytes] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{key}: {head:?}") };
    assert_eq!(whose, key, "another object's bytes");
    let held = (number.parse().unwrap(), bytes.parse().unwrap());
    assert!(answer.body == body_of(key, held.0, held.1), "{key}: {head:?} is not whole");
    held
}

fn read(connection: &mut Connection, key: &str) -> std::io::Result<Result<Held, Response>> {
    let answer = connection.request("GET", &object(key), &[], b"")?;
    Ok(match answer.status {
        200 => Ok(Some(identify(key, &answer))),
        404 => Ok(None),
        _ => Err(answer),
    })
}

/// Refused for a while: retryable, and said in the contract's words.
fn expect_refusal(key: &str, answer: Response) {
    assert!(answer.status == 503, "{key}: {} {}", answer.status, answer.text());
    answer.expect_problem(503, "unavailable");
}

/// Pushes of both classes, overwrites, deletes and reads until told to end, or until the container ends.
fn write(addr: SocketAddr, book: &mut Book, mut dice: Dice, load: &Load) {
    let keys: Vec<String> = book.keys().cloned().collect();
    let mut connection = Connection::open(addr).unwrap();
    let mut last = Instant::now();
    while !load.over.load(Ordering::SeqCst) {
        let key = &keys[dice.below(KEYS_EACH) as usize];
        let known = book.get_mut(key).unwrap();
        if dice.below(3) == 0 {
            match read(&mut connection, key) {
                Ok(Ok(held)) => {
                    let right = held == known.acknowledged || known.open.contains(&held);
                    assert!(right, "{key} reads {held:?}: {known:?}");
                }
                Ok(Err(answer)) => load.refused(key, answer, last),
                Err(error) => return load.gone(key, &error),
            }
            continue;
        }
        known.changes += 1;
        let wanted = (dice.below(6) > 0).then(|| (known.changes, size(&mut dice)));
        let class = if dice.below(2) == 0 { "ram" } else { "disk" };
        let answer = match wanted {
            Some((number, bytes)) => {
                let body = body_of(key, number, bytes);
                connection.request("PUT", &object(key), &[("Mesh-Durability", class)], &body)
            }
            None => connection.request("DELETE", &object(key), &[], b""),
        };
        match answer {
            Ok(answer) if matches!((wanted, answer.status), (Some(_), 200 | 201) | (None, 204)) => {
                (known.acknowledged, known.open) = (wanted, Vec::new());
                load.done.fetch_add(1, Ordering::Relaxed);
                last = Instant::now();
            }
            Ok(answer) => {
                known.open.push(wanted);
                load.refused(key, answer, last);
                // A door that refuses before it has read the body may close.
                connection = match Connection::open(addr) {
                    Ok(connection) => connection,
                    Err(error) => return load.gone(key, &error),
                };
            }
            Err(error) => {
                known.open.push(wanted);
                return load.gone(key, &error);
            }
        }
    }
}

/// What all writers share.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    /// The container was told to stop: connections may end.
    stopping: AtomicBool,
    done: AtomicU64,
    refusals: AtomicU64,
}

impl Load {
    fn refused(&self, key: &str, answer: Response, last: Instant) {
        expect_refusal(key, answer);
        self.refusals.fetch_add(1, Ordering::Relaxed);
        if !self.stopping.load(Ordering::SeqCst) {
            assert!(last.elapsed() < OUTAGE_MAX, "{key}: nothing succeeds any more");
        }
    }

    fn gone(&self, key: &str, error: &std::io::Error) {
        assert!(self.stopping.load(Ordering::SeqCst), "{key}: {error} while the container was alive");
    }
}

/// Every key holds what it must.
fn verify(process: &Process, books: &[Book]) {
    let mut connection = process.connect();
    for (key, known) in books.iter().flatten() {
        let held = read(&mut connection, key).unwrap().unwrap_or_else(|answer| panic!("{key}: {}", answer.text()));
        assert!(held == known.acknowledged || known.open.contains(&held), "{key} holds {held:?}, not {known:?}");
    }
}

/// How often an actor died, and what it died of, as an operator sees it.
fn deaths(process: &Process, actor: &str) -> u64 {
    let report = process.request("GET", "/v1/admin/actors", &[], b"").expect(200).json();
    let actors = report["actors"].as_array().unwrap();
    let known = actors.iter().find(|known| known["name"] == actor).unwrap_or_else(|| panic!("no {actor}: {report}"));
    let restarts = known["restarts"].as_u64().unwrap();
    let said = known["last_error"]["text"].as_str().unwrap_or_default();
    assert!(restarts == 0 || said.starts_with("a planned panic"), "{known}");
    restarts
}

/// Runs the load until an actor has died so often, and goes on for as much again.
fn survives(actor: &str, every: u64) {
    const TIMES: u64 = 5;
    let plan = format!("{actor}:{every}:{TIMES}");
    let mut process = Process::start_with_env(&SMALL, &[("MESHSTORE_TEST_PANIC", &plan)]);
    let (mut books, load) = (books(), Load::default());
    thread::scope(|scope| {
        let addr = process.addr();
        for (seed, book) in books.iter_mut().enumerate() {
            let load = &load;
            scope.spawn(move || write(addr, book, Dice::new(seed as u64 + every), load));
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while deaths(&process, actor) < TIMES && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let (then, deadline) = (load.done.load(Ordering::Relaxed), Instant::now() + OUTAGE_MAX);
        while load.done.load(Ordering::Relaxed) < then + 100 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        load.over.store(true, Ordering::SeqCst);
        assert!(load.done.load(Ordering::Relaxed) >= then + 100, "service did not resume");
    });
    assert_eq!(deaths(&process, actor), TIMES, "each death is counted");
    verify(&process, &books);
    let (done, refused) = (load.done.load(Ordering::Relaxed), load.refusals.load(Ordering::Relaxed));
    println!("{actor}: {done} changes, {refused} refusals, {TIMES} deaths");
    process.terminate();
    process.restart();
    verify(&process, &books);
}

#[test]
fn the_container_actor_may_die_at_any_message() {
    survives("container", 61);
}

#[test]
fn the_memory_actor_may_die_at_any_message() {
    survives("memory", 7);
}

#[test]
fn the_eviction_actor_may_die_at_any_message() {
    survives("eviction", 13);
}

#[test]
fn the_disk_actor_may_die_at_any_message() {
    survives("disk", 37);
}

#[test]
fn the_nfr_actor_may_die_at_any_message() {
    survives("nfr", 41);
}

#[test]
fn the_sync_actor_may_die_at_any_message() {
    survives("sync", 1);
}

#[test]
fn the_scrub_actor_may_die_at_any_message() {
    survives("scrub", 2);
}

#[test]
fn the_keys_actor_may_die_at_any_message() {
    survives("keys", 1);
}

#[test]
fn an_actor_that_dies_while_memory_is_written_out_loses_nothing() {
    for plan in ["memory:1:2", "disk:2:3", "nfr:9:3"] {
        let mut process = Process::start_with_env(&[], &[("MESHSTORE_TEST_PANIC", plan)]);
        let addresses: Vec<String> = (0..6).map(|n| format!("upheaval/out/{n}")).collect();
        for address in &addresses {
            let body = body_of(address, 1, 40_000);
            let push = || process.request("PUT", &object(address), &[("Mesh-Durability", "ram")], &body);
            // The planned death may meet a push as well.
            while push().status == 503 {}
        }
        process.terminate();
        process.restart();
        for address in &addresses {
            assert!(process.get(address).expect(200).body == body_of(address, 1, 40_000), "{plan}: {address}");
        }
    }
}

#[test]
fn sigterm_under_load_ends_in_order_and_keeps_what_was_acknowledged() {
    for round in 0..2 {
        // Two transfers that pause hold their share of the memory for bodies, and must leave some to others.
        let mut process = Process::start(&["--set", "memory.budget_bytes=512MiB", "--set", "memory.level1_bytes=4MiB"]);
        let large = body_of("upheaval/large", 1, 6_000_000);
        process.put("upheaval/large", &large).expect(201);
        let (mut books, load) = (books(), Load::default());
        let slow = body_of("upheaval/slow", 1, 3_000_000);
        thread::scope(|scope| {
            let addr = process.addr();
            for (seed, book) in books.iter_mut().enumerate() {
                let load = &load;
                scope.spawn(move || write(addr, book, Dice::new(round * 100 + seed as u64), load));
            }
            let deadline = Instant::now() + Duration::from_secs(30);
            while load.done.load(Ordering::Relaxed) < 60 + round * 20 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            // One upload and one download are half-way when the signal comes.
            let mut upload = process.connect();
            upload.begin("PUT", &object("upheaval/slow"), &[], slow.len() as u64).unwrap();
            upload.send(&slow[..2_000_000]).unwrap();
            let mut download = process.connect();
            download.begin("GET", &object("upheaval/large"), &[], 0).unwrap();
            download.answer().unwrap().expect(200);
            let mut idle = process.connect();
            idle.request("GET", "/readyz", &[], b"").unwrap().expect(200);

            load.stopping.store(true, Ordering::SeqCst);
            process.signal("TERM");
            // Whoever asks meanwhile hears why not.
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let answer = idle.request("PUT", &object("upheaval/late"), &[], b"late").unwrap();
                if answer.status == 503 {
                    answer.expect_problem(503, "unavailable");
                    break;
                }
                assert!(Instant::now() < deadline, "the signal has no effect: {answer:?}");
            }
            upload.send(&slow[2_000_000..]).unwrap();
            upload.answer().unwrap().expect(201);
            let mut read = vec![0; large.len()];
            download.read_exact(&mut read).unwrap();
            assert!(read == large, "the download is not what was pushed");
        });
        process.ended();
        process.restart();
        verify(&process, &books);
        assert!(process.get("upheaval/slow").expect(200).body == slow);
        assert!(load.done.load(Ordering::Relaxed) >= 60);
    }
}

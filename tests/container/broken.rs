//! A disk that fails now and then, crawls, or cannot be written any more: nothing that was acknowledged is lost,
//! whatever needs no disk goes on, whoever waits is answered in time, and a disk that is well again is used again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::faulty::{EIO, EROFS, Machine, NAMES, READS, SYNCS, WRITES};
use crate::harness::{Connection, Dice, Process, Response, body_of, object, seed};
use crate::room::Room;

const PATIENCE: Duration = Duration::from_secs(30);

const WRITERS: u64 = 6;
const KEYS_EACH: u64 = 5;

/// What a key holds: the number and size of its last push, or nothing.
type Held = Option<(u64, usize)>;

#[derive(Debug, Default)]
struct Known {
    acknowledged: Held,
    /// Asked for and refused: it may or may not have happened.
    open: Vec<Held>,
    changes: u64,
}

/// The keys of one writer: nobody else touches them.
type Book = BTreeMap<String, Known>;

/// Refused with what a broken disk may be answered with, and in words.
fn expect_refusal(key: &str, answer: Response) {
    match answer.status {
        500 => answer.expect_problem(500, "internal"),
        503 => answer.expect_problem(503, "unavailable"),
        _ => panic!("{key}: {answer:?}: {}", answer.text()),
    };
}

/// Fails on anything but what the key must hold, or a refusal. Says whether it was read.
fn check(connection: &mut Connection, key: &str, known: &Known) -> bool {
    let Ok(answer) = connection.request("GET", &object(key), &[], b"") else {
        // Cut off in its body, which says as much.
        return false;
    };
    let held = match answer.status {
        404 => None,
        200 => {
            let head = answer.body.split(|byte| *byte == b'\n').next().unwrap();
            let head: Vec<&str> = std::str::from_utf8(head).unwrap().split(' ').collect();
            let held = (head[1].parse().unwrap(), head[2].parse().unwrap());
            assert!(answer.body == body_of(key, held.0, held.1), "{key}: {head:?} is not whole");
            Some(held)
        }
        _ => {
            expect_refusal(key, answer);
            return false;
        }
    };
    assert!(held == known.acknowledged || known.open.contains(&held), "{key} holds {held:?}, not {known:?}");
    true
}

/// One push, delete or read. Says whether it was done.
fn step(process: &Process, connection: &mut Connection, book: &mut Book, dice: &mut Dice) -> bool {
    let at = dice.below(KEYS_EACH) as usize;
    let (key, known) = book.iter_mut().nth(at).unwrap();
    if dice.below(4) == 0 {
        let done = check(connection, key, known);
        if !done {
            *connection = process.connect();
        }
        return done;
    }
    known.changes += 1;
    let bytes = [600, 9_000, 60_000, 1_200_000][dice.below(4) as usize];
    let wanted = (dice.below(6) > 0).then_some((known.changes, bytes));
    let answer = match wanted {
        Some((number, bytes)) => connection.request("PUT", &object(key), &[], &body_of(key, number, bytes)),
        None => connection.request("DELETE", &object(key), &[], b""),
    };
    let answer = answer.unwrap_or_else(|error| panic!("{key}: {error}; {}", process.said()));
    if matches!(answer.status, 200 | 201 | 204) {
        (known.acknowledged, known.open) = (wanted, Vec::new());
        return true;
    }
    known.open.push(wanted);
    expect_refusal(key, answer);
    *connection = process.connect();
    false
}

#[test]
fn io_errors_are_told_lose_nothing_and_end_with_the_fault() {
    let seed = seed();
    let machine = Machine::new(seed);
    // A level 1 that holds little, so that reads go to the disk.
    let mut process = machine.start(&["--set", "memory.level1_bytes=1MiB"]);
    let mut books: Vec<Book> = (0..WRITERS)
        .map(|writer| (0..KEYS_EACH).map(|key| (format!("broken/{writer}/{key}"), Known::default())).collect())
        .collect();
    let (over, done, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for (writer, book) in books.iter_mut().enumerate() {
            let (process, over, done, refused) = (&process, &over, &done, &refused);
            scope.spawn(move || {
                let (mut dice, mut connection) = (Dice::new(seed ^ writer as u64), process.connect());
                while !over.load(Ordering::SeqCst) {
                    let tally = if step(process, &mut connection, book, &mut dice) { done } else { refused };
                    tally.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _ends = Until(&over);
        let some = |more: u64, tally: &AtomicU64, what: &str| {
            let (then, deadline) = (tally.load(Ordering::SeqCst), Instant::now() + PATIENCE);
            while tally.load(Ordering::SeqCst) < then + more {
                assert!(Instant::now() < deadline, "{what}; {}", process.said());
                thread::sleep(Duration::from_millis(2));
            }
        };
        some(60, &done, "it never begins");
        for (calls, per_mille) in
            [(SYNCS, 300), (WRITES, 30), (READS, 300), (NAMES, 300), (SYNCS | WRITES | READS, 1000)]
        {
            machine.fail(calls, EIO, per_mille);
            some(8, &refused, "nothing fails");
            machine.heal();
            some(40, &done, "service does not resume on a disk that is well again");
        }
    });
    let verify = |process: &Process, when: &str| {
        let mut connection = process.connect();
        for (key, known) in books.iter().flatten() {
            assert!(check(&mut connection, key, known), "{key} cannot be read {when}");
        }
    };
    println!("{} done, {} refused, {} calls failed", done.into_inner(), refused.into_inner(), machine.met());
    verify(&process, "on a disk that is well");
    process.kill9();
    process.restart();
    verify(&process, "after a kill");
}

/// Says so when it goes, also by a panic.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn evict(process: &Process) {
    process.request("POST", "/v1/admin/evict", &[], br#"{"level":"ram"}"#).expect(200);
}

#[test]
fn a_disk_that_crawls_holds_up_nobody_who_needs_none_and_deadlines_are_answered() {
    const CRAWL: Duration = Duration::from_millis(2_000);
    const SWIFT: Duration = Duration::from_millis(800);
    let machine = Machine::new(0);
    let process = machine.start(&[]);
    let body = body_of("crawl/disk", 1, 300_000);
    process.put("crawl/disk", &body).expect(201);
    evict(&process);
    process.put("crawl/held", &body).expect(201);
    machine.slow(CRAWL);
    thread::scope(|scope| {
        // Somebody always waits for a sync.
        let slow: Vec<_> = [1_000, 100_000]
            .into_iter()
            .map(|bytes| {
                let process = &process;
                scope.spawn(move || {
                    let began = Instant::now();
                    let address = format!("crawl/slow-{bytes}");
                    process.put(&address, &body_of(&address, 1, bytes)).expect(201);
                    assert!(began.elapsed() >= CRAWL, "class disk waits for its disk");
                })
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        while machine.met() == 0 {
            assert!(Instant::now() < deadline, "nothing is synced");
            thread::sleep(Duration::from_millis(2));
        }
        let swift = |what: &str, work: &dyn Fn() -> Response| {
            let began = Instant::now();
            let answer = work();
            assert!(began.elapsed() < SWIFT, "{what} took {:?}", began.elapsed());
            answer
        };
        let ram = [("Mesh-Durability", "ram")];
        let mut rounds = 0;
        while rounds < 3 || slow.iter().any(|slow| !slow.is_finished()) {
            rounds += 1;
            assert!(swift("a pull from memory", &|| process.get("crawl/held")).expect(200).body == body);
            assert!(swift("a pull from the disk", &|| process.get("crawl/disk")).expect(200).body == body);
            let address = format!("crawl/ram-{rounds}");
            let push = || process.request("PUT", &object(&address), &ram, address.as_bytes());
            swift("a push to memory", &push).expect(201);
            assert_eq!(swift("a pull of it", &|| process.get(&address)).expect(200).body, address.as_bytes());
            swift("a list", &|| process.request("GET", "/v1/objects/crawl", &[], b"")).expect(200);
            swift("a sign of life", &|| process.request("GET", "/readyz", &[], b"")).expect(200);
            let hurried = [("Mesh-Deadline-Ms", "100")];
            for bytes in [10, 100_000] {
                let push = || process.request("PUT", &object("crawl/late"), &hurried, &vec![7; bytes]);
                swift("a push in a hurry", &push).expect_problem(504, "deadline");
            }
            let delete = || process.request("DELETE", &object("crawl/late"), &hurried, b"");
            swift("a delete in a hurry", &delete).expect_problem(504, "deadline");
        }
    });
    machine.heal();
    process.put("crawl/after", b"quick").expect(201);
    assert!(process.get("crawl/slow-100000").expect(200).body == body_of("crawl/slow-100000", 1, 100_000));
}

#[test]
fn a_disk_that_turns_read_only_refuses_pushes_serves_pulls_and_is_used_again_when_it_can_be_written() {
    let machine = Machine::new(0);
    let mut process = machine.start(&[]);
    let bodies = [("only/small", 700), ("only/large", 250_000)].map(|(address, bytes)| {
        let body = body_of(address, 1, bytes);
        process.put(address, &body).expect(201);
        (address, body)
    });
    let held = |process: &Process| {
        for (address, body) in &bodies {
            assert!(process.get(address).expect(200).body == *body, "{address}");
        }
    };
    let refused = |answer: Response| {
        let problem = answer.expect_problem(503, "unavailable");
        assert!(problem["detail"].as_str().unwrap().contains("not writable"), "{problem}");
    };
    machine.fail(WRITES | NAMES, EROFS, 1000);
    for _ in 0..3 {
        for bytes in [10, 5_000, 200_000] {
            refused(process.put("only/new", &body_of("only/new", 1, bytes)));
            refused(process.put("only/small", &body_of("only/small", 2, bytes)));
        }
        refused(process.delete("only/large"));
        evict(&process);
        held(&process);
        process.get("only/new").expect_problem(404, "not_found");
        let listed = process.request("GET", "/v1/objects/only", &[], b"").expect(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    }
    machine.heal();
    process.put("only/new", b"written").expect(201);
    process.delete("only/new").expect(204);
    held(&process);
    process.kill9();
    process.restart();
    held(&process);
    process.get("only/new").expect_problem(404, "not_found");
}

#[test]
fn a_start_on_a_read_only_folder_says_so() {
    let room = Room::new();
    let mut process = room.start(64 << 20, &[]);
    process.put("only/kept", b"kept").expect(201);
    process.terminate();
    let data = process.data();
    let mount = |how: &str| room.run(&["mount", "-o", &format!("remount,{how}"), data.to_str().unwrap()]);
    mount("ro");
    let refused = process.try_restart().expect_err("nothing can be written");
    assert_eq!(refused.code, Some(23), "unavailable; {refused:?}");
    for words in ["not writable", "permissions", data.to_str().unwrap()] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    mount("rw");
    process.restart();
    assert_eq!(process.get("only/kept").expect(200).body, b"kept");
}

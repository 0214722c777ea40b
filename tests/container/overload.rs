//! Far more than a container can take: thousands of idle connections, heads and bodies that dribble in, more
//! pushes at once than there is memory. It stays within its budget, says `busy`, and serves good clients on.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Connection, Process, body_of, from_env, object};

const MIB: u64 = 1 << 20;

/// What a good client bears: from its connecting to the last byte of its answer.
const BEARABLE: Duration = Duration::from_secs(4);

/// A container with this budget, and its limit of connections.
fn start(budget: u64) -> (Process, usize) {
    let process = Process::start(&["--set", &format!("memory.budget_bytes={budget}")]);
    let shown = process.cli(&["config", "show", "--json", "--set", &format!("memory.budget_bytes={budget}")], b"");
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let most = shown["limits.connections_max"].as_str().unwrap().parse().unwrap();
    (process, most)
}

/// Lets this process have as many files open as the system allows it, at most `wanted`; says how many.
fn open_files(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: usize = line.split_whitespace().nth(4).unwrap().parse().unwrap_or(usize::MAX);
    let files = wanted.min(hard);
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
    assert!(raised.expect("prlimit of util-linux").success());
    files
}

/// What good clients do all the while. Each answer is right and comes in time.
struct Good<'a> {
    process: &'a Process,
    over: AtomicBool,
    served: AtomicUsize,
}

impl<'a> Good<'a> {
    fn new(process: &'a Process) -> Self {
        process.put("good/small", &body_of("good/small", 1, 1_000)).expect(201);
        process.put("good/large", &body_of("good/large", 1, 400_000)).expect(201);
        Good { process, over: AtomicBool::new(false), served: AtomicUsize::new(0) }
    }

    /// Runs until told to end, with connections of its own: one that is kept, and new ones.
    fn run(&self) {
        let mut kept = self.process.connect();
        loop {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let mut fresh = self.process.connect();
            self.ask(&mut fresh, "good/small", 1_000);
            self.ask(&mut fresh, "good/large", 400_000);
            self.ask(&mut kept, "good/small", 1_000);
            self.served.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Good<'_> {
    /// A pull that must be right, and in time. As every client of HTTP does, this one asks again on a new
    /// connection when one ends before it was answered.
    fn ask(&self, connection: &mut Connection, address: &str, bytes: usize) {
        let began = Instant::now();
        let answer = loop {
            match connection.request("GET", &object(address), &[], b"") {
                Ok(answer) => break answer.expect(200),
                Err(error) => assert!(began.elapsed() < BEARABLE, "a good client's pull: {error}"),
            }
            *connection = self.process.connect();
        };
        assert!(answer.body == body_of(address, 1, bytes));
        assert!(began.elapsed() < BEARABLE, "a good client waited {:?}", began.elapsed());
    }
}

impl Drop for Good<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

fn within(process: &Process, budget: u64) {
    let peak = process.peak_memory_bytes();
    println!("{} MiB of {} MiB at the peak", peak / MIB, budget / MIB);
    assert!(peak < budget, "{} MiB of memory are above the budget of {} MiB", peak / MIB, budget / MIB);
}

/// Connections that send this and nothing more, one after the other, however long each waits for its place.
fn crowd(addr: SocketAddr, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(60)).unwrap();
        stream.write_all(first).unwrap();
        stream
    };
    (0..count).map(open).collect()
}

#[test]
fn idle_connections_by_the_thousand_turn_no_good_client_away() {
    let wanted = from_env("MESHSTORE_IDLE_CONNECTIONS", 3_000) as usize;
    let count = wanted.min(open_files(wanted + 2_000).saturating_sub(1_500));
    let budget = 512 * MIB;
    let (process, most) = start(budget);
    assert!(count > 4 * most, "{count} connections are no crowd for a door of {most}");
    let good = Good::new(&process);
    thread::scope(|scope| {
        let good = &good;
        let client = scope.spawn(move || good.run());
        let began = Instant::now();
        let crowd = crowd(process.addr(), count, b"");
        let opened = began.elapsed();
        let then = good.served.load(Ordering::SeqCst);
        while good.served.load(Ordering::SeqCst) < then + 5 && !client.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        good.over.store(true, Ordering::SeqCst);
        client.join().unwrap();
        println!(
            "{count} idle connections in {opened:.1?} at a door of {most}, {} rounds of a good client",
            good.served.load(Ordering::SeqCst)
        );
        drop(crowd);
    });
    within(&process, budget);
}

#[test]
fn heads_and_bodies_that_dribble_in_hold_no_good_client_up() {
    let budget = 512 * MIB;
    open_files(10_000);
    let (process, most) = start(budget);
    let count = most + 100;
    let good = Good::new(&process);
    for first in [
        "GET /v1/objects/good/small HTTP/1.1\r\nHost: localhost\r\nX-Slow: a".to_owned(),
        "PUT /v1/objects/slow/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\nslow".to_owned(),
        "PUT /v1/objects/slow/small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nslow".to_owned(),
    ] {
        good.over.store(false, Ordering::SeqCst);
        let (over, opened, addr) = (AtomicBool::new(false), AtomicUsize::new(0), process.addr());
        thread::scope(|scope| {
            let (good, over, opened, first) = (&good, &over, &opened, &first);
            let client = scope.spawn(move || good.run());
            let slow = scope.spawn(move || {
                let mut slow: Vec<TcpStream> = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    // Whoever is cut off comes again.
                    while slow.len() < count && !over.load(Ordering::SeqCst) {
                        slow.extend(crowd(addr, 1, first.as_bytes()));
                    }
                    opened.store(slow.len(), Ordering::SeqCst);
                    slow.retain_mut(|stream| stream.write_all(b"x").is_ok());
                    thread::sleep(Duration::from_millis(100));
                }
            });
            while opened.load(Ordering::SeqCst) < count && !client.is_finished() {
                thread::sleep(Duration::from_millis(5));
            }
            let then = good.served.load(Ordering::SeqCst);
            while good.served.load(Ordering::SeqCst) < then + 5 && !client.is_finished() {
                thread::sleep(Duration::from_millis(5));
            }
            over.store(true, Ordering::SeqCst);
            good.over.store(true, Ordering::SeqCst);
            slow.join().unwrap();
            client.join().unwrap();
        });
        println!("{} rounds of a good client", good.served.load(Ordering::SeqCst));
    }
    within(&process, budget);
}

#[test]
fn more_pushes_at_once_than_there_is_memory_are_stored_or_told_when_to_come_back() {
    let shared = body_of("many", 1, 10_000_000);
    let pushes = from_env("MESHSTORE_PUSHES", 60) as usize;
    let budget = from_env("MESHSTORE_PUSHES_BUDGET_MIB", 64) * MIB;
    open_files(10_000);
    let (process, _) = start(budget);
    let good = Good::new(&process);
    let (began, start) = (Instant::now(), Barrier::new(pushes));
    let stored: Vec<bool> = thread::scope(|scope| {
        let (good, start, shared) = (&good, &start, &shared);
        let client = scope.spawn(move || good.run());
        let push = move |n: usize| {
            let address = format!("many/{n}");
            start.wait();
            let mut connection = good.process.connect();
            let sent = connection.begin("PUT", &object(&address), &[], (address.len() + shared.len()) as u64);
            // Refused, it may be told so before all of its body was sent.
            let sent = sent.and_then(|()| connection.send(address.as_bytes())).and_then(|()| connection.send(shared));
            let answer = connection.whole_answer();
            let answer = answer.unwrap_or_else(|error| panic!("{address}: {error} {sent:?}; {}", good.process.said()));
            if answer.status == 201 {
                return true;
            }
            let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}: {}", answer.text());
            answer.expect_problem(429, "busy");
            false
        };
        let pushing: Vec<_> = (0..pushes).map(|n| scope.spawn(move || push(n))).collect();
        let stored = pushing.into_iter().map(|push| push.join().unwrap()).collect();
        good.over.store(true, Ordering::SeqCst);
        client.join().unwrap();
        stored
    });
    let took = began.elapsed();
    for (n, stored) in stored.iter().enumerate() {
        let address = format!("many/{n}");
        let answer = process.get(&address).expect(if *stored { 200 } else { 404 });
        assert!(!stored || answer.body == [address.as_bytes(), &shared].concat(), "{address}");
    }
    let stored = stored.into_iter().filter(|stored| *stored).count();
    let rounds = good.served.load(Ordering::SeqCst);
    println!(
        "{stored} of {pushes} stored in {took:.1?}, the others told to come back; {rounds} rounds of a good client"
    );
    assert!(stored > 0, "refusing everything is no way to stay within a budget");
    within(&process, budget);
}

//! Bodies far larger than memory, and many large ones at once: both within the memory budget.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::harness::{Connection, Dice, PIECE_BYTES, Process, body_of, object};

const MIB: u64 = 1 << 20;

/// A body of any length that does not compress, made piece by piece; no two pieces are alike.
struct Endless {
    piece: Vec<u8>,
    made: u64,
}

impl Endless {
    fn new(seed: u64) -> Self {
        let mut piece = vec![0; PIECE_BYTES];
        Dice::new(seed).fill(&mut piece);
        Endless { piece, made: 0 }
    }

    /// The next piece. Every word of it differs from the one before, at the cost of an addition, so
    /// that what is measured is the container.
    fn next(&mut self) -> &[u8] {
        self.made += 1;
        for word in self.piece.chunks_exact_mut(8) {
            let next = u64::from_le_bytes(word.try_into().unwrap()).wrapping_mul(0xd134_2543_de82_ef95);
            word.copy_from_slice(&next.wrapping_add(self.made | 1).to_le_bytes());
        }
        &self.piece
    }
}

/// Pushes a generated body of `bytes` and pulls it back, holding a piece of it at a time.
fn push_and_pull(process: &Process, bytes: u64) {
    assert!(bytes.is_multiple_of(PIECE_BYTES as u64));
    let began = Instant::now();
    let mut connection = process.connect();
    let mut body = Endless::new(bytes);
    let mut digest = blake3::Hasher::new();
    connection.begin("PUT", &object("stream/large"), &[], bytes).unwrap();
    for at in 0..bytes / PIECE_BYTES as u64 {
        let piece = body.next();
        digest.update(piece);
        if let Err(error) = connection.send(piece) {
            panic!("piece {at}: {error}; the container said {:?}", connection.answer());
        }
    }
    let stored = connection.answer().unwrap().expect(201);
    let digest = format!("blake3:{}", digest.finalize().to_hex());
    assert_eq!(stored.header("mesh-digest"), Some(digest.as_str()));
    let on_disk = bytes_below(&process.data().join("frames"));
    assert!(on_disk >= bytes, "a body that shrinks to {on_disk} bytes shows little about large ones");
    let pushed = began.elapsed();

    let mut connection = process.connect();
    connection.begin("GET", &object("stream/large"), &[], 0).unwrap();
    let answer = connection.answer().unwrap().expect(200);
    assert_eq!(answer.header("content-length"), Some(bytes.to_string().as_str()));
    let (mut body, mut got) = (Endless::new(bytes), vec![0; PIECE_BYTES]);
    for at in 0..bytes / PIECE_BYTES as u64 {
        connection.read_exact(&mut got).unwrap_or_else(|error| panic!("piece {at}: {error}; {}", process.said()));
        assert!(got == body.next(), "piece {at} differs");
    }
    println!("{} MiB: pushed in {pushed:.1?}, pulled in {:.1?}", bytes / MIB, began.elapsed() - pushed);
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn a_body_far_larger_than_memory_goes_in_and_out_within_the_budget() {
    let (bytes, budget) = (4_096 * MIB, 512 * MIB);
    let process = Process::start(&["--set", &format!("memory.budget_bytes={budget}")]);
    push_and_pull(&process, bytes);
    let peak = process.peak_memory_bytes();
    println!("{} MiB of {} MiB at the peak", peak / MIB, budget / MIB);
    assert!(peak < budget, "{} MiB of memory are above the budget of {} MiB", peak / MIB, budget / MIB);
}

#[test]
fn many_large_pushes_at_once_are_stored_or_told_to_come_back_within_the_budget() {
    const PUSHES: usize = 40;
    const BYTES: usize = 10_000_000;
    let budget = 256 * MIB;
    let process = Process::start(&["--set", &format!("memory.budget_bytes={budget}")]);
    // Level 1 is full beforehand: what it holds is part of the budget.
    for n in 0..140 {
        let address = format!("full/{n}");
        process.put(&address, &body_of(&address, 1, 1_000_000)).expect(201);
    }
    println!("{} MiB with a full level 1", process.peak_memory_bytes() / MIB);
    let (process, start) = (&process, &Barrier::new(PUSHES));
    let stored: Vec<bool> = thread::scope(|scope| {
        let push = |n: usize| {
            let address = format!("many/{n}");
            let body = body_of(&address, 1, BYTES);
            let mut connection = Connection::open(process.addr()).unwrap();
            start.wait();
            let answer = connection.request("PUT", &object(&address), &[], &body);
            let answer = answer.unwrap_or_else(|error| panic!("{address}: {error}; {}", process.said()));
            match answer.status {
                201 => true,
                429 | 503 => {
                    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
                    assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
                    false
                }
                _ => panic!("{address}: {answer:?}: {}", answer.text()),
            }
        };
        let pushes: Vec<_> = (0..PUSHES).map(|n| scope.spawn(move || push(n))).collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    for (n, stored) in stored.iter().enumerate() {
        let address = format!("many/{n}");
        let answer = process.get(&address).expect(if *stored { 200 } else { 404 });
        assert!(!stored || answer.body == body_of(&address, 1, BYTES), "{address}");
    }
    let (stored, peak) = (stored.iter().filter(|stored| **stored).count(), process.peak_memory_bytes());
    println!("{stored} of {PUSHES} stored, {} MiB of {} MiB at the peak", peak / MIB, budget / MIB);
    assert!(stored > 0, "refusing everything is no way to stay within a budget");
    assert!(peak < budget, "{} MiB of memory are above the budget of {} MiB", peak / MIB, budget / MIB);
}

//! `kill -9` at random instants during mixed load: what was acknowledged is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshstore::Kind;
use meshstore::client::{Client, PushOptions, Upload};
use meshstore::model::{Rng, SeededRng};

use crate::harness::{Process, body};

const WRITERS: u64 = 8;
const KEYS_EACH: u64 = 6;

/// What a key holds: the sequence of its last push, or nothing.
type State = Option<u64>;

#[derive(Clone, Default)]
struct Known {
    acknowledged: State,
    /// Asked for and not answered yet: may or may not have happened.
    in_flight: Option<State>,
    next: u64,
}

type Book = Arc<Mutex<BTreeMap<String, Known>>>;

fn size_of(key: &str, sequence: u64) -> usize {
    let dice = SeededRng::new(sequence * 31 + key.len() as u64).below(10);
    match dice {
        0..=5 => 1_000,
        6..=8 => 60_000,
        _ => 1_200_000,
    }
}

/// Pushes, overwrites and deletes its own keys until the connection breaks.
async fn write(client: Client, writer: u64, book: Book, seed: u64) {
    let rng = SeededRng::new(seed);
    loop {
        let key = format!("kill/{writer}/{}", rng.below(KEYS_EACH));
        let delete = rng.below(6) == 0;
        let wanted = {
            let mut book = book.lock().unwrap();
            let known = book.entry(key.clone()).or_default();
            known.next += 1;
            let wanted = (!delete).then_some(known.next);
            known.in_flight = Some(wanted);
            wanted
        };
        let address = key.parse().unwrap();
        let answered = match wanted {
            Some(sequence) => {
                let data = body(&key, sequence, size_of(&key, sequence));
                client.push(&address, Upload::bytes(data), &PushOptions::default()).await.map(|_| ())
            }
            None => client.delete(&address).await,
        };
        if answered.is_err() {
            return;
        }
        let mut book = book.lock().unwrap();
        let known = book.get_mut(&key).unwrap();
        known.acknowledged = wanted;
        known.in_flight = None;
    }
}

/// What a key holds now; fails on bytes that were never pushed as a whole.
async fn read(client: &Client, key: &str, seed: u64) -> State {
    let pulled = match client.pull(&key.parse().unwrap(), None).await {
        Ok(pulled) => pulled.bytes().await.unwrap_or_else(|error| panic!("seed {seed}: {key}: {error}")),
        Err(error) if error.kind() == Kind::NotFound => return None,
        Err(error) => panic!("seed {seed}: {key}: {error}"),
    };
    let text = String::from_utf8_lossy(&pulled[..pulled.len().min(64)]).into_owned();
    let mut words = text.split(' ');
    assert_eq!(words.next(), Some(key), "seed {seed}: another object's bytes");
    let sequence: u64 = words.next().unwrap().parse().unwrap();
    assert!(pulled == body(key, sequence, size_of(key, sequence)), "seed {seed}: {key} is half visible");
    Some(sequence)
}

async fn verify(client: &Client, book: &Book, seed: u64) {
    let known: Vec<_> = book.lock().unwrap().iter().map(|(key, known)| (key.clone(), known.clone())).collect();
    for (key, known) in known {
        let now = read(client, &key, seed).await;
        let fits = now == known.acknowledged || Some(now) == known.in_flight;
        assert!(
            fits,
            "seed {seed}: {key} holds {now:?}, acknowledged {:?}, in flight {:?}",
            known.acknowledged, known.in_flight
        );
        let mut book = book.lock().unwrap();
        let entry = book.get_mut(&key).unwrap();
        entry.acknowledged = now;
        entry.in_flight = None;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_at_any_instant() {
    let rounds: u64 = std::env::var("MESHSTORE_KILL_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed: u64 = std::env::var("MESHSTORE_SEED").map_or(now, |seed| seed.parse().unwrap());
    println!("seed {seed}, {rounds} rounds");
    let rng = SeededRng::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let book = Book::default();
    let (mut in_flight, mut pushed) = (0, 0);
    for _ in 0..rounds {
        let process = Process::start(folder.path(), &["memory.budget_bytes=32MiB"]);
        verify(&process.client(), &book, seed).await;
        let writers =
            (0..WRITERS).map(|writer| tokio::spawn(write(process.client(), writer, Arc::clone(&book), rng.u64())));
        let writers: Vec<_> = writers.collect();
        tokio::time::sleep(Duration::from_micros(20_000 + rng.below(120_000))).await;
        in_flight += book.lock().unwrap().values().filter(|known| known.in_flight.is_some()).count() as u64;
        process.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        pushed = book.lock().unwrap().values().map(|known| known.next).sum();
    }
    let process = Process::start(folder.path(), &[]);
    verify(&process.client(), &book, seed).await;
    println!("{pushed} changes, {in_flight} in flight at the kills");
    assert!(in_flight >= 3 * rounds, "too little was in flight to prove anything: {in_flight} in {rounds} kills");
    assert!(pushed >= 20 * rounds, "too little happened to prove anything: {pushed} changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_under_load_loses_nothing_not_even_class_ram() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["memory.budget_bytes=32MiB"]);
    let client = process.client();
    let ram = PushOptions { durability: Some("ram".parse().unwrap()), ..PushOptions::default() };
    for sequence in 0..40 {
        let key = format!("ram/{sequence}");
        let pushed =
            client.push(&key.parse().unwrap(), Upload::bytes(body(&key, sequence, 200_000)), &ram).await.unwrap();
        assert_eq!(pushed.durability, "ram");
    }
    let book = Book::default();
    let writers: Vec<_> =
        (0..4).map(|writer| tokio::spawn(write(process.client(), writer, Arc::clone(&book), writer))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let status = tokio::task::spawn_blocking(|| process.terminate()).await.unwrap();
    assert!(status.success(), "{status}");
    for writer in writers {
        writer.await.unwrap();
    }
    let process = Process::start(folder.path(), &[]);
    let client = process.client();
    verify(&client, &book, 0).await;
    for sequence in 0..40 {
        let key = format!("ram/{sequence}");
        let back = client.pull(&key.parse().unwrap(), None).await.unwrap().bytes().await.unwrap();
        assert!(back == body(&key, sequence, 200_000), "{key}");
    }
}

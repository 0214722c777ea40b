//! Bodies far larger than memory, and many at once.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use meshstore::Kind;
use meshstore::client::{PushOptions, Upload};
use meshstore::model::{Rng, SeededRng};

use crate::harness::{Process, body};

const PIECE: usize = 1 << 18;

/// The n-th piece of an endless body that does not compress.
fn piece(n: u64) -> Bytes {
    let mut data = vec![0; PIECE];
    SeededRng::new(n).fill(&mut data);
    data.into()
}

/// The most memory a process has ever had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_larger_than_the_budget_streams_both_ways_in_constant_memory() {
    let soak = std::env::var_os("MESHSTORE_SOAK").is_some();
    let (bytes, budget) = if soak { (4_u64 << 30, "512MiB") } else { (1 << 30, "128MiB") };
    let budget_bytes = if soak { 512_u64 << 20 } else { 128 << 20 };
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[&format!("memory.budget_bytes={budget}")]);
    let client = process.client();
    let address = "big/one".parse().unwrap();
    let pieces = bytes / PIECE as u64;
    let upload = Upload::stream(stream::iter((0..pieces).map(|n| io::Result::Ok(piece(n)))), None);
    let pushed = client.push(&address, upload, &PushOptions::default()).await.unwrap();
    assert_eq!(pushed.size, bytes);

    let mut pulled = client.pull(&address, None).await.unwrap();
    let (mut n, mut expected, mut total) = (0, Bytes::new(), 0);
    while let Some(part) = pulled.next().await {
        let mut part = part.unwrap();
        total += part.len() as u64;
        while !part.is_empty() {
            if expected.is_empty() {
                expected = piece(n);
                n += 1;
            }
            let len = part.len().min(expected.len());
            assert!(part.split_to(len) == expected.split_to(len), "piece {n} differs");
        }
    }
    assert_eq!(total, bytes);
    let peak = peak_memory(process.pid());
    println!("{bytes} bytes through {} MiB at the peak", peak >> 20);
    assert!(peak < budget_bytes, "{} MiB are more than the budget", peak >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_pushes_at_once_stay_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["memory.budget_bytes=256MiB"]);
    let client = std::sync::Arc::new(process.client());
    let pushes = (0..60).map(|n| {
        let client = std::sync::Arc::clone(&client);
        tokio::spawn(async move {
            let key = format!("many/{n}");
            let upload = Upload::bytes(body(&key, n, 10_000_000));
            (key.clone(), client.push(&key.parse().unwrap(), upload, &PushOptions::default()).await)
        })
    });
    let mut stored = 0;
    for (n, push) in pushes.collect::<Vec<_>>().into_iter().enumerate() {
        let (key, outcome) = push.await.unwrap();
        match outcome {
            Ok(_) => {
                let back = client.pull(&key.parse().unwrap(), None).await.unwrap().bytes().await.unwrap();
                assert!(back == body(&key, n as u64, 10_000_000), "{key}");
                stored += 1;
            }
            Err(error) => assert!(matches!(error.kind(), Kind::Busy | Kind::Deadline), "{key}: {error}"),
        }
    }
    let peak = peak_memory(process.pid());
    println!("{stored} of 60 stored, {} MiB at the peak", peak >> 20);
    assert!(stored >= 30, "only {stored} of 60 were stored");
    assert!(peak < 256 << 20, "{} MiB are more than the budget", peak >> 20);
}

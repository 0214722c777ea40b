//! What is measured. A row is a kind of work, those who do it, and the targets.

mod batch;
mod beside_kv;
mod between;
mod catalog;
mod footprint;
mod http_pull;
mod http_push;
mod memory_hit;
mod nats_pull;
mod over_bus;
pub mod payload;
mod raw_disk;
mod round_trip;
mod sealing;
mod small_pushes;
mod stages;
mod start;
mod turns;

use anyhow::Result;

use crate::bench::Bench;
use crate::report::Line;
use beside_kv::Door;

pub struct Row {
    pub name: &'static str,
    pub work: &'static str,
    pub run: fn(&Bench) -> Result<Vec<Line>>,
}

const KB: usize = 1_000;
const MB: usize = 1_000_000;

pub const ROWS: [Row; 26] = [
    Row { name: "memory-hit", work: "in-process RAM hit, 4 KiB, 2 threads", run: memory_hit::run },
    Row { name: "http-1k", work: "HTTP pull 1 KB, RAM hit, 64 connections", run: http_pull::small },
    Row { name: "http-10m", work: "HTTP pull 10 MB, RAM hit", run: |bench| http_pull::large(bench, 10 * MB) },
    Row { name: "http-100m", work: "HTTP pull 100 MB, RAM hit", run: |bench| http_pull::large(bench, 100 * MB) },
    Row { name: "push-1m", work: "HTTP push 1 MB, class ram", run: |bench| http_push::run(bench, MB) },
    Row { name: "push-10m", work: "HTTP push 10 MB, class ram", run: |bench| http_push::run(bench, 10 * MB) },
    Row { name: "push-100m", work: "HTTP push 100 MB, class ram", run: |bench| http_push::run(bench, 100 * MB) },
    Row { name: "push-1k-disk", work: "push 1 KB, class disk, 64 writers", run: small_pushes::run },
    Row { name: "push-disk", work: "push 100 MB, class disk, neither encrypted nor compressed", run: raw_disk::run },
    Row { name: "nfr-text", work: "push 100 MB of text, class disk, all NFRs", run: sealing::text },
    Row { name: "nfr-random", work: "push 100 MB of random bytes, class disk, all NFRs", run: sealing::random },
    Row { name: "round-trip", work: "1 MB encrypted, push and pull over HTTP", run: round_trip::run },
    Row { name: "batch", work: "1,000 pushes of 1 KB, class disk, in a batch", run: batch::run },
    Row { name: "idle", work: "an idle container", run: footprint::run },
    Row { name: "nats-1", work: "NATS pull 1 KB, RAM hit, one in flight", run: nats_pull::one },
    Row { name: "nats-64", work: "NATS pull 1 KB, RAM hit, 64 in flight", run: nats_pull::many },
    Row { name: "kv-1", work: "push 1 KB, class disk, one in flight", run: |bench| beside_kv::one(bench, Door::Http) },
    Row { name: "kv-64", work: "push 1 KB, class disk, 64 in flight", run: |bench| beside_kv::many(bench, Door::Http) },
    Row {
        name: "kv-nats-1",
        work: "NATS push 1 KB, class disk, one in flight",
        run: |bench| beside_kv::one(bench, Door::Nats),
    },
    Row {
        name: "kv-nats-64",
        work: "NATS push 1 KB, class disk, 64 in flight",
        run: |bench| beside_kv::many(bench, Door::Nats),
    },
    Row { name: "peer-10m", work: "read 10 MB from another container", run: |bench| between::direct(bench, 10 * MB) },
    Row {
        name: "peer-100m",
        work: "read 100 MB from another container",
        run: |bench| between::direct(bench, 100 * MB),
    },
    Row {
        name: "peer-bus-10m",
        work: "read 10 MB from another container, over NATS alone",
        run: |bench| over_bus::run(bench, 10 * MB),
    },
    Row {
        name: "peer-bus-100m",
        work: "read 100 MB from another container, over NATS alone",
        run: |bench| over_bus::run(bench, 100 * MB),
    },
    Row { name: "catalog", work: "what another container keeps, 1,000,000 entries", run: catalog::run },
    Row { name: "start", work: "start with 1,000,000 objects of 1 KB on disk", run: start::run },
];

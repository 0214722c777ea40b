//! A hit of level 1 within the process, beside what it cannot be faster than: one look into a map.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use dashmap::DashMap;
use meshstore::actors::Pull;
use meshstore::model::{Address, Durability, NfrOverride};

use super::payload;
use crate::bench::Bench;
use crate::load::Sample;
use crate::peers::mesh::Inside;
use crate::process::own_cpu;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

const THREADS: usize = 2;
const OBJECTS: usize = 1000;
const OBJECT_BYTES: usize = 4 << 10;

/// Hits between two looks at the clock.
const STRETCH: usize = 1000;

/// Within three times of the map alone.
const TARGET: f64 = 1.0 / 3.0;

const DEADLINE: Duration = Duration::from_secs(10);

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let container = Inside::start(bench, &[])?;
    let map: DashMap<Address, Bytes> = DashMap::new();
    let object = payload::random(OBJECT_BYTES);
    let addresses: Result<Vec<Address>, _> = (0..OBJECTS).map(|at| format!("bench/{at}").parse()).collect();
    let addresses = addresses?;
    for address in &addresses {
        container.push(address, Durability::Ram, NfrOverride::default(), object.clone())?;
        map.insert(address.clone(), Bytes::copy_from_slice(&object));
    }
    let handle = container.handle()?;
    let held = handle.hit(&addresses[0]).context("an object is not in memory")?;
    ensure!(held.chunks.to_bytes() == object, "a hit gives other bytes than were pushed");
    let hit = |address: &Address| handle.hit(address).map(|resident| resident.chunks.to_bytes());
    let pull = |address: &Address| {
        let pulled = container.wait(handle.pull(Pull::new(address.clone(), DEADLINE))).ok()?;
        container.wait(pulled.body.collect()).ok()
    };
    let get = |address: &Address| map.get(address).map(|bytes| bytes.clone());
    let span = bench.effort.span;
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("MeshStore, hit", || turn(&addresses, span, &hit)),
            Contender::new("MeshStore, pull and collect", || turn(&addresses, span, &pull)),
            Contender::new("DashMap get and Bytes clone", || turn(&addresses, span, &get)),
        ],
    )?;
    let [hit, pull, map] = series.as_slice() else { return Ok(Vec::new()) };
    let unit = Unit::Requests;
    let verdict = Verdict { target: "≥ 1/3".to_owned(), ..Verdict::at_least(ratio(hit, map), TARGET) };
    Ok(vec![Line::series(hit, unit), Line::series(pull, unit), Line::series(map, unit).with(verdict)])
}

/// Both threads read all objects in an order of their own until the time is over.
fn turn(addresses: &[Address], span: Duration, read: &(impl Fn(&Address) -> Option<Bytes> + Sync)) -> Result<Sample> {
    let (over, done, missed) = (AtomicBool::new(false), Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
    let (cpu, start) = (own_cpu()?, Instant::now());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (over, done, missed) = (&over, &done, &missed);
            scope.spawn(move || {
                // Steps that visit each object before any comes twice, and another one in each thread.
                let step = [617, 389][thread % 2];
                let mut at = thread * OBJECTS / THREADS;
                while !over.load(Ordering::Relaxed) {
                    for _ in 0..STRETCH {
                        at = (at + step) % addresses.len();
                        if black_box(read(&addresses[at])).is_none() {
                            missed.store(true, Ordering::Relaxed);
                        }
                    }
                    done.fetch_add(STRETCH as u64, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(span);
        over.store(true, Ordering::Relaxed);
    });
    ensure!(!missed.load(Ordering::Relaxed), "a read found nothing");
    Ok(Sample::work(done.load(Ordering::Relaxed), start.elapsed(), own_cpu()?.saturating_sub(cpu)))
}

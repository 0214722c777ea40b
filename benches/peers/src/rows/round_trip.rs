//! One object there and back, by one caller.

use anyhow::{Result, ensure};
use meshstore::model::Durability;

use super::turns::{drive, times, verify};
use super::{MB, payload};
use crate::bench::Bench;
use crate::load::{Sample, http};
use crate::peers::mesh;
use crate::process::Server;
use crate::report::{Line, Unit, Verdict, time};
use crate::rounds::{Contender, take_turns};

const P50_MAX: f64 = 2.5e-3;

/// Addresses that take turns, so that not always the same bytes are replaced.
const OBJECTS: u64 = 8;

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = mesh::serve(bench, &[])?;
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("MeshStore, class ram", || turn(bench, &server, Durability::Ram)),
            Contender::new("MeshStore, class disk", || turn(bench, &server, Durability::Disk)),
        ],
    )?;
    let [ram, disk] = series.as_slice() else { return Ok(Vec::new()) };
    let p50 = ram.latency(0.5).unwrap_or(f64::INFINITY);
    let target = format!("p50 < {}", time(P50_MAX));
    let verdict = Verdict { value: time(p50), target, met: p50 < P50_MAX };
    Ok(vec![Line::series(ram, Unit::Requests).with(verdict), Line::series(disk, Unit::Requests)])
}

/// Pushes and pulls one after the other; what is measured is both together.
fn turn(bench: &Bench, server: &Server, class: Durability) -> Result<Sample> {
    let object = payload::random(MB);
    let address = |pair: u64| format!("bench/{class}-{}", pair % OBJECTS);
    let mut asked = 0;
    let next = || {
        let address = address(asked / 2);
        asked += 1;
        // Odd by now: a push.
        if asked % 2 == 1 { mesh::push(&address, class, object.clone()) } else { http::get(&mesh::path(&address)) }
    };
    let pairs = bench.effort.pick(300, 30);
    let sample = drive(server, &mut http::Each::new(next), times(2 * pairs))?;
    verify(server, &mesh::path(&address(0)), &object)?;
    ensure!(sample.done == 2 * pairs, "some requests were not made");
    let latencies = sample.latencies.chunks(2).map(|pair| pair.iter().sum()).collect();
    Ok(Sample { done: pairs, latencies, ..sample })
}

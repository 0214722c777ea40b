//! Writing to memory, over HTTP: one object after the other, each over the one before.

use anyhow::Result;
use meshstore::model::Durability;

use super::payload;
use super::turns::{alone, drive, verify};
use crate::bench::Bench;
use crate::load::{http, redis as resp};
use crate::peers::redis::Writes;
use crate::peers::{mesh, redis};
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

const ADDRESS: &str = "bench/object";
const TARGET: f64 = 1.0;

pub fn run(bench: &Bench, size: usize) -> Result<Vec<Line>> {
    let object = payload::random(size);
    let mesh = mesh::serve(bench, mesh::ROOMY)?;
    let redis = redis::serve(bench, Writes::Never)?;
    let push = mesh::push(ADDRESS, Durability::Ram, object.clone());
    let mut pushes = http::Same { request: push, wanted: http::Wanted::default() };
    let set = resp::set(ADDRESS, object.clone());
    let mut sets = resp::Commands { next: || set.clone(), value: None };
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("MeshStore", || drive(&mesh, &mut pushes, alone(bench))),
            Contender::new("Redis SET", || drive(&redis, &mut sets, alone(bench))),
        ],
    )?;
    verify(&mesh, &mesh::path(ADDRESS), &object)?;
    let [ours, peer] = series.as_slice() else { return Ok(Vec::new()) };
    let unit = Unit::Megabytes(size);
    let verdict = Verdict::at_least(ratio(ours, peer), TARGET);
    Ok(vec![Line::series(ours, unit), Line::series(peer, unit).with(verdict)])
}

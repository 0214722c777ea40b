//! Many writers of little, each of whom waits until its bytes are on disk.

use anyhow::Result;
use meshstore::model::Durability;

use super::turns::{crowd, drive};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::{Request, http, redis as resp};
use crate::peers::redis::Writes;
use crate::peers::{mesh, redis};
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

const TARGET: f64 = 1.0;

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let object = payload::random(KB);
    let mesh = mesh::serve(bench, &[])?;
    let redis = redis::serve(bench, Writes::Always)?;
    let mut pushes = pushes();
    let mut number = 0u64;
    let next = || {
        number += 1;
        resp::set(&format!("bench/{number:012}"), object.clone())
    };
    let mut sets = resp::Commands { next, value: None };
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("MeshStore", || drive(&mesh, &mut pushes, crowd(bench))),
            Contender::new("Redis SET, appendfsync always", || drive(&redis, &mut sets, crowd(bench))),
        ],
    )?;
    let [ours, peer] = series.as_slice() else { return Ok(Vec::new()) };
    let verdict = Verdict::at_least(ratio(ours, peer), TARGET);
    Ok(vec![Line::series(ours, Unit::Requests), Line::series(peer, Unit::Requests).with(verdict)])
}

/// Pushes of one object each, to an address that was never used before.
pub fn pushes() -> http::Each<impl FnMut() -> Request> {
    let (object, mut number) = (payload::random(KB), 0u64);
    let next = move || {
        number += 1;
        mesh::push(&format!("bench/{number:012}"), Durability::Disk, object.clone())
    };
    http::Each::new(next)
}

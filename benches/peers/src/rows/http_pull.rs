//! Reading what is in memory, over HTTP.

use anyhow::Result;
use bytes::Bytes;
use meshstore::model::Durability;

use super::turns::{alone, crowd, drive, once, verify};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::{self, Pace, Request, http, redis as resp};
use crate::peers::redis::Writes;
use crate::peers::{bare, mesh, nginx, redis};
use crate::process::Server;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

const ADDRESS: &str = "bench/object";

/// What the container must reach beside each peer, in this order: Redis, nginx, bare actix-web.
type Targets = [f64; 3];

/// Many requests for little.
pub fn small(bench: &Bench) -> Result<Vec<Line>> {
    run(bench, KB, crowd(bench), Unit::Requests, [1.0, 1.0, 0.8])
}

/// One request after the other for much.
pub fn large(bench: &Bench, size: usize) -> Result<Vec<Line>> {
    run(bench, size, alone(bench), Unit::Megabytes(size), [1.0, 0.5, 1.0])
}

fn run(bench: &Bench, size: usize, pace: Pace, unit: Unit, targets: Targets) -> Result<Vec<Line>> {
    let object = payload::random(size);
    let mesh = mesh::serve(bench, mesh::ROOMY)?;
    once(&mesh, mesh::push(ADDRESS, Durability::Ram, object.clone()))?;
    let redis = redis::serve(bench, Writes::Never)?;
    fill(&redis, object.clone())?;
    let nginx = nginx::serve(bench, &object)?;
    let bare = bare::start(bench, size)?;
    let path = mesh::path(ADDRESS);
    for (server, path) in [(&mesh, &*path), (&nginx, nginx::FILE), (&bare, bare::PATH)] {
        verify(server, path, &object)?;
    }
    let mut value = resp::Commands { next: || resp::get(ADDRESS), value: Some(size as u64) };
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("MeshStore", || drive(&mesh, &mut get(&path, size), pace)),
            Contender::new("Redis GET", || drive(&redis, &mut value, pace)),
            Contender::new("nginx, sendfile", || drive(&nginx, &mut get(nginx::FILE, size), pace)),
            Contender::new("bare actix-web", || drive(&bare, &mut get(bare::PATH, size), pace)),
        ],
    )?;
    let [ours, peers @ ..] = series.as_slice() else { return Ok(Vec::new()) };
    let mut lines = vec![Line::series(ours, unit)];
    for (peer, target) in peers.iter().zip(targets) {
        lines.push(Line::series(peer, unit).with(Verdict::at_least(ratio(ours, peer), target)));
    }
    Ok(lines)
}

fn fill(redis: &Server, object: Bytes) -> Result<()> {
    let request: Request = resp::set(ADDRESS, object);
    let mut talk = resp::Commands { next: || request.clone(), value: None };
    load::drive(redis.addr, &mut talk, super::turns::times(1)).map(drop)
}

fn get(path: &str, size: usize) -> http::Same {
    http::Same { request: http::get(path), wanted: http::Wanted { bytes: Some(size as u64), check: None } }
}

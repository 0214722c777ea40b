//! Writing a little to disk, beside JetStream's store of keys and values when that syncs what it acknowledges. Every
//! push and every put has a name of its own.

use anyhow::Result;
use meshstore::model::Durability;

use super::small_pushes::pushes;
use super::turns::{alone, crowd, drive, times};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::{self, Pace, Sample, nats as wire};
use crate::peers::{mesh, nats};
use crate::process::Server;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

const ONE: f64 = 1.0;
const MANY: f64 = 2.0;

const PEER: &str = "JetStream KV put, sync always";

/// How the container is asked.
#[derive(Clone, Copy)]
pub enum Door {
    Http,
    /// Over the server that keeps the peer's store as well.
    Nats,
}

/// One in flight: a sync each.
pub fn one(bench: &Bench, door: Door) -> Result<Vec<Line>> {
    run(bench, door, alone(bench), ONE)
}

/// Many in flight: whether they share a sync.
pub fn many(bench: &Bench, door: Door) -> Result<Vec<Line>> {
    run(bench, door, crowd(bench), MANY)
}

fn run(bench: &Bench, door: Door, pace: Pace, target: f64) -> Result<Vec<Line>> {
    let kv = nats::serve_synced(bench)?;
    load::drive(kv.addr, &mut wire::same(nats::make_bucket(), wire::Wanted::Word("\"created\":")), times(1))?;
    let mut puts = puts();
    let peer = Contender::new(PEER, || drive(&kv, &mut puts, pace));
    let series = match door {
        Door::Http => {
            let mesh = mesh::serve(bench, &[])?;
            let mut pushes = pushes();
            let ours = Contender::new("MeshStore over HTTP", || drive(&mesh, &mut pushes, pace));
            take_turns(bench.effort.rounds, vec![ours, peer])?
        }
        Door::Nats => {
            let mesh = mesh::serve_on(bench, &format!("nats://{}", kv.addr), &[])?;
            let mut pushes = pushes_over_nats();
            let ours = Contender::new("MeshStore over NATS", || through(&mesh, &kv, &mut pushes, pace));
            take_turns(bench.effort.rounds, vec![ours, peer])?
        }
    };
    let [ours, peer] = series.as_slice() else { return Ok(Vec::new()) };
    let verdict = Verdict::at_least(ratio(ours, peer), target);
    Ok(vec![Line::series(ours, Unit::Requests), Line::series(peer, Unit::Requests).with(verdict)])
}

/// One turn of a server behind another one, whose processor time counts as well.
fn through<T: load::Talk>(server: &Server, way: &Server, talk: &mut T, pace: Pace) -> Result<Sample> {
    let before = server.cpu()?;
    let sample = drive(way, talk, pace)?;
    Ok(Sample { server_cpu: sample.server_cpu + server.cpu()?.saturating_sub(before), ..sample })
}

fn puts() -> wire::Asking<impl FnMut() -> wire::Message> {
    let (object, mut number) = (payload::random(KB), 0u64);
    wire::Asking::each(wire::Wanted::Word(nats::STORED), move || {
        number += 1;
        nats::put(&format!("{number:012}"), object.clone())
    })
}

fn pushes_over_nats() -> wire::Asking<impl FnMut() -> wire::Message> {
    let (object, mut number) = (payload::random(KB), 0u64);
    wire::Asking::each(wire::Wanted::Word("Mesh-Status: 201"), move || {
        number += 1;
        mesh::push_over_nats(&format!("bench/{number:012}"), Durability::Disk, object.clone())
    })
}

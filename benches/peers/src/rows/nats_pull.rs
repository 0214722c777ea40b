//! Reading what is in memory, over NATS, beside nothing but a subscriber that answers as many bytes.

use anyhow::Result;
use bytes::Bytes;
use meshstore::model::Durability;

use super::turns::{alone, crowd, once};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::{self, Pace, Sample, nats as wire};
use crate::peers::{mesh, nats};
use crate::process::Server;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, Series, ratio, take_turns};

const ADDRESS: &str = "bench/object";
const P50_MOST: f64 = 1.3;
const RATE_LEAST: f64 = 0.8;

/// One in flight: how much later an answer comes.
pub fn one(bench: &Bench) -> Result<Vec<Line>> {
    run(bench, alone(bench), |ours, bare| {
        let p50 = |series: &Series| series.latency(0.5).unwrap_or(f64::INFINITY);
        let times = p50(ours) / p50(bare);
        Verdict { value: format!("p50 {times:.2}"), target: format!("≤ {P50_MOST}"), met: times <= P50_MOST }
    })
}

/// Many in flight: how many fewer there are.
pub fn many(bench: &Bench) -> Result<Vec<Line>> {
    run(bench, crowd(bench), |ours, bare| Verdict::at_least(ratio(ours, bare), RATE_LEAST))
}

fn run(bench: &Bench, pace: Pace, judge: impl Fn(&Series, &Series) -> Verdict) -> Result<Vec<Line>> {
    let server = nats::serve(bench)?;
    let bus = format!("nats://{}", server.addr);
    let mesh = mesh::serve_on(bench, &bus, &[])?;
    once(&mesh, mesh::push(ADDRESS, Durability::Ram, payload::random(KB)))?;
    let bare = nats::bare(bench, &server, KB)?;
    let turn = |who: &Server, subject: &str| -> Result<Sample> {
        let before = who.cpu()?;
        let headers = wire::headers(&[("Mesh-Address", ADDRESS)]);
        let message = wire::Message { subject: subject.to_owned(), headers, body: Bytes::new() };
        let sample = load::drive(server.addr, &mut wire::same(message, wire::Wanted::Bytes(KB)), pace)?;
        Ok(Sample { server_cpu: who.cpu()?.saturating_sub(before), ..sample })
    };
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("MeshStore", || turn(&mesh, "mesh.local.pull")),
            Contender::new("bare subscriber", || turn(&bare, nats::SUBJECT)),
        ],
    )?;
    let [ours, bare] = series.as_slice() else { return Ok(Vec::new()) };
    Ok(vec![Line::series(ours, Unit::Requests), Line::series(bare, Unit::Requests).with(judge(ours, bare))])
}

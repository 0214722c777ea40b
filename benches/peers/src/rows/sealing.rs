//! A large push through everything that is done to bytes, beside the stages alone.
//!
//! The bound: bytes that go through one stage after the other take the sum of the times, so n stages of
//! rates x make a rate of 1 / (1/x1 + … + 1/xn). With more workers the stages that need a processor are
//! measured with as many threads; the disk is one in any case.

use anyhow::Result;
use bytes::Bytes;
use meshstore::model::NfrOverride;

use super::raw_disk::{push, timed};
use super::stages::Stages;
use super::{MB, payload};
use crate::bench::Bench;
use crate::peers::mesh::Inside;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, Ratio, Series, ratio, take_turns};

const OBJECT_BYTES: usize = 100 * MB;
const UNIT: Unit = Unit::Megabytes(OBJECT_BYTES);
const BOUND_TARGET: f64 = 0.85;
const WORKERS_TARGET: f64 = 1.7;

pub fn text(bench: &Bench) -> Result<Vec<Line>> {
    run(bench, &payload::text(OBJECT_BYTES))
}

pub fn random(bench: &Bench) -> Result<Vec<Line>> {
    run(bench, &payload::random(OBJECT_BYTES))
}

fn run(bench: &Bench, object: &Bytes) -> Result<Vec<Line>> {
    let one = Inside::start(bench, &[("nfr.workers", "1")])?;
    let two = Inside::start(bench, &[("nfr.workers", "2")])?;
    let stages = Stages::of(object)?;
    let folder = bench.folder("stages")?;
    let (mut in_one, mut in_two, mut files) = (0, 0, 0);
    let times = bench.effort.pick(2, 1);
    let all = NfrOverride::default();
    let write = || {
        files += 1;
        stages.write(&folder.path().join(files.to_string()))
    };
    let mut contenders = vec![
        Contender::new("MeshStore, 1 worker", || timed(times, || push(&one, &mut in_one, all, object))),
        Contender::new("MeshStore, 2 workers", || timed(times, || push(&two, &mut in_two, all, object))),
        Contender::new("stage write and fsync", {
            let mut write = write;
            move || timed(times, &mut write)
        }),
    ];
    for (name, threads, stage) in processor_stages() {
        let stages = &stages;
        contenders.push(Contender::new(name, move || timed(times, || stage(stages, threads))));
    }
    let series = take_turns(bench.effort.rounds, contenders)?;
    let [one, two, write, rest @ ..] = series.as_slice() else { return Ok(Vec::new()) };
    let (single, double) = rest.split_at(rest.len() / 2);
    let (bound_of_one, bound_of_two) = (bound(write, single), bound(write, double));
    let mut lines = vec![Line::series(one, UNIT), Line::series(two, UNIT)];
    lines.push(Line::series(write, UNIT));
    lines.extend(rest.iter().map(|stage| Line::series(stage, UNIT)));
    for (who, ours, bound) in [("1 worker", one, bound_of_one), ("2 workers", two, bound_of_two)] {
        let figure = format!("{:.0} MB/s", bound * OBJECT_BYTES as f64 / 1e6);
        let verdict = Verdict::at_least(against(ours, bound), BOUND_TARGET);
        lines.push(Line::figure(format!("bound of the stages, {who}"), figure).with(verdict));
    }
    let (saving, most) = (stages.saving(), bound_of_two / bound_of_one);
    let line = Line::figure("2 workers to 1", format!("stages: {most:.2}, {saving:.1}x smaller"));
    lines.push(line.with(Verdict::at_least(ratio(two, one), WORKERS_TARGET)));
    Ok(lines)
}

type Stage = fn(&Stages, usize) -> Result<()>;

/// Those that take a processor, with one thread and then with two.
fn processor_stages() -> [(&'static str, usize, Stage); 8] {
    [
        ("stage read, 1 thread", 1, Stages::read),
        ("stage compress, 1 thread", 1, Stages::compress),
        ("stage encrypt, 1 thread", 1, Stages::encrypt),
        ("stage hash, 1 thread", 1, Stages::hash),
        ("stage read, 2 threads", 2, Stages::read),
        ("stage compress, 2 threads", 2, Stages::compress),
        ("stage encrypt, 2 threads", 2, Stages::encrypt),
        ("stage hash, 2 threads", 2, Stages::hash),
    ]
}

/// Objects a second through all stages, one after the other.
fn bound(write: &Series, others: &[Series]) -> f64 {
    let seconds: f64 = others.iter().chain([write]).map(|stage| 1.0 / stage.rate()).sum();
    1.0 / seconds
}

fn against(series: &Series, bound: f64) -> Ratio {
    let rates = || series.samples.iter().map(|sample| sample.rate() / bound);
    Ratio {
        medians: series.rate() / bound,
        least: rates().fold(f64::INFINITY, f64::min),
        most: rates().fold(0.0, f64::max),
    }
}

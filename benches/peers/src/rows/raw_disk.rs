//! A large push to the disk that nothing is done to, beside writing the same bytes to a file.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use meshstore::model::{Compression, Durability, Encryption, NfrOverride};

use super::stages::write_and_sync;
use super::{MB, payload};
use crate::bench::Bench;
use crate::load::Sample;
use crate::peers::mesh::Inside;
use crate::process::own_cpu;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

const OBJECT_BYTES: usize = 100 * MB;
const TARGET: f64 = 0.8;

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let object = payload::random(OBJECT_BYTES);
    let container = Inside::start(bench, &[])?;
    let folder = bench.folder("raw")?;
    let plain =
        NfrOverride { encrypt: Some(Encryption::None), compress: Some(Compression::None), ..NfrOverride::default() };
    let times = bench.effort.pick(3, 1);
    let (mut pushed, mut written) = (0, 0);
    let push = || timed(times, || push(&container, &mut pushed, plain, &object));
    let write = || {
        timed(times, || {
            written += 1;
            write_and_sync(&folder.path().join(written.to_string()), &[&object])
        })
    };
    let contenders = vec![Contender::new("MeshStore, in process", push), Contender::new("write and fsync", write)];
    let series = take_turns(bench.effort.pick(2 * bench.effort.rounds, bench.effort.rounds), contenders)?;
    let [ours, raw] = series.as_slice() else { return Ok(Vec::new()) };
    let unit = Unit::Megabytes(OBJECT_BYTES);
    let verdict = Verdict::at_least(ratio(ours, raw), TARGET);
    Ok(vec![Line::series(ours, unit), Line::series(raw, unit).with(verdict)])
}

/// Pushes to an address that was never used before.
pub fn push(container: &Inside, number: &mut u64, nfr: NfrOverride, object: &Bytes) -> Result<()> {
    *number += 1;
    container.push(&format!("bench/{number}").parse()?, Durability::Disk, nfr, object.clone())
}

/// Does something so often, in this process.
pub fn timed(times: u64, mut work: impl FnMut() -> Result<()>) -> Result<Sample> {
    let (cpu, start) = (own_cpu()?, Instant::now());
    let mut latencies = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        work()?;
        latencies.push(begun.elapsed());
    }
    let sample = Sample::work(times, start.elapsed(), own_cpu()?.saturating_sub(cpu));
    Ok(Sample { latencies, ..sample })
}

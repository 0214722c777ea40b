//! What a container takes while nobody asks anything of it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::Bench;
use crate::peers::mesh;
use crate::report::{Line, Verdict, megabytes};
use crate::rounds::median;

const RESIDENT_MAX: f64 = 40.0 * 1024.0 * 1024.0;
const PROGRAM_MAX: f64 = 40.0 * 1024.0 * 1024.0;

/// By then a container has done what it does after its start.
pub const SETTLED: Duration = Duration::from_secs(2);

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let starts = bench.effort.pick(3, 1);
    let resident: Result<Vec<f64>> = (0..starts).map(|_| resident_when_empty(bench)).collect();
    let program = std::fs::metadata(&bench.server).context("cannot look at the program")?.len();
    Ok(vec![
        at_most("resident memory", median(resident?), RESIDENT_MAX),
        at_most("program", program as f64, PROGRAM_MAX),
    ])
}

fn at_most(who: &str, bytes: f64, most: f64) -> Line {
    let target = format!("≤ {:.0} MiB", most / f64::from(1 << 20));
    Line::figure(who, "").with(Verdict { value: megabytes(bytes), target, met: bytes <= most })
}

/// Resident bytes of a container without objects.
pub fn resident_when_empty(bench: &Bench) -> Result<f64> {
    let server = mesh::serve(bench, &[])?;
    std::thread::sleep(SETTLED);
    Ok(server.resident_bytes()? as f64)
}

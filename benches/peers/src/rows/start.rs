//! A start on many objects: how soon it answers, and what each object takes in memory.
//!
//! They are loaded through the door in batches. The start finds the files in the system's page cache, as
//! after an update of the program; after a boot the disk comes on top.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::batch::{PUSHES, address, batches};
use super::footprint::{SETTLED, resident_when_empty};
use super::turns::{drive, verify};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::Pace;
use crate::peers::mesh;
use crate::report::{Line, Verdict, time};
use crate::rounds::median;

const COLLECTION: &str = "many";
const READY_MAX: f64 = 5.0;
const OBJECT_MAX: f64 = 300.0;

/// Batches under way at once while the objects are loaded.
const LOADERS: usize = 2;

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let batches_in_all = bench.effort.pick(1000, 20);
    let objects = batches_in_all * PUSHES;
    let empty = resident_when_empty(bench)?;
    let server = mesh::serve(bench, &[])?;
    let pace = Pace { connections: LOADERS, span: Duration::ZERO, requests_min: batches_in_all as u64 };
    let loaded = drive(&server, &mut batches(COLLECTION), pace)?;
    let mut folder = server.stop()?;
    let (mut ready, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.pick(3, 1) {
        let start = Instant::now();
        let server = mesh::serve_in(bench, folder, &[])?;
        ready.push(start.elapsed().as_secs_f64());
        std::thread::sleep(SETTLED);
        resident.push(server.resident_bytes()? as f64);
        for number in [0, objects / 2, objects - 1] {
            verify(&server, &mesh::path(&address(COLLECTION, number)), &payload::random(KB))?;
        }
        folder = server.stop()?;
    }
    let (ready, each) = (median(ready), (median(resident) - empty) / objects as f64);
    let rate = loaded.rate() * PUSHES as f64;
    let target = format!("< {}", time(READY_MAX));
    Ok(vec![
        Line::figure(format!("{objects} objects loaded"), format!("{rate:.0} /s")),
        Line::figure("ready", "").with(Verdict { value: time(ready), target, met: ready < READY_MAX }),
        Line::figure("resident memory an object", "").with(Verdict {
            value: format!("{each:.0} bytes"),
            target: format!("< {OBJECT_MAX} bytes"),
            met: each < OBJECT_MAX,
        }),
    ])
}

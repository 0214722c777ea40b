//! `meshstore demo`: a container, then two as one site, then three sites as a mesh, that show what they can do, measure
//! it, and check every answer.
//!
//! A wrong byte anywhere ends the demo with an error: what it prints, it has verified.

mod crash;
mod mesh;
mod rest;
mod site;
mod stage;

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::model::{Durability, Level, Rng, SeededRng};

use super::boot::Container;
use super::ground::{Folder, config};
use stage::Stage;

/// The site of the demo's first containers.
const SITE: &str = "demo";

/// Budget of each of the demo's containers: small, so that it fills within a second.
const BUDGET: &str = "64MiB";
const SETTINGS: [(&str, &str); 1] = [("memory.budget_bytes", BUDGET)];
const STOP_GRACE: Duration = Duration::from_secs(5);
const ROUNDS: usize = 200;

/// Runs the demo; `keep` leaves its folder behind.
pub fn demo(keep: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal("cannot start the runtime").because(error))?;
    let folder = Folder::make("demo", keep)?;
    say(&format!(
        "MeshStore {}: one container, then two as one site, then three sites, in {}\n",
        env!("CARGO_PKG_VERSION"),
        folder.path.display()
    ))?;
    runtime.block_on(async {
        let config = config(&folder.path, SITE, "a", &SETTINGS)?;
        let container = Container::start(&config)?;
        let stage = Stage::new(container.handle().clone());
        push_and_pull(&stage).await?;
        fill_memory(&stage).await?;
        rest::sealed(&stage, &folder.path).await?;
        rest::damaged(&stage, &folder.path).await?;
        container.stop(STOP_GRACE).await?;
        crash::killed_and_restarted(&config).await?;
        site::of_two(&folder.path).await?;
        mesh::of_three(&folder.path).await
    })?;
    if keep {
        let path = folder.path.display();
        say("kept: look around with `meshstore ls demo` while this runs in another terminal:")?;
        say(&format!("   meshstore serve --bus local --data {path}/a --keys {path}/keys.toml"))?;
    }
    say("all answers were checked")
}

async fn push_and_pull(stage: &Stage) -> Result<()> {
    say("1  push and pull, in process, sealed with AES-256-GCM")?;
    let rng = SeededRng::new(1);
    for (name, bytes) in [("1 KB", 1 << 10), ("1 MB", 1 << 20)] {
        let mut data = vec![0; bytes];
        rng.fill(&mut data);
        let data = Bytes::from(data);
        for class in [Durability::Ram, Durability::Disk] {
            let (mut pushes, mut pulls) = (Vec::new(), Vec::new());
            for round in 0..if bytes > 4096 { ROUNDS / 4 } else { ROUNDS } {
                let key = format!("demo/{class}/{bytes}/{}", round % 8);
                let start = Instant::now();
                stage.push(&key, data.clone(), Some(class)).await?;
                pushes.push(start.elapsed());
                let start = Instant::now();
                let (back, _) = stage.pull(&key).await?;
                pulls.push(start.elapsed());
                expect(back == data, "a pull gave other bytes than were pushed")?;
            }
            say(&format!("   {name} class {class:<4}  push p50 {:>9}  pull p50 {:>9}", median(pushes), median(pulls)))?;
        }
    }
    Ok(())
}

async fn fill_memory(stage: &Stage) -> Result<()> {
    let budget = stage.handle.keeper().memory().budget();
    let count = (2 * budget) >> 20;
    say(&format!("2  level 1 holds {} MB; {count} MB of class ram are pushed into it", budget >> 20))?;
    let body = |index: u64| {
        let mut data = vec![0; 1 << 20];
        SeededRng::new(1000 + index).fill(&mut data);
        Bytes::from(data)
    };
    let start = Instant::now();
    for index in 0..count {
        stage.push(&format!("demo/fill/{index}"), body(index), Some(Durability::Ram)).await?;
        let used = stage.handle.keeper().memory().usage().bytes;
        expect(used <= budget, "level 1 holds more than its budget")?;
    }
    let took = start.elapsed();
    let mut levels = (0, 0);
    for index in 0..count {
        let (back, level) = stage.pull(&format!("demo/fill/{index}")).await?;
        expect(back == body(index), "a demoted object came back changed")?;
        match level {
            Level::Ram => levels.0 += 1,
            Level::Disk | Level::Cloud | Level::Peer => levels.1 += 1,
        }
    }
    let rate = count as f64 / took.as_secs_f64();
    say(&format!(
        "   taken at {rate:.0} MB/s; read back: {} from memory, {} demoted to disk, none lost",
        levels.0, levels.1
    ))
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Error::internal("cannot print").because(error))
}

fn expect(holds: bool, otherwise: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::internal(otherwise)) }
}

/// The median, to be read by people.
fn median(mut times: Vec<Duration>) -> String {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    match median.as_micros() {
        0..10_000 => format!("{:.0} us", median.as_nanos() as f64 / 1e3),
        _ => format!("{:.1} ms", median.as_nanos() as f64 / 1e6),
    }
}

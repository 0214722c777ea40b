//! What one container takes in of what another one of its site keeps: first all of it, page by page, then a start that
//! finds it in its own store.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::batch::{PUSHES, address, batches};
use super::turns::{drive, verify};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::Pace;
use crate::peers::{mesh, nats};
use crate::process::Server;
use crate::report::{Line, Verdict, time};

const COLLECTION: &str = "known";
const EVENTS_MIN: f64 = 50_000.0;
const READY_MAX: f64 = 5.0;

/// How often the reader is asked whether it has heard all, and for how long.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 3_000;

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let batches_in_all = bench.effort.pick(1000, 20);
    let entries = batches_in_all * PUSHES;
    let (nats, keys) = (nats::serve(bench)?, bench.folder("keys")?);
    let site = mesh::Site { bus: format!("nats://{}", nats.addr), keys: keys.path().join("keys.toml") };
    let keeper = mesh::serve_in_site(bench, &site, "keeper", &[])?;
    let pace = Pace { connections: 2, span: Duration::ZERO, requests_min: batches_in_all as u64 };
    drive(&keeper, &mut batches(COLLECTION), pace)?;

    let began = Instant::now();
    let reader = mesh::serve_in_site(bench, &site, "reader", &[])?;
    let before = reader.cpu()?;
    until_nothing_is_ahead(&reader)?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), reader.cpu()?.saturating_sub(before).as_secs_f64());
    for number in [0, entries / 2, entries - 1] {
        verify(&reader, &mesh::path(&address(COLLECTION, number)), &payload::random(KB))?;
    }

    let folder = reader.stop()?;
    let began = Instant::now();
    let reader = mesh::serve_again_in_site(bench, &site, "reader", folder)?;
    let ready = began.elapsed().as_secs_f64();
    ensure!(changes_lacking(&reader)? == 0, "a container that was stopped in order lacks what it had");

    let (on_one_core, in_all) = (entries as f64 / cpu.max(0.01), entries as f64 / took);
    let target = format!("≥ {EVENTS_MIN:.0} /s");
    Ok(vec![
        Line::figure(format!("{entries} entries taken in"), format!("{in_all:.0} /s")),
        Line::figure("for each second of its processor time", "").with(Verdict {
            value: format!("{on_one_core:.0} /s"),
            target,
            met: on_one_core >= EVENTS_MIN,
        }),
        Line::figure("ready on them", "").with(Verdict {
            value: time(ready),
            target: format!("< {}", time(READY_MAX)),
            met: ready < READY_MAX,
        }),
    ])
}

fn until_nothing_is_ahead(server: &Server) -> Result<()> {
    for _ in 0..LOOKS_MAX {
        if changes_lacking(server)? == 0 {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    anyhow::bail!("the container does not hear all that the other one has")
}

/// Changes of the others that this one lacks, as it knows.
fn changes_lacking(server: &Server) -> Result<u64> {
    let mut stream = TcpStream::connect(server.addr)?;
    write!(stream, "GET /v1/admin/peers HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer about the other containers")?;
    let peers: serde_json::Value = serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))?;
    let peers = peers.get("peers").and_then(|peers| peers.as_array());
    let ahead = |peer: &serde_json::Value| peer.get("ahead").and_then(serde_json::Value::as_u64);
    let ahead: Option<Vec<u64>> = peers.context("no list of containers")?.iter().map(ahead).collect();
    let ahead = ahead.context("a container without a number")?;
    ensure!(!ahead.is_empty(), "nobody else is in the site");
    Ok(ahead.into_iter().sum())
}

//! What one container reads from another one where only NATS joins them, beside those who move as many bytes over the
//! same server: a program with flow control and nothing else, JetStream's Object Store, and a subscriber whose answers
//! are thrown away.

use anyhow::{Context, Result};
use bytes::Bytes;

use super::between::{Pair, held_beyond, often, read};
use super::payload;
use super::raw_disk::timed;
use crate::bench::Bench;
use crate::load::{self, Pace, Sample, nats as wire};
use crate::peers::flow::{self, Control};
use crate::peers::nats;
use crate::peers::object_store::Bucket;
use crate::process::Server;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, Ratio, Series, ratio, take_turns};

/// To the best that flow control alone comes to.
const FLOW: f64 = 0.9;

/// To the Object Store, where bytes come from one to another by putting them there and getting them.
const STORE: f64 = 3.0;

const PUT: &str = "Object Store, put";
const GET: &str = "Object Store, get";

/// Ways to control the flow; the best of them counts.
const CONTROLS: [(&str, Control); 5] = [
    ("asked for 128 KB, 32 at a time", Control::Requests { piece: 128_000, under_way: 32 }),
    ("asked for 500 KB, 8 at a time", Control::Requests { piece: 500_000, under_way: 8 }),
    ("asked for 900 KB, 4 at a time", Control::Requests { piece: 900_000, under_way: 4 }),
    ("sent in 128 KB, 4 MB allowed", Control::Allowance { piece: 128_000, bytes: 4_000_000 }),
    ("sent in 900 KB, 8 MB allowed", Control::Allowance { piece: 900_000, bytes: 8_000_000 }),
];

/// How many pieces of an object the bare subscriber is asked for, and how many at a time.
const PIECES: usize = 20;
const PIECE_BYTES_MAX: usize = 500_000;
const UNDER_WAY: usize = 8;

/// Nobody is where the keeper's door is said to be.
pub fn run(bench: &Bench, size: usize) -> Result<Vec<Line>> {
    let object = payload::random(size);
    let pair = Pair::start(bench, Some("http://127.0.0.1:1"), &object)?;
    let pace = often(bench);
    let piece = (size / PIECES).min(PIECE_BYTES_MAX);
    let (bare, source) = (nats::bare(bench, &pair.nats, piece)?, flow::source(bench, &pair.nats, size)?);
    let receiver = std::cell::RefCell::new(flow::Receiver::of(&pair.nats, size)?);
    let bucket = std::cell::RefCell::new(Bucket::of(&pair.nats, object)?);
    for (_, control) in CONTROLS {
        receiver.borrow_mut().verify(control)?;
    }
    let flows = CONTROLS.map(|(name, control)| {
        let (source, receiver) = (&source, &receiver);
        Contender::new(name, move || {
            let before = source.cpu()?;
            let sample = timed(pace.requests_min, || receiver.borrow_mut().once(control))?;
            Ok(beside(sample, source.cpu()?.saturating_sub(before)))
        })
    });
    let mut contenders = vec![Contender::new("opened, at the other container", || read(&pair, pace, size))];
    contenders.extend(flows);
    contenders.extend([
        Contender::new(PUT, || store(&pair.nats, pace, || bucket.borrow().put())),
        Contender::new(GET, || store(&pair.nats, pace, || bucket.borrow_mut().get())),
        Contender::new("bare subscriber, thrown away", || in_pieces(&pair.nats, &bare, size, piece, pace)),
    ]);
    let series = take_turns(bench.effort.rounds, contenders)?;
    let Some((opened, others)) = series.split_first() else { return Ok(Vec::new()) };
    let best = others.iter().take(CONTROLS.len()).map(Series::rate).fold(0.0, f64::max);
    let unit = Unit::Megabytes(size);
    let judged = |(nth, other): (usize, &Series)| {
        let line = Line::series(other, unit);
        let is_best = nth < CONTROLS.len() && other.rate() >= best;
        if is_best { line.with(Verdict::at_least(ratio(opened, other), FLOW)) } else { line }
    };
    let lines = others.iter().enumerate().map(judged);
    let lines = [Line::series(opened, unit)].into_iter().chain(lines);
    Ok(lines.chain([beside_store(opened, others, size)?, held_beyond(&pair)?]).collect())
}

/// What a put and the get behind it come to together.
fn beside_store(opened: &Series, others: &[Series], size: usize) -> Result<Line> {
    let named = |name| others.iter().find(|other| other.name == name).context("a contender is missing");
    let (put, get) = (named(PUT)?, named(GET)?);
    let both = |put: f64, get: f64| 1.0 / (1.0 / put + 1.0 / get);
    let rounds = opened.samples.iter().zip(put.samples.iter().zip(&get.samples));
    let rounds: Vec<f64> = rounds.map(|(ours, (put, get))| ours.rate() / both(put.rate(), get.rate())).collect();
    let rate = both(put.rate(), get.rate());
    let ratio = Ratio {
        medians: opened.rate() / rate,
        least: rounds.iter().copied().fold(f64::INFINITY, f64::min),
        most: rounds.iter().copied().fold(0.0, f64::max),
    };
    let figure = format!("{:.0} MB/s", rate * size as f64 / 1e6);
    Ok(Line::figure("Object Store, put and then get", figure).with(Verdict::at_least(ratio, STORE)))
}

/// A sample of work in this process, as that of a generator beside a server.
fn beside(sample: Sample, server_cpu: std::time::Duration) -> Sample {
    Sample { server_cpu, driver_cpu: sample.server_cpu, ..sample }
}

fn store(nats: &Server, pace: Pace, work: impl FnMut() -> Result<()>) -> Result<Sample> {
    let before = nats.cpu()?;
    let sample = timed(pace.requests_min, work)?;
    Ok(beside(sample, nats.cpu()?.saturating_sub(before)))
}

/// As many bytes, asked for in pieces, so many at a time.
fn in_pieces(server: &Server, bare: &Server, size: usize, piece: usize, pace: Pace) -> Result<Sample> {
    let (before, count) = (bare.cpu()?, (size / piece) as u64);
    let message = wire::Message { subject: nats::SUBJECT.to_owned(), headers: String::new(), body: Bytes::new() };
    let pace = Pace { connections: UNDER_WAY, requests_min: pace.requests_min * count, ..pace };
    let sample = load::drive(server.addr, &mut wire::same(message, wire::Wanted::Bytes(piece)), pace)?;
    let server_cpu = bare.cpu()?.saturating_sub(before);
    Ok(Sample { done: sample.done / count, server_cpu, latencies: Vec::new(), ..sample })
}

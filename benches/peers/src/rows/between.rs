//! What one container reads from another one of its site, beside a bare copy of as many bytes. No policy lets memory
//! hold the objects, so each read opens the frame on the keeper's disk, which lies in the system's page cache.

use anyhow::Result;
use bytes::Bytes;
use meshstore::model::Durability;

use super::payload;
use super::raw_disk::timed;
use super::turns::{drive, once, times, verify};
use crate::bench::{Bench, Folder};
use crate::load::{Pace, Sample, http};
use crate::peers::{mesh, nats, tcp};
use crate::process::Server;
use crate::report::{Line, Unit, Verdict, megabytes};
use crate::rounds::{Contender, ratio, take_turns};

const ADDRESS: &str = "bench/object";

/// Sealed bytes as the keeper's door gives them, and opened ones at the other container, to a bare copy.
const SEALED: f64 = 0.7;
const OPENED: f64 = 0.4;

/// What the reader may need beyond what it held before: a window of chunks, however long the body is.
const HELD: u64 = 16 << 20;

/// Two containers of one site on a server of their own.
pub struct Pair {
    pub nats: Server,
    keeper: Server,
    reader: Server,
    /// The most memory of the reader before it read anything.
    held: u64,
    _keys: Folder,
}

impl Pair {
    /// The first one says that its door is at `url`, where that is given.
    pub fn start(bench: &Bench, url: Option<&str>, object: &Bytes) -> Result<Self> {
        let (nats, keys) = (nats::serve(bench)?, bench.folder("keys")?);
        let site = mesh::Site { bus: format!("nats://{}", nats.addr), keys: keys.path().join("keys.toml") };
        let settings: Vec<(&str, &str)> = url.map(|url| ("http.public_url", url)).into_iter().collect();
        let keeper = mesh::serve_in_site(bench, &site, "keeper", &settings)?;
        once(&keeper, mesh::collection("bench", r#"{"levels":["disk","cloud"]}"#))?;
        once(&keeper, mesh::push(ADDRESS, Durability::Disk, object.clone()))?;
        let reader = mesh::serve_in_site(bench, &site, "reader", &[])?;
        let held = reader.peak_bytes()?;
        verify(&reader, &mesh::path(ADDRESS), object)?;
        Ok(Pair { nats, keeper, reader, held, _keys: keys })
    }
}

/// Reads so often, one after the other.
pub fn often(bench: &Bench) -> Pace {
    times(bench.effort.pick(5, 2))
}

fn pulls(size: usize) -> http::Same {
    let wanted = http::Wanted { bytes: Some(size as u64), check: None };
    http::Same { request: http::get(&mesh::path(ADDRESS)), wanted }
}

/// A read at the other container counts the processor time of both.
pub fn read(pair: &Pair, pace: Pace, size: usize) -> Result<Sample> {
    let before = pair.keeper.cpu()?;
    let sample = drive(&pair.reader, &mut pulls(size), pace)?;
    Ok(Sample { server_cpu: sample.server_cpu + pair.keeper.cpu()?.saturating_sub(before), ..sample })
}

/// Over the door.
pub fn direct(bench: &Bench, size: usize) -> Result<Vec<Line>> {
    let object = payload::random(size);
    let pair = Pair::start(bench, None, &object)?;
    let pace = often(bench);
    let version = mesh::version(&pair.keeper, ADDRESS)?;
    let mut frames = http::Same { request: mesh::frame(ADDRESS, &version), wanted: http::Wanted::default() };
    let mut copy = tcp::Copy::of(object)?;
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("sealed, from the keeper's door", || drive(&pair.keeper, &mut frames, pace)),
            Contender::new("opened, at the other container", || read(&pair, pace, size)),
            Contender::new("TCP, one stream", || timed(pace.requests_min, || copy.once())),
        ],
    )?;
    let [sealed, opened, tcp] = series.as_slice() else { return Ok(Vec::new()) };
    let unit = Unit::Megabytes(size);
    Ok(vec![
        Line::series(sealed, unit).with(Verdict::at_least(ratio(sealed, tcp), SEALED)),
        Line::series(opened, unit).with(Verdict::at_least(ratio(opened, tcp), OPENED)),
        Line::series(tcp, unit),
        held_beyond(&pair)?,
    ])
}

pub fn held_beyond(pair: &Pair) -> Result<Line> {
    let more = pair.reader.peak_bytes()?.saturating_sub(pair.held);
    let target = format!("≤ {}", megabytes(HELD as f64));
    let verdict = Verdict { value: megabytes(more as f64), target, met: more <= HELD };
    Ok(Line::figure("most memory of the reader, beyond its start", "").with(verdict))
}

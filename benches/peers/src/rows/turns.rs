//! Turns that several rows take: a server driven over its socket.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;

use crate::bench::Bench;
use crate::load::{self, Pace, Sample, Talk, http};
use crate::process::Server;

/// One turn of a server.
pub fn drive<T: Talk>(server: &Server, talk: &mut T, pace: Pace) -> Result<Sample> {
    let before = server.cpu()?;
    let sample = load::drive(server.addr, talk, pace)?;
    Ok(Sample { server_cpu: server.cpu()?.saturating_sub(before), ..sample })
}

/// Many small requests at once.
pub fn crowd(bench: &Bench) -> Pace {
    Pace { connections: 64, span: bench.effort.span, requests_min: 1 }
}

/// One request after the other, enough of them however large they are.
pub fn alone(bench: &Bench) -> Pace {
    Pace { connections: 1, span: bench.effort.span, requests_min: bench.effort.pick(5, 2) }
}

/// So many requests on one connection.
pub fn times(requests: u64) -> Pace {
    Pace { connections: 1, span: Duration::ZERO, requests_min: requests }
}

/// Asks a server once, before it is measured.
pub fn once(server: &Server, request: load::Request) -> Result<()> {
    let mut talk = http::Same { request, wanted: http::Wanted::default() };
    load::drive(server.addr, &mut talk, times(1)).map(drop)
}

/// Pulls an object and compares every byte: what is measured afterwards is checked by its length alone.
pub fn verify(server: &Server, path: &str, expected: &Bytes) -> Result<()> {
    let (named, expected) = (path.to_owned(), expected.clone());
    let check = move |body: &[u8]| {
        ensure!(body == expected, "{named} gives other bytes than it was given");
        Ok(())
    };
    let wanted = http::Wanted { bytes: None, check: Some(Rc::new(check)) };
    let mut talk = http::Same { request: http::get(path), wanted };
    load::drive(server.addr, &mut talk, times(1)).map(drop)
}

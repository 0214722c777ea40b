//! Batches: the content type in the first line, the body behind it.

use meshstore::Kind;
use meshstore::gateway;
use meshstore::limits::BATCH_HEAD_BYTES_MAX;
use meshstore::model::{Rng, SeededRng, mix};
use meshstore::wire::multipart::{Part, Reader, Step, boundary_of, close, open_part};

use super::common::{Input, fine, within};

/// What a reader made of a body.
#[derive(Debug, PartialEq)]
struct Read {
    /// Each part, its body, and whether it came to its end.
    parts: Vec<(Part, Vec<u8>, bool)>,
    ended: bool,
    /// What it stumbled over.
    error: Option<(Kind, String)>,
}

/// Any cut of a body into pieces is read as the whole is; memory stays bounded however much comes; and what this
/// program writes is read back as it was meant.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.text();
    let body = input.rest();
    let boundary = fine(boundary_of(&kind)).unwrap_or("b").to_owned();
    assert!((1..=70).contains(&boundary.len()) && !boundary.contains(['\r', '\n', '"']));
    let whole = read(&boundary, body, |_| usize::MAX);
    assert_eq!(read(&boundary, body, |_| 1), whole, "byte by byte it reads otherwise");
    let rng = SeededRng::new(body.iter().fold(1, |sum, byte| mix(sum ^ u64::from(*byte))));
    for most in [4, 60, 2000] {
        assert_eq!(read(&boundary, body, |_| 1 + rng.below(most) as usize), whole, "in pieces it reads otherwise");
    }
    for (part, bytes, ended) in &whole.parts {
        assert!(!ended || bytes.len() as u64 == part.length, "a body of another length");
        fine(gateway::fuzzing::part(&part.head));
    }
    endless(&boundary, body);
    written(&boundary, &whole, body);
}

fn read(boundary: &str, mut body: &[u8], next: impl Fn(&[u8]) -> usize) -> Read {
    let mut reader = Reader::new(boundary);
    let mut out = Read { parts: Vec::new(), ended: false, error: None };
    loop {
        match reader.step() {
            Ok(Step::More) if body.is_empty() => {
                out.error = fine_kind(reader.finish());
                return out;
            }
            Ok(Step::More) => {
                let (piece, rest) = body.split_at(next(body).min(body.len()));
                reader.feed(piece);
                body = rest;
            }
            Ok(Step::Part(part)) => out.parts.push((part, Vec::new(), false)),
            Ok(Step::Body(bytes)) => out.parts.last_mut().unwrap().1.extend_from_slice(&bytes),
            Ok(Step::PartEnd) => out.parts.last_mut().unwrap().2 = true,
            Ok(Step::End) => out.ended = true,
            Err(error) => {
                out.error = fine_kind(Err(error));
                return out;
            }
        }
    }
}

fn fine_kind(outcome: meshstore::Result<()>) -> Option<(Kind, String)> {
    let told = outcome.as_ref().err().map(|error| (error.kind(), error.message().to_owned()));
    fine(outcome);
    told
}

/// The body, over and over, by pieces of a thousand bytes: one head and one piece are held, no more.
fn endless(boundary: &str, body: &[u8]) {
    const PIECE: usize = 1000;
    let Some(reader) = (!body.is_empty()).then(|| Reader::new(boundary)) else { return };
    let pieces = body.chunks(PIECE).cycle().take(64);
    // A head as it came, and its lines apart, and room to grow.
    within(4 * (BATCH_HEAD_BYTES_MAX + PIECE), move || {
        let mut reader = reader;
        for piece in pieces {
            reader.feed(piece);
            loop {
                match reader.step() {
                    Ok(Step::More) => break,
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        }
    });
}

/// Parts with any bytes as bodies, boundaries among them, read back as they were written.
fn written(boundary: &str, read_before: &Read, body: &[u8]) {
    let bodies: Vec<&[u8]> = body.chunks(1 + body.len() / 3).chain([&b""[..]]).collect();
    let mut out = Vec::new();
    let id = read_before.parts.iter().find_map(|(part, ..)| part.content_id.as_deref());
    for (n, body) in bodies.iter().enumerate() {
        open_part(&mut out, boundary, n == 0, id);
        out.extend_from_slice(
            format!("PUT /v1/objects/c/{n} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        );
        out.extend_from_slice(body);
    }
    close(&mut out, boundary);
    let again = read(boundary, &out, |_| 777);
    assert!(again.ended && again.error.is_none(), "{:?}", again.error);
    let found: Vec<_> = again.parts.iter().map(|(part, body, _)| (&body[..], part.content_id.as_deref())).collect();
    assert_eq!(found, bodies.iter().map(|body| (*body, id)).collect::<Vec<_>>());
}

//! A thousand small pushes in one request, beside as many requests.

use std::rc::Rc;

use anyhow::{Result, ensure};
use bytes::Bytes;

use super::small_pushes::pushes;
use super::turns::{crowd, drive};
use super::{KB, payload};
use crate::bench::Bench;
use crate::load::{Pace, Request, Sample, http, said};
use crate::peers::mesh;
use crate::report::{Line, Unit, Verdict};
use crate::rounds::{Contender, ratio, take_turns};

/// Pushes of one batch: as many as it may have.
pub const PUSHES: usize = 1000;

const TARGET: f64 = 2.0;
const BOUNDARY: &str = "peers-6b1f";

/// Digits of an object's number.
const DIGITS: usize = 12;

pub fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = mesh::serve(bench, &[])?;
    let mut batches = batches("together");
    let mut pushes = pushes();
    let pace = Pace { connections: 1, ..crowd(bench) };
    let series = take_turns(
        bench.effort.rounds,
        vec![
            Contender::new("in batches, 1 connection", || drive(&server, &mut batches, pace).map(each_push)),
            Contender::new("singly, 64 connections", || drive(&server, &mut pushes, crowd(bench))),
        ],
    )?;
    let [ours, singly] = series.as_slice() else { return Ok(Vec::new()) };
    let verdict = Verdict::at_least(ratio(ours, singly), TARGET);
    Ok(vec![Line::series(ours, Unit::Requests), Line::series(singly, Unit::Requests).with(verdict)])
}

/// Batches counted by their pushes.
fn each_push(sample: Sample) -> Sample {
    Sample { done: sample.done * PUSHES as u64, ..sample }
}

/// Batches of pushes to addresses of this collection that were never used before. The collections' own
/// class is `disk`, which a batch could also name part by part. Each batch has a connection of its own: so
/// seldom as they are asked, that costs nothing that could be measured.
pub fn batches(collection: &str) -> http::Each<impl FnMut() -> Request> {
    let form = Form::new(collection, &payload::random(KB));
    let mut first = 0;
    let next = move || {
        let body = form.numbered(first);
        first += PUSHES;
        http::post("/v1/batch", &format!("Content-Type: multipart/mixed; boundary={BOUNDARY}\r\n"), body)
    };
    http::Each { next, wanted: http::Wanted { bytes: None, check: Some(Rc::new(all_stored)) }, anew: true }
}

/// The address of the object with this number.
pub fn address(collection: &str, number: usize) -> String {
    format!("{collection}/{number:0DIGITS$}")
}

/// The body of a batch, in which only the numbers of the objects change.
struct Form {
    text: Vec<u8>,
    numbers: Vec<usize>,
}

impl Form {
    fn new(collection: &str, object: &Bytes) -> Self {
        let (mut text, mut numbers) = (Vec::new(), Vec::new());
        for _ in 0..PUSHES {
            let head = format!("--{BOUNDARY}\r\nContent-Type: application/http\r\n\r\nPUT /v1/objects/{collection}/");
            text.extend_from_slice(head.as_bytes());
            numbers.push(text.len());
            let rest = format!(" HTTP/1.1\r\nContent-Length: {}\r\n\r\n", object.len());
            text.extend_from_slice(format!("{:0DIGITS$}{rest}", 0).as_bytes());
            text.extend_from_slice(object);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        Form { text, numbers }
    }

    fn numbered(&self, first: usize) -> Bytes {
        let mut text = self.text.clone();
        for (number, at) in self.numbers.iter().enumerate() {
            let digits = format!("{:0DIGITS$}", first + number);
            text.iter_mut().skip(*at).zip(digits.bytes()).for_each(|(to, digit)| *to = digit);
        }
        text.into()
    }
}

fn all_stored(answer: &[u8]) -> Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 ";
    const CREATED: &[u8] = b"HTTP/1.1 201 ";
    let begins = |at: &usize| answer.get(*at..).is_some_and(|rest| rest.starts_with(ANSWER));
    let starts = (0..answer.len()).filter(begins);
    let (stored, other): (Vec<usize>, Vec<usize>) =
        starts.partition(|at| answer.get(*at..).is_some_and(|rest| rest.starts_with(CREATED)));
    let other = other.first().and_then(|at| answer.get(*at..)).unwrap_or_default();
    ensure!(stored.len() == PUSHES, "stored {} of {PUSHES}: {}", stored.len(), said(other));
    Ok(())
}

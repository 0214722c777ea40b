//! Many small pushes in one request: each is answered by itself, and they share commits.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, StatusCode};

use super::answer::{self, PROBLEM_TYPE, strange};
use super::push::{acknowledged, headers};
use super::{Client, PushOptions, Pushed, about, transport};
use crate::error::{Error, Result};
use crate::limits::{BATCH_PART_BYTES_MAX, BATCH_PARTS_MAX};
use crate::model::{Address, Session};
use crate::wire::multipart::{self, Part, Reader, Step};

/// One push of a batch.
#[derive(Clone, Debug)]
pub struct BatchPush {
    /// Where to.
    pub address: Address,
    /// All of its bytes.
    pub bytes: Bytes,
}

impl Client {
    /// Stores objects in one request, each as these options say. The outcomes come in the order of the
    /// pushes; an error of the whole says nothing of any of them.
    pub async fn push_batch(&self, pushes: &[BatchPush], options: &PushOptions) -> Result<Vec<Result<Pushed>>> {
        if pushes.is_empty() {
            return Ok(Vec::new());
        }
        let boundary = format!("client-{:016x}", RandomState::new().hash_one(0u8));
        let body = body(pushes, &self.lines(options)?, &boundary)?;
        let request = self.request(Method::POST, "/v1/batch")?;
        let request = request.header(CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}")).body(body);
        let answer = self.send(request).await?;
        let kind =
            answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let boundary = multipart::boundary_of(&kind).map_err(|error| strange("it is no batch").because(error))?;
        let parts = parts(&answer::whole(answer).await?, boundary)?;
        let mut parts = parts.into_iter();
        let outcome = |push: &BatchPush| match parts.next() {
            Some((part, body)) => outcome(&part, &body, &push.address),
            None => Err(Error::unavailable("the container broke off the batch before this; push it again")),
        };
        let named =
            |(push, outcome): (&BatchPush, Result<Pushed>)| outcome.map_err(|error| about(error, &push.address));
        let outcomes: Vec<_> = pushes.iter().map(outcome).collect();
        let mut outcomes: Vec<_> = pushes.iter().zip(outcomes).map(named).collect();
        add_up(&mut outcomes);
        Ok(outcomes)
    }

    /// The options as lines of a head; the token is the batch's.
    fn lines(&self, options: &PushOptions) -> Result<Vec<u8>> {
        let request = headers(self.request(Method::PUT, "/v1/batch")?, options)?.build();
        let request = request.map_err(|error| Error::invalid("these options cannot be sent").because(error))?;
        let mut lines = Vec::new();
        for (name, value) in request.headers().iter().filter(|(name, _)| *name != AUTHORIZATION) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        Ok(lines)
    }
}

/// Each push was told its own session; as if they had come one after the other, each covers those before it.
fn add_up(outcomes: &mut [Result<Pushed>]) {
    let mut seen = Session::default();
    for pushed in outcomes.iter_mut().flatten() {
        if let Some(own) = pushed.session.as_ref().and_then(|own| own.parse().ok()) {
            seen.merge(&own);
            pushed.session = Some(seen.to_string());
        }
    }
}

fn body(pushes: &[BatchPush], shared: &[u8], boundary: &str) -> Result<Vec<u8>> {
    if pushes.len() > BATCH_PARTS_MAX {
        return Err(Error::too_large("a batch has at most 1000 parts").with("parts", pushes.len()));
    }
    let mut out = Vec::with_capacity(pushes.iter().map(|push| push.bytes.len() + 300 + shared.len()).sum());
    for (n, BatchPush { address, bytes }) in pushes.iter().enumerate() {
        if bytes.len() as u64 > BATCH_PART_BYTES_MAX {
            return Err(Error::too_large("this is too large for a batch; push it by itself").with("address", address));
        }
        multipart::open_part(&mut out, boundary, n == 0, None);
        let (path, length) = (transport::object_path(address), bytes.len());
        out.extend_from_slice(format!("PUT {path} HTTP/1.1\r\nContent-Length: {length}\r\n").as_bytes());
        out.extend_from_slice(shared);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(bytes);
    }
    multipart::close(&mut out, boundary);
    Ok(out)
}

fn parts(body: &[u8], boundary: &str) -> Result<Vec<(Part, Vec<u8>)>> {
    let unreadable = |error: Error| strange("its batch cannot be read").because(error);
    let mut reader = Reader::new(boundary);
    let mut parts: Vec<(Part, Vec<u8>)> = Vec::new();
    reader.feed(body);
    loop {
        match reader.step().map_err(unreadable)? {
            Step::More => return reader.finish().map(|()| parts).map_err(unreadable),
            Step::Part(part) => parts.push((part, Vec::new())),
            Step::Body(bytes) => {
                if let Some((_, body)) = parts.last_mut() {
                    body.extend_from_slice(&bytes);
                }
            }
            Step::PartEnd | Step::End => {}
        }
    }
}

fn outcome(part: &Part, body: &[u8], address: &Address) -> Result<Pushed> {
    let status = part.head.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<StatusCode>().ok());
    let status = status.ok_or_else(|| strange("a part has no status"))?;
    if status.is_success() {
        let session = part.head.single("mesh-session")?.map(str::to_owned);
        return acknowledged(body, status == StatusCode::CREATED, session, address);
    }
    let is_problem = part.head.single("content-type")?.is_some_and(|kind| kind.starts_with(PROBLEM_TYPE));
    let seconds = part.head.single("retry-after")?.and_then(|seconds| seconds.parse().ok());
    Err(answer::error_of(status, is_problem.then_some(body), seconds.map(Duration::from_secs)))
}

//! Sealed bytes of a version, part by part as they arrive. Over plain HTTP they are read past the library, which keeps
//! what is under TLS.

use std::ops::Range;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};

use super::answer::{PROBLEM_TYPE, error_of, strange};
use super::pull::content_range;
use super::transport::root_cause;
use super::{Client, ReadOptions, about, direct, options, transport};
use crate::error::{Error, Result};
use crate::limits::JSON_BODY_BYTES_MAX;
use crate::model::{Address, ByteRange};

/// What sealed bytes are called.
const FRAME_TYPE: &str = "application/vnd.meshstore.frame";

/// Sealed bytes on their way here: the head of the answer has come.
pub struct FrameBytes(Body);

enum Body {
    Direct(direct::Answer),
    Library {
        answer: Response,
        /// What has come and was not taken.
        rest: Bytes,
        left: u64,
        client: Client,
    },
}

/// A range of a version's sealed bytes.
pub(super) async fn frame(
    client: &Client,
    address: &Address,
    wanted: &ReadOptions,
    range: Range<u64>,
) -> Result<FrameBytes> {
    let request = client.request(Method::GET, &transport::version_path(address, wanted.version))?;
    let request = options::with_ticket(request, wanted.ticket.as_deref())?;
    let range_text = ByteRange::Between(range.start, range.end.saturating_sub(1)).to_string();
    let request = request.header(ACCEPT, FRAME_TYPE).header(RANGE, range_text);
    let begun = begin(client, request, &range).await;
    begun.map(FrameBytes).map_err(|error| about(error, address))
}

async fn begin(client: &Client, request: reqwest::RequestBuilder, range: &Range<u64>) -> Result<Body> {
    let bad = |error| Error::invalid("the request cannot be sent as it is").because(root_cause(&error));
    let plain = request.try_clone().ok_or_else(|| Error::internal("a read has a body"))?.build().map_err(bad)?;
    if plain.url().scheme() == "http"
        && let Some(mut answer) = client.idle.send(&plain, client.silence).await?
    {
        if !answer.status.is_success() {
            return Err(refusal(&mut answer).await);
        }
        check(answer.status, &answer.headers, range)?;
        let whole = answer.left() == range.end - range.start;
        return if whole { Ok(Body::Direct(answer)) } else { Err(strange("its length is not that of the range")) };
    }
    let answer = client.send(request).await?;
    check(answer.status(), answer.headers(), range)?;
    Ok(Body::Library { answer, rest: Bytes::new(), left: range.end - range.start, client: client.clone() })
}

/// Whether just this range comes.
fn check(status: StatusCode, headers: &HeaderMap, range: &Range<u64>) -> Result<()> {
    let covered = (status == StatusCode::PARTIAL_CONTENT).then(|| content_range(headers)).flatten();
    match covered {
        Some((covered, _)) if covered == *range => Ok(()),
        Some(_) => Err(Error::corrupt("the frame is shorter than it should be")),
        // As from a door that is behind something that leaves ranges out.
        None => Err(Error::corrupt("the door gives no part of the frame")),
    }
}

async fn refusal(answer: &mut direct::Answer) -> Error {
    let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    let is_problem = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROBLEM_TYPE));
    let mut text = vec![0; answer.left().min(JSON_BODY_BYTES_MAX as u64) as usize];
    // One that breaks off says no more than the status does.
    let came = answer.fill(&mut text).await.is_ok();
    let problem = (came && is_problem).then_some(&*text);
    error_of(answer.status, problem, seconds.map(std::time::Duration::from_secs))
}

impl FrameBytes {
    /// Waits until some of what is left has come.
    pub async fn wait(&mut self) -> Result<()> {
        let (answer, rest, left, client) = match &mut self.0 {
            Body::Direct(answer) => return answer.wait().await,
            Body::Library { answer, rest, left, client } => (answer, rest, left, client),
        };
        let ended = || Error::unavailable("the frame ended before all of it arrived");
        while rest.is_empty() {
            let piece = tokio::time::timeout(client.silence, answer.chunk()).await;
            let piece = piece.map_err(|_| client.silent())?;
            *rest = piece.map_err(|error| ended().because(root_cause(&error)))?.ok_or_else(ended)?;
            let long = || strange("the body is longer than announced");
            *left = left.checked_sub(rest.len() as u64).ok_or_else(long)?;
        }
        Ok(())
    }

    /// Puts the next of them into a part, until it is full.
    pub async fn fill(&mut self, mut part: &mut [u8]) -> Result<()> {
        if let Body::Direct(answer) = &mut self.0 {
            return answer.fill(part).await;
        }
        while !part.is_empty() {
            self.wait().await?;
            let Body::Library { rest, .. } = &mut self.0 else { return Ok(()) };
            let some = rest.split_to(part.len().min(rest.len()));
            let (now, later) = part.split_at_mut(some.len());
            now.copy_from_slice(&some);
            part = later;
        }
        Ok(())
    }

    /// No more is wanted.
    pub fn end(self) {
        if let Body::Direct(answer) = self.0 {
            answer.end();
        }
    }
}

//! Receiving an object: pieces as they come, and the certainty at the end that they were all of it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::answer::strange;
use super::object::{self, Object};
use super::transport::root_cause;
use super::{Client, ReadOptions, about, options, transport};
use crate::error::{Error, Kind, Result};
use crate::model::{Address, Digest, DigestKind};

/// An object on its way here.
pub struct Pulled {
    /// What it is.
    pub object: Object,
    /// The bytes of the object that follow.
    pub range: Range<u64>,
    answer: Option<Response>,
    left: u64,
    /// Only the whole object can be checked, and only where the digest is of the kind computed here.
    check: Option<(blake3::Hasher, Digest)>,
    silence: Duration,
    client: Client,
    address: Address,
    /// What was asked for, to ask once more why it ended early.
    wanted: ReadOptions,
}

pub(super) async fn pull(client: &Client, address: &Address, wanted: &ReadOptions) -> Result<Pulled> {
    let request = client.request(Method::GET, &transport::version_path(address, wanted.version))?;
    let request = options::with_ticket(request, wanted.ticket.as_deref())?;
    let mut request = options::with_session(request, wanted.session.as_deref())?;
    if let Some(range) = wanted.range {
        request = request.header(RANGE, range.to_string());
    }
    let answer = client.send(request).await.map_err(|error| about(error, address))?;
    let (covered, size) = covered(&answer).map_err(|error| about(error, address))?;
    let object = object::of_headers(answer.headers(), Some(size)).map_err(|error| about(error, address))?;
    let whole = covered == (0..size) && object.digest.kind == DigestKind::Blake3;
    let check = whole.then(|| (blake3::Hasher::new(), object.digest));
    let left = covered.end - covered.start;
    let (silence, address, wanted) = (client.silence, address.clone(), wanted.clone());
    let client = client.clone();
    Ok(Pulled { object, range: covered, answer: Some(answer), left, check, silence, client, address, wanted })
}

/// Which bytes an answer holds, and the size of the whole object.
fn covered(answer: &Response) -> Result<(Range<u64>, u64)> {
    if answer.status() == StatusCode::PARTIAL_CONTENT {
        return content_range(answer.headers()).ok_or_else(|| strange("Content-Range cannot be read"));
    }
    let size = transport::length(answer).ok_or_else(|| strange("the length is missing"))?;
    Ok((0..size, size))
}

/// Which part of how much `Content-Range` names.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let (span, size) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first..last + 1, size))
}

impl Pulled {
    /// The next piece; `None` only once every byte of the range is here and the check, where there
    /// is one, has held. After an error nothing more comes.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        let answer = self.answer.as_mut()?;
        let outcome = match tokio::time::timeout(self.silence, answer.chunk()).await {
            Err(_) => Err(Error::deadline("the rest of the object did not come in time; try again")),
            Ok(Err(error)) => {
                Err(Error::unavailable("the body ended before all of it arrived").because(root_cause(&error)))
            }
            Ok(Ok(Some(piece))) => self.take(piece).map(Some),
            Ok(Ok(None)) => self.finish().map(|()| None),
        };
        if !matches!(outcome, Ok(Some(_))) {
            self.answer = None;
        }
        let outcome = match outcome {
            Err(error) if error.kind() == Kind::Unavailable => Err(self.reason(error).await),
            outcome => outcome,
        };
        outcome.map_err(|error| about(error, &self.address)).transpose()
    }

    /// Why a body ended early: damage that is met on the way can only cut it off, but whoever asks again is told.
    async fn reason(&self, error: Error) -> Error {
        match self.client.stat_with(&self.address, &self.wanted).await {
            Err(told) if told.kind() == Kind::Corrupt => told.because(error),
            _ => error,
        }
    }

    fn take(&mut self, piece: Bytes) -> Result<Bytes> {
        let long = || strange("the body is longer than announced");
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(long)?;
        if let Some((hasher, _)) = &mut self.check {
            hasher.update(&piece);
        }
        Ok(piece)
    }

    fn finish(&mut self) -> Result<()> {
        if self.left > 0 {
            return Err(Error::unavailable("the body ended before all of it arrived").with("missing_bytes", self.left));
        }
        match self.check.take() {
            Some((hasher, expected)) if *hasher.finalize().as_bytes() != expected.bytes => {
                Err(Error::corrupt("the bytes that arrived do not have the object's digest; pull again")
                    .with("digest", expected))
            }
            _ => Ok(()),
        }
    }

    /// All bytes in one buffer; for objects that fit into memory.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let mut out = BytesMut::new();
        while let Some(piece) = self.next().await {
            out.extend_from_slice(&piece?);
        }
        Ok(out.freeze())
    }

    /// The pieces as a stream; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::unfold(self, |mut pulled| async move { Some((pulled.next().await?, pulled)) })
    }
}

impl fmt::Debug for Pulled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulled").field("object", &self.object).field("range", &self.range).finish_non_exhaustive()
    }
}

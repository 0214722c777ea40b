//! Answers held whole, and failures decoded back into errors of the kind they had in the container.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::transport::root_cause;
use crate::error::{Error, Kind, Result};
use crate::limits::{CLIENT_ANSWER_BYTES_MAX, CLIENT_SILENCE_TIMEOUT};

/// The content type of a failure that explains itself.
pub(super) const PROBLEM_TYPE: &str = "application/problem+json";

/// The members of RFC 9457 that matter here; the rest is for other readers.
#[derive(Deserialize)]
struct Problem {
    kind: Option<String>,
    detail: Option<String>,
    title: Option<String>,
    address: Option<String>,
}

/// An answer that keeps to HTTP but not to the contract of a container.
pub(super) fn strange(what: &str) -> Error {
    Error::internal(format!("the answer is not one of a container: {what}; does --url name one?"))
}

/// Reads a whole answer of bounded size.
pub(super) async fn whole(mut answer: Response) -> Result<Bytes> {
    let mut out = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(CLIENT_SILENCE_TIMEOUT, answer.chunk()).await;
        let piece = piece.map_err(|_| Error::deadline("the rest of an answer did not come in time; try again"))?;
        match piece.map_err(|error| Error::unavailable("an answer broke off half-way").because(root_cause(&error)))? {
            Some(piece) if out.len() + piece.len() > CLIENT_ANSWER_BYTES_MAX => {
                return Err(strange("it is far too long"));
            }
            Some(piece) => out.extend_from_slice(&piece),
            None => return Ok(out.freeze()),
        }
    }
}

/// Reads a whole answer as JSON of this shape; `strangeness` says what is wrong with any other.
pub(super) async fn json<T: DeserializeOwned>(answer: Response, strangeness: &str) -> Result<T> {
    let bytes = whole(answer).await?;
    serde_json::from_slice(&bytes).map_err(|error| strange(strangeness).because(error))
}

/// The error that a failed answer stands for.
pub(super) async fn failure(answer: Response) -> Error {
    let status = answer.status();
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let is_problem = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROBLEM_TYPE));
    let text = match whole(answer).await {
        Ok(bytes) if is_problem => Some(bytes),
        // A HEAD has no body, and a broken one says no more than the status does.
        _ => None,
    };
    error_of(status, text.as_deref(), retry_after)
}

/// The error of a status, and of the problem that explains it where there is one.
pub(super) fn error_of(status: StatusCode, problem: Option<&[u8]>, retry_after: Option<Duration>) -> Error {
    let problem = problem.and_then(|text| serde_json::from_slice::<Problem>(text).ok());
    let error = match problem {
        Some(problem) => {
            let kind = problem.kind.as_deref().and_then(Kind::from_name).unwrap_or_else(|| kind_of(status));
            let text = problem.detail.or(problem.title).unwrap_or_else(|| format!("the container answered {status}"));
            match problem.address {
                Some(address) if !text.contains(&address) => Error::new(kind, text).with("address", address),
                _ => Error::new(kind, text),
            }
        }
        None => Error::new(kind_of(status), bare(status)),
    };
    match retry_after {
        Some(delay) => error.retry_after(delay),
        None => error,
    }
}

fn bare(status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => "there is no such object".to_owned(),
        // 425 has no name in the http crate.
        early if early.as_u16() == 425 => "what the session has seen is not here yet; try again".to_owned(),
        StatusCode::BAD_REQUEST => "the container does not take the request; a GET would say why".to_owned(),
        _ => format!("the container answered {status}"),
    }
}

/// The kind of a status alone; where two kinds share one, the likelier.
fn kind_of(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 => Kind::Unauthorised,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        412 => Kind::PreconditionFailed,
        413 => Kind::TooLarge,
        416 => Kind::BadRange,
        425 => Kind::NotYet,
        429 => Kind::Busy,
        501 => Kind::Unimplemented,
        502 | 503 => Kind::Unavailable,
        408 | 504 => Kind::Deadline,
        400..=499 => Kind::Invalid,
        _ => Kind::Internal,
    }
}

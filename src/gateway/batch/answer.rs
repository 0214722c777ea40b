//! Answers on their way out: each as one part, its body handed on piece by piece.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::CONTENT_LENGTH;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::wire::multipart;

/// An operation that is done.
pub(super) struct Answered {
    pub(super) content_id: Option<String>,
    pub(super) response: HttpResponse,
    /// Whether the request was a HEAD, whose answer tells a length and has no body.
    pub(super) without_body: bool,
}

/// The multipart body of the answer.
pub(super) struct Writing {
    boundary: String,
    /// Bytes that wait to be taken.
    out: Vec<u8>,
    body: Option<BoxBody>,
    begun: bool,
    closed: bool,
}

impl Writing {
    pub(super) fn new(boundary: String) -> Self {
        Writing { boundary, out: Vec::new(), body: None, begun: false, closed: false }
    }

    /// Begins a part; everything of the one before has been taken.
    pub(super) fn begin(&mut self, Answered { content_id, response, without_body }: Answered) {
        multipart::open_part(&mut self.out, &self.boundary, !self.begun, content_id.as_deref());
        self.begun = true;
        let (head, body) = response.into_parts();
        let reason = head.status().canonical_reason().unwrap_or_default();
        self.out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", head.status().as_u16()).as_bytes());
        for (name, value) in head.headers().iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
            self.out.extend_from_slice(name.as_str().as_bytes());
            self.out.extend_from_slice(b": ");
            self.out.extend_from_slice(value.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
        // Every body of this door has a known length; 204 and 304 have none, and say none.
        if let BodySize::Sized(length) = body.size()
            && !matches!(head.status().as_u16(), 204 | 304)
        {
            self.out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        self.body = (!without_body).then_some(body);
    }

    /// The next piece of what was begun; `None` when all of it was taken.
    pub(super) async fn piece(&mut self, idle: Duration) -> Result<Option<Bytes>> {
        if !self.out.is_empty() {
            // Small answers go out with what follows them: a write for each would cost more than they do.
            if let Some(body) = &mut self.body
                && let Some(piece) = next(body, idle).await?
            {
                self.out.extend_from_slice(&piece);
            } else {
                self.body = None;
            }
            return Ok(Some(std::mem::take(&mut self.out).into()));
        }
        if let Some(body) = &mut self.body
            && let Some(piece) = next(body, idle).await?
        {
            return Ok(Some(piece));
        }
        self.body = None;
        Ok(None)
    }

    /// The end of the answer, once.
    pub(super) fn close(&mut self) -> Option<Bytes> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        multipart::close(&mut self.out, &self.boundary);
        Some(std::mem::take(&mut self.out).into())
    }
}

async fn next(body: &mut BoxBody, idle: Duration) -> Result<Option<Bytes>> {
    let piece = tokio::time::timeout(idle, poll_fn(|context| Pin::new(&mut *body).poll_next(context))).await;
    let piece = piece.map_err(|_| Error::deadline("an object stalled while it was read"))?;
    piece
        .transpose()
        .map_err(|error| Error::internal("an object broke off while it was read").because(error.to_string()))
}

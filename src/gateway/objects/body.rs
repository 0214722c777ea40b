//! Bodies of reads: pieces handed on without a copy of ours, and never an end that looks whole when
//! it is not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody, SizedStream};
use bytes::Bytes;
use futures_util::stream;

use crate::actors::PullBody;
use crate::error::{Error, Result};
use crate::gateway::deadline::within;

/// Bytes given to the connection at a time. It copies each piece into a buffer that it keeps while
/// small: whole chunks would make it allocate and fault in a megabyte for each.
const PIECE_BYTES: usize = 64 << 10;

/// A body whose pieces are all in memory.
pub(super) fn ready(mut pieces: Vec<Bytes>) -> BoxBody {
    let small = pieces.iter().map(Bytes::len).sum::<usize>() <= PIECE_BYTES;
    match pieces.pop() {
        None => BoxBody::new(Bytes::new()),
        Some(one) if small && pieces.is_empty() => BoxBody::new(one),
        Some(last) => {
            pieces.push(last);
            let left = pieces.iter().map(|piece| piece.len() as u64).sum();
            BoxBody::new(Pieces { pieces: pieces.into(), left })
        }
    }
}

/// A body that still arrives. One that fails, stalls for `idle` or ends early is an error, upon which
/// the connection is cut before the length that the head promised.
pub(super) fn streamed(body: PullBody, size: u64, idle: Duration) -> BoxBody {
    let state = Some(Arriving { body, piece: Bytes::new(), left: size, idle });
    BoxBody::new(SizedStream::new(
        size,
        Box::pin(stream::unfold(state, |state| async {
            let mut arriving = state?;
            match arriving.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(arriving))),
                Err(error) => {
                    tracing::warn!(%error, "a body failed after its head was sent; the connection is cut");
                    Some((Err(error), None))
                }
            }
        })),
    ))
}

/// The length of a body without the body: the answer to HEAD.
pub(in crate::gateway) fn absent(size: u64) -> BoxBody {
    if size == 0 { BoxBody::new(Bytes::new()) } else { BoxBody::new(Absent(size)) }
}

struct Arriving {
    body: PullBody,
    piece: Bytes,
    left: u64,
    idle: Duration,
}

impl Arriving {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.piece.is_empty() {
            let next = within(self.idle, async { self.body.next().await.transpose() }).await?;
            match next {
                Some(piece) if piece.len() as u64 > self.left => {
                    return Err(Error::internal("a pull gave more bytes than it promised"));
                }
                Some(piece) => self.piece = piece,
                None if self.left == 0 => return Ok(None),
                None => return Err(Error::internal("a pull ended before its last byte").with("missing", self.left)),
            }
        }
        let piece = cut(&mut self.piece);
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }
}

fn cut(piece: &mut Bytes) -> Bytes {
    piece.split_to(piece.len().min(PIECE_BYTES))
}

struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(front) = self.pieces.front_mut() else { return Poll::Ready(None) };
        let piece = cut(front);
        if front.is_empty() {
            self.pieces.pop_front();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

struct Absent(u64);

impl MessageBody for Absent {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

//! The parts of a batch as they arrive. A body is held whole, within the limit of a part; what is
//! longer is read past and refused, and the batch goes on behind it.

use std::time::Duration;

use actix_web::dev::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use crate::error::{Error, Result};
use crate::limits::BATCH_PART_BYTES_MAX;
use crate::wire::multipart::{Part, Reader, Step};

/// What was read.
pub(super) enum Read {
    /// A part with all of its body, or why its body was not kept.
    Part((Part, Result<Bytes>)),
    /// The end, in order.
    End,
}

/// A batch on its way in.
pub(super) struct Input {
    reader: Reader,
    payload: Payload,
    idle: Duration,
    /// The part being read. Kept here: a wait for it may be given up and taken up again.
    part: Option<(Part, BytesMut)>,
    read: usize,
}

impl Input {
    pub(super) fn new(boundary: &str, payload: Payload, idle: Duration) -> Self {
        Input { reader: Reader::new(boundary), payload, idle, part: None, read: 0 }
    }

    /// The next part. Nothing can be read behind an error.
    pub(super) async fn next(&mut self) -> Result<Read> {
        loop {
            match self.reader.step().map_err(|error| error.with("part", self.read + 1))? {
                Step::More => match self.receive().await? {
                    Some(bytes) => self.reader.feed(&bytes),
                    None => {
                        self.reader.finish().map_err(|error| error.with("part", self.read + 1))?;
                        return Ok(Read::End);
                    }
                },
                Step::Part(part) => {
                    let held = if part.length > BATCH_PART_BYTES_MAX { 0 } else { part.length };
                    self.part = Some((part, BytesMut::with_capacity(held as usize)));
                }
                Step::Body(bytes) => {
                    if let Some((part, body)) = &mut self.part
                        && part.length <= BATCH_PART_BYTES_MAX
                    {
                        body.extend_from_slice(&bytes);
                    }
                }
                Step::PartEnd => {
                    if let Some((part, body)) = self.part.take() {
                        self.read += 1;
                        let fits = part.length <= BATCH_PART_BYTES_MAX;
                        let body = if fits { Ok(body.freeze()) } else { Err(too_large(part.length)) };
                        return Ok(Read::Part((part, body)));
                    }
                }
                Step::End => {}
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        let piece = tokio::time::timeout(self.idle, self.payload.next()).await;
        let piece = piece.map_err(|_| Error::deadline("the batch stalled; send it without long pauses"))?;
        piece.transpose().map_err(|error| {
            Error::invalid("the batch ended before all of it arrived")
                .because(error.to_string())
                .with("part", self.read + 1)
        })
    }
}

fn too_large(size: u64) -> Error {
    Error::too_large("a part's body is larger than a batch takes; push this object by itself")
        .with("size", size)
        .with("size_max", BATCH_PART_BYTES_MAX)
}

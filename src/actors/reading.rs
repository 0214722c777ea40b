//! Reading one object: checked and opened chunk by chunk, given out as it comes, and perhaps promoted.
//!
//! The first chunk is checked before anything is answered, so that its damage is an error rather than
//! a broken body. Damage further on ends the body with an error, never as if it were complete.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::PullBody;
use super::container::Crew;
use super::cpu::blocking;
use super::eviction::Consider;
use super::handle::Permits;
use super::nfr::{Stages, opener, opener_of_all};
use super::push::reserve;
use super::request::Pulled;
use super::supply::{Stock, Supply};
use crate::error::{Error, Kind, Result};
use crate::limits::{CHUNK_BYTES, PROMOTION_WAIT_MAX};
use crate::model::{Address, Chunks, Level, Manifest};
use crate::nfr::{ChunkHash, Opener};
use crate::telemetry::trace;
use crate::tiers::{MemoryTier, Reservation, Source, Ticket};

/// Sealed bytes, here, at another container or in the cloud.
#[derive(Clone)]
pub(super) struct Frame {
    pub bytes: Arc<dyn Source>,
    /// Whether reading them takes no network.
    pub local: bool,
    /// Where they are, unless they are on the disk here.
    pub from: Level,
    /// Whether they may come from somebody who only has a copy, and is not believed for it.
    pub may_be_copy: bool,
}

impl Frame {
    pub fn here(bytes: Arc<dyn Source>) -> Self {
        Frame { bytes, local: true, from: Level::Disk, may_be_copy: false }
    }

    pub fn elsewhere(from: Level, bytes: Arc<dyn Source>) -> Self {
        Frame { bytes, local: false, from, may_be_copy: false }
    }
}

/// One object being read from disk, or from the cloud.
#[derive(Clone)]
pub(super) struct Reading {
    pub crew: Crew,
    pub stages: Arc<Stages>,
    pub address: Address,
    pub manifest: Arc<Manifest>,
    pub frame: Frame,
    /// Where the bytes come from, as the answer says.
    pub level: Level,
    pub ticket: Ticket,
    /// Whether it may enter memory at all.
    pub promotes: bool,
}

impl Reading {
    /// The permits are taken by a body that is streamed.
    pub async fn start(self, range: Range<u64>, permits: &mut Option<Permits>) -> Result<Pulled> {
        let (stages, manifest, frame) =
            (Arc::clone(&self.stages), Arc::clone(&self.manifest), Arc::clone(&self.frame.bytes));
        let (opener, run) = if range == (0..manifest.size) {
            opener_of_all(stages, self.address.clone(), manifest, frame).await?
        } else {
            (opener(stages, self.address.clone(), manifest, frame).await?, None)
        };
        let chunks = opener.chunks_of(&range);
        let promotion = self.promotion(&range).await?;
        let (frame, local, cpu) = (Arc::clone(&self.frame.bytes), self.frame.local, self.stages.cpu.clone());
        let proves = self.frame.may_be_copy && range == (0..self.manifest.size);
        let mut witness = proves.then(|| Witness { opener: Arc::clone(&opener), hashes: Vec::new() });
        let mut supply = Supply::start(Stock { frame, local, opener, cpu }, chunks.clone(), run);
        let first = seen(&mut witness, supply.next().await?).await?;
        let (manifest, level) = (Arc::clone(&self.manifest), self.level);
        let Some(first) = first else {
            self.promote(promotion, Vec::new());
            return Ok(Pulled { manifest, level, range, body: PullBody::ready([]) });
        };
        let cut = Cut { range: range.clone(), at: u64::from(chunks.start) * CHUNK_BYTES as u64 };
        if chunks.len() == 1 {
            let body = PullBody::ready([cut.apply(0, &first)]);
            self.promote(promotion, vec![first]);
            return Ok(Pulled { manifest, level, range, body });
        }
        let permits = permits.take();
        let (send, rest) = mpsc::channel(1);
        let body = PullBody::streamed([cut.apply(0, &first)], rest);
        let streaming = Streaming { supply, first, witness, cut, send, promotion, permits };
        tokio::spawn(trace::within(trace::here(), self.stream(streaming)));
        Ok(Pulled { manifest, level, range, body })
    }

    async fn stream(self, streaming: Streaming) {
        let Streaming { mut supply, first, mut witness, cut, send, promotion, permits } = streaming;
        let mut kept = promotion.is_some().then(|| vec![first]);
        let mut nth = 1;
        loop {
            let piece = match supply.next().await {
                Ok(piece) => seen(&mut witness, piece).await,
                Err(error) => Err(error),
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    let error = self.report(error).await;
                    // A reader that is gone needs no error.
                    let _ = send.send(Err(error)).await;
                    return;
                }
            };
            if send.send(Ok(cut.apply(nth, &piece))).await.is_err() {
                return;
            }
            nth += 1;
            kept.iter_mut().for_each(|kept| kept.push(piece.clone()));
        }
        self.promote(promotion, kept.unwrap_or_default());
        drop(permits);
    }

    /// Room for the object in memory, if it is read whole and the policy wants it.
    pub async fn promotion(&self, range: &Range<u64>) -> Result<Option<Reservation>> {
        let cost = MemoryTier::cost(&self.address, self.manifest.size);
        let whole = *range == (0..self.manifest.size);
        if !self.promotes || !whole || cost > self.crew.keeper.memory().budget() / 4 {
            return Ok(None);
        }
        // Who cannot be asked wants nothing: a read does not fail over its copy in memory.
        let wanted = self.crew.eviction.ask(Consider { address: self.address.clone(), cost }).await;
        if !wanted.unwrap_or(false) {
            return Ok(None);
        }
        // A read neither fails nor waits for long because memory is full.
        Ok(reserve(&self.crew, cost, PROMOTION_WAIT_MAX).await.unwrap_or_default())
    }

    pub fn promote(&self, room: Option<Reservation>, pieces: Vec<Bytes>) {
        if let Some(mut room) = room.filter(|_| self.crew.may_hold(self.address.collection())) {
            // Only a whole chunk needs the room that its buffer takes.
            let fitting = |piece: Bytes| if piece.len() < CHUNK_BYTES { Bytes::copy_from_slice(&piece) } else { piece };
            let pieces = pieces.into_iter().map(fitting).collect();
            let (memory, chunks) = (self.crew.keeper.memory(), Chunks::from_pieces(pieces));
            memory.promote(self.ticket, &self.address, Arc::clone(&self.manifest), chunks, &mut room);
        }
    }

    /// Damage is put aside before it is reported.
    async fn report(&self, error: Error) -> Error {
        self.doubt(&error);
        if error.kind() == Kind::Corrupt && !self.frame.bytes.is_second_hand() {
            let frame = self.manifest.seal.as_ref().map(|seal| seal.frame);
            match frame.filter(|frame| self.crew.copies.has(&self.address, *frame)) {
                Some(copy) => self.crew.copies.drop_copy(&self.address, copy),
                // The next reader profits where another copy is found; this one is told.
                None if self.frame.local => {
                    self.crew.healer().take_out(&self.address, &self.manifest, &error).await;
                }
                None => {}
            }
        }
        self.named(error)
    }

    /// What is damaged may have come from a copy elsewhere: then none is read any more, but what the keeper has.
    pub fn doubt(&self, error: &Error) {
        let is_bad = error.kind() == Kind::Corrupt && self.frame.bytes.is_second_hand();
        if let (true, Some(seal), Ok(peers)) = (is_bad, &self.manifest.seal, self.crew.peers(&self.address)) {
            tracing::warn!(address = %self.address, "a copy at another site is not what the keeper has sealed");
            peers.distrust(seal.frame);
        }
    }

    pub fn named(&self, error: Error) -> Error {
        if error.context("address").is_some() { error } else { error.with("address", &self.address) }
    }
}

/// The rest of a body after its first chunk.
struct Streaming {
    supply: Supply,
    first: Bytes,
    witness: Option<Witness>,
    cut: Cut,
    send: mpsc::Sender<Result<Bytes>>,
    promotion: Option<Reservation>,
    permits: Option<Permits>,
}

/// Sees whether what is read whole is what the keeper of the object has sealed, before the last of it is given out.
struct Witness {
    opener: Arc<Opener>,
    hashes: Vec<ChunkHash>,
}

/// The next piece, unless it is the last one of what should be something else.
async fn seen(witness: &mut Option<Witness>, piece: Option<Bytes>) -> Result<Option<Bytes>> {
    let (Some(Witness { opener, hashes }), Some(piece)) = (witness, &piece) else { return Ok(piece) };
    let (hashing, bytes, index) = (Arc::clone(opener), piece.clone(), hashes.len() as u32);
    hashes.push(blocking(move || Ok(hashing.hash(index, &bytes))).await?);
    if hashes.len() as u64 == u64::from(opener.chunks()) && !opener.is_made_of(hashes) {
        return Err(Error::corrupt("a copy of the object is not what its keeper has sealed"));
    }
    Ok(Some(piece.clone()))
}

/// Cuts chunks to the range that was asked for.
struct Cut {
    range: Range<u64>,
    /// Where the first chunk starts in the object.
    at: u64,
}

impl Cut {
    fn apply(&self, nth: u64, chunk: &Bytes) -> Bytes {
        let base = self.at + nth * CHUNK_BYTES as u64;
        let start = self.range.start.saturating_sub(base).min(chunk.len() as u64);
        let end = self.range.end.saturating_sub(base).clamp(start, chunk.len() as u64);
        chunk.slice(start as usize..end as usize)
    }
}

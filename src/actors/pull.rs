//! One pull that memory cannot answer: checked and opened chunk by chunk, and perhaps promoted.
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
use super::disk::Quarantine;
use super::eviction::Consider;
use super::handle::Permits;
use super::nfr::{HandOutStages, Stages, opener};
use super::push::{reserve, within};
use super::request::{Pull, Pulled};
use super::window::Window;
use crate::error::{Error, Kind, Result};
use crate::limits::{BODY_WINDOW_CHUNKS, CHUNK_BYTES, PROMOTION_WAIT_MAX};
use crate::model::{Address, ByteRange, Chunks, Level, Manifest, Version};
use crate::nfr::Opener;
use crate::tiers::{FrameReader, Located, MemoryTier, Reservation, Resident, Source as _, Ticket};

/// An object may be replaced while it is being looked up; so often is it looked up anew.
const LOOKUPS_MAX: usize = 8;

/// What a range of an object of this size comes to.
pub fn resolve(range: Option<ByteRange>, size: u64) -> Result<Range<u64>> {
    range.map_or(Ok(0..size), |range| range.of(size))
}

/// Answers a pull from memory.
pub fn from_memory(pull: &Pull, resident: &Resident) -> Result<Pulled> {
    let range = resolve(pull.range, resident.manifest.size)?;
    let body = PullBody::ready(resident.chunks.slice(range.clone()));
    Ok(Pulled { manifest: Arc::clone(&resident.manifest), level: Level::Ram, range, body })
}

/// Answers a pull from disk.
pub async fn fetch(crew: Crew, pull: Pull, permits: Permits) -> Result<Pulled> {
    let stages = crew.nfr.ask(HandOutStages).await?;
    for _ in 0..LOOKUPS_MAX {
        let ticket = crew.keeper.memory().ticket(&pull.address);
        let (manifest, frame) = match look_up(&crew, &pull).await? {
            Source::Memory(resident) => return from_memory(&pull, &resident),
            Source::Frame(manifest, frame) => (manifest, frame),
            Source::Replaced => continue,
        };
        let range = resolve(pull.range, manifest.size)?;
        let promotes = pull.version.is_none() && allows_ram(&crew, &pull.address);
        let reading = Reading { crew, stages, address: pull.address.clone(), manifest, frame, ticket, promotes };
        return within(pull.deadline, "the object could not be read in time", reading.start(range, permits)).await;
    }
    Err(Error::busy("the object is being replaced all the time; try again").with("address", pull.address))
}

/// Where the bytes of a pull come from.
enum Source {
    Memory(Arc<Resident>),
    Frame(Arc<Manifest>, FrameReader),
    /// It was replaced while it was looked up.
    Replaced,
}

async fn look_up(crew: &Crew, pull: &Pull) -> Result<Source> {
    let (keeper, address, version) = (Arc::clone(&crew.keeper), pull.address.clone(), pull.version);
    let found = blocking(move || {
        let manifest = match keeper.find(&address, version)? {
            Some(Located::Ram(resident)) => return Ok(Source::Memory(resident)),
            Some(Located::Disk(manifest)) => manifest,
            None => {
                keeper.disk().count_read(false);
                return Err(absent(&address, version));
            }
        };
        let seal = manifest
            .seal
            .as_ref()
            .ok_or_else(|| Error::corrupt("a record names no frame").with("address", &address))?;
        match keeper.disk().reader(&address, manifest.version, seal) {
            Ok(frame) => {
                keeper.disk().count_read(true);
                Ok(Source::Frame(manifest, frame))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(Source::Replaced),
            Err(error) => Err(error),
        }
    });
    found.await
}

/// Why a pull finds nothing.
pub(super) fn absent(address: &Address, version: Option<Version>) -> Error {
    match version {
        None => Error::not_found("there is no such object").with("address", address),
        Some(version) => {
            let why = "there is no such version; it was never here, or the time it was kept for is over";
            Error::not_found(why).with("address", address).with("version", version)
        }
    }
}

/// Whether the collection's policy lets memory hold the object.
fn allows_ram(crew: &Crew, address: &Address) -> bool {
    let collection = crew.collections.get(address.collection()).unwrap_or_default();
    collection.is_none_or(|collection| collection.policy.allows(Level::Ram))
}

/// One object being read from disk.
struct Reading {
    crew: Crew,
    stages: Arc<Stages>,
    address: Address,
    manifest: Arc<Manifest>,
    frame: FrameReader,
    ticket: Ticket,
    /// Whether it may enter memory at all.
    promotes: bool,
}

impl Reading {
    async fn start(self, range: Range<u64>, permits: Permits) -> Result<Pulled> {
        let opened =
            opener(Arc::clone(&self.stages), self.address.clone(), Arc::clone(&self.manifest), self.frame.clone());
        let opener = match opened.await {
            Ok(opener) => opener,
            Err(error) => return Err(self.report(error).await),
        };
        let chunks = opener.chunks_of(&range);
        let promotion = self.promotion(&range).await?;
        let mut window = Window::new(BODY_WINDOW_CHUNKS);
        let mut todo = chunks.clone();
        for index in todo.by_ref().take(BODY_WINDOW_CHUNKS) {
            window.push(self.open_later(&opener, index)).await?;
        }
        let first = match window.next().await {
            Ok(first) => first,
            Err(error) => return Err(self.report(error).await),
        };
        let (manifest, level) = (Arc::clone(&self.manifest), Level::Disk);
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
        let (send, rest) = mpsc::channel(1);
        let body = PullBody::streamed([cut.apply(0, &first)], rest);
        tokio::spawn(self.stream(Streaming { opener, window, todo, first, cut, send, promotion, permits }));
        Ok(Pulled { manifest, level, range, body })
    }

    fn open_later(&self, opener: &Arc<Opener>, index: u32) -> tokio::sync::oneshot::Receiver<Result<Bytes>> {
        let (opener, frame) = (Arc::clone(opener), self.frame.clone());
        self.stages.cpu.run(move || opener.open(index, &frame.read(opener.extent(index))?))
    }

    async fn stream(self, streaming: Streaming) {
        let Streaming { opener, mut window, mut todo, first, cut, send, promotion, permits } = streaming;
        let mut kept = promotion.is_some().then(|| vec![first]);
        let mut nth = 1;
        loop {
            if let Some(index) = todo.next()
                && let Err(error) = window.push(self.open_later(&opener, index)).await.map(|_| ())
            {
                let _ = send.send(Err(self.report(error).await)).await;
                return;
            }
            let piece = match window.next().await {
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
    async fn promotion(&self, range: &Range<u64>) -> Result<Option<Reservation>> {
        let cost = MemoryTier::cost(&self.address, self.manifest.size);
        let whole = *range == (0..self.manifest.size);
        if !self.promotes || !whole || cost > self.crew.keeper.memory().usage().budget / 4 {
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

    fn promote(&self, room: Option<Reservation>, pieces: Vec<Bytes>) {
        if let Some(mut room) = room {
            let (memory, chunks) = (self.crew.keeper.memory(), Chunks::from_pieces(pieces));
            memory.promote(self.ticket, &self.address, Arc::clone(&self.manifest), chunks, &mut room);
        }
    }

    /// Damage is put aside before it is reported.
    async fn report(&self, error: Error) -> Error {
        if let (Kind::Corrupt, Some(seal)) = (error.kind(), &self.manifest.seal) {
            let quarantine = Quarantine {
                address: self.address.clone(),
                version: self.manifest.version,
                frame: seal.frame,
                why: error.duplicate(),
            };
            if let Err(error) = self.crew.disk.ask(quarantine).await {
                tracing::error!(%error, "cannot quarantine a damaged object");
            }
        }
        if error.context("address").is_some() { error } else { error.with("address", &self.address) }
    }
}

/// The rest of a body after its first chunk.
struct Streaming {
    opener: Arc<Opener>,
    window: Window<Bytes>,
    todo: Range<u32>,
    first: Bytes,
    cut: Cut,
    send: mpsc::Sender<Result<Bytes>>,
    promotion: Option<Reservation>,
    permits: Permits,
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

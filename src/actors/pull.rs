//! One pull that memory cannot answer: from the disk or from the cloud, checked and opened chunk by chunk,
//! and perhaps promoted.
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
use super::fetch::InOneGo;
use super::handle::Permits;
use super::nfr::{HandOutStages, Stages, opener, opener_of_all};
use super::push::{reserve, within};
use super::request::{Pull, Pulled};
use super::supply::{Stock, Supply};
use crate::error::{Error, Kind, Result};
use crate::limits::{CHUNK_BYTES, PROMOTION_WAIT_MAX};
use crate::model::{Address, ByteRange, Chunks, ContainerId, Entry, Head, Level, Manifest, Mode, Seal, Version};
use crate::store::lost;
use crate::telemetry::trace;
use crate::tiers::{FrameReader, Keeper, Located, MemoryTier, Opened, Reservation, Resident, Source, Ticket};

const LATE: &str = "the object could not be read in time";

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

/// Answers a pull from the disk, from another container of the site, or from the cloud.
pub async fn fetch(crew: Crew, pull: Pull, permits: Permits) -> Result<Pulled> {
    let stages = crew.nfr.ask(HandOutStages).await?;
    let (mut permits, mut level, mut asked, mut moved) = (Some(permits), Level::Disk, false, None);
    for _ in 0..LOOKUPS_MAX {
        let ticket = crew.keeper.memory().ticket(&pull.address);
        let found = match moved.take() {
            Some(found) => Ok(found),
            None => look_up(&crew, &pull).await,
        };
        let found = match found {
            Err(error) if error.kind() == Kind::NotFound && !asked => {
                asked = true;
                match ask_others(&crew, &pull, error).await? {
                    Some(found) => found,
                    None => continue,
                }
            }
            found => found?,
        };
        let reading = |manifest, frame: Frame, level| Reading {
            crew: crew.clone(),
            stages: Arc::clone(&stages),
            address: pull.address.clone(),
            level: if frame.local { level } else { frame.from },
            manifest,
            frame,
            ticket,
            promotes: pull.version.is_none() && allows_ram(&crew, &pull.address),
        };
        let (manifest, frame) = match found {
            Found::Memory(resident) => return from_memory(&pull, &resident),
            Found::Frame(manifest, frame) => (manifest, frame),
            Found::Replaced => continue,
            Found::Damaged(manifest, error) => match crew.healer().take_out(&pull.address, &manifest, &error).await {
                true => continue,
                false => return Err(error),
            },
            Found::Elsewhere(manifest, keeper) => {
                let range = resolve(pull.range, manifest.size)?;
                let reading = reading(manifest, Frame::elsewhere(Level::Peer, Arc::new(Bytes::new())), level);
                let whole = range == (0..reading.manifest.size);
                let is_far = crew.peers(&pull.address)?.is_far(keeper);
                let (bytes, is_inline) =
                    reading.manifest.seal.as_ref().map_or((0, true), |seal| (seal.bytes, seal.inline));
                // A copy stays behind that serves those who come after, also when the other site is cut off. Who waits for
                // it waits for all of it: a large one is copied only where that is asked for.
                let collection = pull.address.collection();
                let stored = whole
                    && match (is_far, mode(&crew, &pull)) {
                        (true, asked) => crew.leaves_copy(collection, bytes, asked.map(|mode| mode == Mode::Storage)),
                        (false, asked) => asked == Some(Mode::Storage) && !is_inline && crew.may_hold(collection),
                    };
                let version = reading.manifest.version;
                match within(pull.deadline, LATE, reading.at_keeper(keeper, range, stored, &mut permits)).await {
                    // A version that is named may have been taken over by another container.
                    Err(error) if error.kind() == Kind::NotFound && pull.version.is_some() && !asked => {
                        asked = true;
                        moved = ask_others(&crew, &pull, error).await?;
                        continue;
                    }
                    // It was replaced or taken over and the news of it are on their way, or it is gone.
                    Err(error) if error.kind() == Kind::NotFound && pull.version.is_none() => {
                        let others = if asked { None } else { crew.ask_others(&pull.address, None).await?.found };
                        asked = true;
                        let is_other = |other: &Entry| other.version() > version || other.keeper != keeper;
                        if others.as_ref().is_some_and(is_other) {
                            continue;
                        }
                        let (own, address) = (Arc::clone(&crew.keeper), pull.address.clone());
                        blocking(move || own.forget_other(&address, version, keeper)).await?;
                        // Its keeper may have come back with an older version, from an older copy of its folder.
                        if others.is_none_or(|other| other.version() >= version) {
                            return Err(error);
                        }
                        asked = false;
                        continue;
                    }
                    outcome => return outcome,
                }
            }
        };
        let range = resolve(pull.range, manifest.size)?;
        let whole = range == (0..manifest.size) && pull.version.is_none();
        if !frame.local && whole && level == Level::Disk && crew.may_hold(pull.address.collection()) {
            // Back to the disk first, so that the next reader finds it there; once is enough to try.
            level = Level::Cloud;
            if within(pull.deadline, LATE, bring(&crew, &pull.address, &manifest)).await? {
                continue;
            }
        }
        let reading = reading(manifest, frame, level);
        let outcome = within(pull.deadline, LATE, reading.clone().start(range, &mut permits)).await;
        match outcome {
            Err(error) if error.kind() == Kind::Corrupt && reading.frame.local => {
                if !crew.healer().take_out(&pull.address, &reading.manifest, &error).await {
                    return Err(reading.named(error));
                }
            }
            outcome => return outcome.map_err(|error| reading.named(error)),
        }
    }
    Err(Error::busy("the object is being replaced all the time; try again").with("address", pull.address))
}

/// Where the bytes of a pull come from.
enum Found {
    Memory(Arc<Resident>),
    Frame(Arc<Manifest>, Frame),
    /// Another container of the site keeps it.
    Elsewhere(Arc<Manifest>, ContainerId),
    /// It was replaced while it was looked up.
    Replaced,
    /// It is here, but its bytes are not to be had.
    Damaged(Arc<Manifest>, Error),
}

/// Sealed bytes, here, at another container or in the cloud.
#[derive(Clone)]
struct Frame {
    bytes: Arc<dyn Source>,
    /// Whether reading them takes no network.
    local: bool,
    /// Where they are, unless they are on the disk here.
    from: Level,
}

impl Frame {
    fn here(bytes: Arc<dyn Source>) -> Self {
        Frame { bytes, local: true, from: Level::Disk }
    }

    fn elsewhere(from: Level, bytes: Arc<dyn Source>) -> Self {
        Frame { bytes, local: false, from }
    }
}

/// Nothing is here: the others may know of it. `None` when they did, and what they told has been taken in; an
/// old version is read from who has it.
async fn ask_others(crew: &Crew, pull: &Pull, absent: Error) -> Result<Option<Found>> {
    let asked = crew.ask_others(&pull.address, pull.version).await?;
    match asked.found {
        Some(Entry { keeper, head: Head::Object(manifest) }) if pull.version.is_some() => {
            Ok(Some(Found::Elsewhere(Arc::new(manifest), keeper)))
        }
        Some(_) if pull.version.is_none() => Ok(None),
        _ => Err(unasked(absent, &asked.silent)),
    }
}

/// Names those who may have what was not found, and did not answer.
pub(super) fn unasked(absent: Error, silent: &[String]) -> Error {
    if silent.is_empty() { absent } else { absent.with("unasked", silent.join(", ")) }
}

/// Brings an object from the cloud to the disk. Returns whether it is there now.
async fn bring(crew: &Crew, address: &Address, manifest: &Arc<Manifest>) -> Result<bool> {
    let Some(cloud) = &crew.cloud else { return Ok(false) };
    let room = crew.disk_budget.saturating_sub(crew.keeper.disk().sealed_bytes());
    Ok(crew.fetches.bring(&crew.keeper, cloud, room, address, manifest).await)
}

async fn look_up(crew: &Crew, pull: &Pull) -> Result<Found> {
    let (keeper, address, version) = (Arc::clone(&crew.keeper), pull.address.clone(), pull.version);
    let (cloud, recent) = (crew.cloud.clone(), Arc::clone(&crew.recent));
    let found = blocking(move || {
        let manifest = match keeper.find(&address, version)? {
            Some(Located::Ram(resident)) => return Ok(Found::Memory(resident)),
            Some(Located::Disk(manifest)) => manifest,
            Some(Located::Peer(manifest, holder)) => {
                keeper.disk().count_read(false);
                return Ok(Found::Elsewhere(manifest, holder));
            }
            None => {
                keeper.disk().count_read(false);
                return Err(absent(&keeper, &address, version));
            }
        };
        let seal = manifest
            .seal
            .as_ref()
            .ok_or_else(|| Error::corrupt("a record names no frame").with("address", &address))?;
        keeper.disk().count_read(seal.rest.on_disk());
        if !seal.rest.on_disk() {
            let cloud = cloud.ok_or_else(|| {
                let why = "the object is in the cloud alone, and this container has no cloud tier; set cloud.url again";
                Error::unavailable(why).with("address", &address)
            })?;
            let frame = Frame::elsewhere(Level::Cloud, Arc::new(cloud.read(seal)));
            return Ok(Found::Frame(manifest, frame));
        }
        recent.note(seal.frame);
        match keeper.disk().reader(&address, manifest.version, seal) {
            Ok(frame) => Ok(Found::Frame(manifest, Frame::here(Arc::new(frame)))),
            Err(error) if error.kind() == Kind::NotFound => Ok(Found::Replaced),
            Err(error) if error.kind() == Kind::Corrupt => Ok(Found::Damaged(manifest, error)),
            Err(error) => Err(error),
        }
    });
    found.await
}

/// Why a pull finds nothing.
pub(super) fn absent(keeper: &Keeper, address: &Address, version: Option<Version>) -> Error {
    match keeper.disk().is_unaccounted(address, version) {
        Ok(false) => {}
        Ok(true) => return lost(address),
        Err(error) => return error,
    }
    match version {
        None => Error::not_found("there is no such object").with("address", address),
        Some(version) => {
            let why = "there is no such version; it was never here, or the time it was kept for is over";
            Error::not_found(why).with("address", address).with("version", version)
        }
    }
}

/// How what another container keeps is read, where somebody asks for one way.
fn mode(crew: &Crew, pull: &Pull) -> Option<Mode> {
    let policy = || crew.collections.get(pull.address.collection()).ok().flatten().map(|known| known.policy.mode);
    pull.mode.or_else(|| policy().filter(|mode| *mode != Mode::default()))
}

/// Whether memory may hold the object.
fn allows_ram(crew: &Crew, address: &Address) -> bool {
    let collection = crew.collections.get(address.collection()).unwrap_or_default();
    crew.may_hold(address.collection()) && collection.is_none_or(|collection| collection.policy.allows(Level::Ram))
}

/// One object being read from disk, or from the cloud.
#[derive(Clone)]
struct Reading {
    crew: Crew,
    stages: Arc<Stages>,
    address: Address,
    manifest: Arc<Manifest>,
    frame: Frame,
    /// Where the bytes come from, as the answer says.
    level: Level,
    ticket: Ticket,
    /// Whether it may enter memory at all.
    promotes: bool,
}

impl Reading {
    /// From the container that keeps it: sealed, and opened here, where that is possible. What is in its memory alone
    /// was never sealed, and a frame that fails its check here is looked into there.
    async fn at_keeper(
        mut self,
        keeper: ContainerId,
        range: Range<u64>,
        stored: bool,
        permits: &mut Option<Permits>,
    ) -> Result<Pulled> {
        if let Some(seal) = self.manifest.seal.clone() {
            let copy = self.crew.copies.reader(seal.frame, seal.bytes).filter(|_| !self.manifest.lacks_key());
            if let Some(pulled) = self.by_copy(&seal, copy, &range, permits).await {
                return pulled;
            }
            let opened = self.crew.peers(&self.address)?.opened(&self.address, keeper, &self.manifest).await;
            let Opened { manifest, frame } = opened.map_err(|error| self.named(error))?;
            self.manifest = manifest;
            let mut copy = self.crew.copies.reader(seal.frame, seal.bytes);
            if copy.is_none() && stored {
                copy = self.copied(&seal, &frame).await;
            }
            if let Some(pulled) = self.by_copy(&seal, copy, &range, permits).await {
                return pulled;
            }
            self.frame = Frame::elsewhere(Level::Peer, frame);
            match self.clone().start(range.clone(), permits).await {
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                    tracing::debug!(address = %self.address, %error, "a frame of another container is of no use");
                }
                outcome => return outcome.map_err(|error| self.named(error)),
            }
        }
        self.plain_from(keeper, range, permits).await.map_err(|error| self.named(error))
    }

    /// From the copy on the disk here, if there is a good one: one that fails its check is dropped, and is no loss.
    async fn by_copy(
        &self,
        seal: &Seal,
        copy: Option<FrameReader>,
        range: &Range<u64>,
        permits: &mut Option<Permits>,
    ) -> Option<Result<Pulled>> {
        let reading = Reading { frame: Frame::here(Arc::new(copy?)), level: Level::Disk, ..self.clone() };
        match reading.start(range.clone(), permits).await {
            Err(error) if error.kind() == Kind::Corrupt => {
                self.crew.copies.drop_copy(seal.frame);
                None
            }
            outcome => Some(outcome.map_err(|error| self.named(error))),
        }
    }

    /// The copy of a frame on the disk here, made first.
    async fn copied(&self, seal: &Seal, source: &Arc<dyn Source>) -> Option<FrameReader> {
        let (copies, frame, bytes) = (Arc::clone(&self.crew.copies), seal.frame, seal.bytes);
        let _place = self.crew.fetches.place().await?;
        let (taking, source) = (Arc::clone(&copies), InOneGo::of(source));
        let (policies, collection) = (Arc::clone(&self.crew.policies), self.address.collection().to_owned());
        let take = move || {
            let taken = taking.take(frame, &*source);
            // A policy may have come meanwhile.
            if policies.on(&collection).is_some_and(|verdict| !verdict.may_hold()) {
                taking.drop_copy(frame);
            }
            taken
        };
        self.crew.fetches.share(frame, take).await;
        copies.reader(frame, bytes)
    }

    async fn plain_from(
        &self,
        keeper: ContainerId,
        range: Range<u64>,
        permits: &mut Option<Permits>,
    ) -> Result<Pulled> {
        let (manifest, level) = (Arc::clone(&self.manifest), Level::Peer);
        if range.end - range.start > CHUNK_BYTES as u64 {
            let held = permits.take();
            let body = self.crew.plain_from(&self.address, keeper, &manifest, range.clone(), held).await?;
            return Ok(Pulled { manifest, level, range, body });
        }
        let whole = self.crew.plain_small(&self.address, keeper, &manifest, range.clone()).await?;
        let promotion = self.promotion(&range).await?;
        self.promote(promotion, if whole.is_empty() { Vec::new() } else { vec![whole.clone()] });
        Ok(Pulled { manifest, level, range, body: PullBody::ready([whole]) })
    }

    /// The permits are taken by a body that is streamed.
    async fn start(self, range: Range<u64>, permits: &mut Option<Permits>) -> Result<Pulled> {
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
        let mut supply = Supply::start(Stock { frame, local, opener, cpu }, chunks.clone(), run);
        let first = supply.next().await?;
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
        let streaming = Streaming { supply, first, cut, send, promotion, permits };
        tokio::spawn(trace::within(trace::here(), self.stream(streaming)));
        Ok(Pulled { manifest, level, range, body })
    }

    async fn stream(self, streaming: Streaming) {
        let Streaming { mut supply, first, cut, send, promotion, permits } = streaming;
        let mut kept = promotion.is_some().then(|| vec![first]);
        let mut nth = 1;
        loop {
            let piece = match supply.next().await {
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
        let copy = self.manifest.seal.as_ref().map(|seal| seal.frame).filter(|frame| self.crew.copies.has(*frame));
        if let Some(copy) = copy.filter(|_| error.kind() == Kind::Corrupt) {
            self.crew.copies.drop_copy(copy);
        } else if error.kind() == Kind::Corrupt && self.frame.local {
            // The next reader profits where another copy is found; this one is told.
            self.crew.healer().take_out(&self.address, &self.manifest, &error).await;
        }
        self.named(error)
    }

    fn named(&self, error: Error) -> Error {
        if error.context("address").is_some() { error } else { error.with("address", &self.address) }
    }
}

/// The rest of a body after its first chunk.
struct Streaming {
    supply: Supply,
    first: Bytes,
    cut: Cut,
    send: mpsc::Sender<Result<Bytes>>,
    promotion: Option<Reservation>,
    permits: Option<Permits>,
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

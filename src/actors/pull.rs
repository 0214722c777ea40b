//! One pull that memory cannot answer: where the object is, here, at another container or in the cloud, and reading it
//! from there.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::body::PullBody;
use super::container::Crew;
use super::cpu::blocking;
use super::handle::Permits;
use super::nfr::HandOutStages;
use super::push::within;
use super::reading::{Frame, Reading};
use super::request::{Pull, Pulled};
use crate::error::{Error, Kind, Result};
use crate::model::{Address, ByteRange, ContainerId, Entry, Head, Level, Manifest, Mode, Version};
use crate::store::lost;
use crate::tiers::{Keeper, Located, Resident};

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

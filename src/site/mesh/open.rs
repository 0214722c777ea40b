//! Opening what another site keeps: what its keeper says of it, and copies at sites that have only read it, which are
//! asked for where much is to be read, and where the keeper is silent.
//!
//! Who has a copy is not believed for what is in it. Its frame is the one that the keeper's entry names; what is read
//! whole is checked against the digest there (`actors/reading.rs`), and a part is read of an encrypted copy alone, whose
//! chunks nobody makes but who may open it. A data key that a keeper did not give is not kept.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::super::ask::unreachable;
use super::super::members::Member;
use super::super::route::is_of_the_way;
use super::super::source::Holder;
use super::super::{Site, locked};
use super::call::{Answer, Call, Opening};
use crate::error::{Error, Kind, Result};
use crate::limits::ASK_MAX;
use crate::model::{Address, ContainerId, Encryption, Entry, FrameId, Head, Manifest, Name, Version};
use crate::nfr::{DataKey, SystemRng, binding};
use crate::tiers::Opened;

/// Sealed bytes from which on copies are asked for although the keeper answers: fewer are there before it is known who has
/// one.
const ASKED_FROM_BYTES: u64 = 1 << 20;

/// Containers that are asked for a copy.
const ASKED_MAX: usize = 4;

/// What a container counts as taking to answer of which that is not known.
const USUAL: Duration = Duration::from_millis(50);

/// How long somebody who may be done earlier is waited for once the keeper has answered.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// Frames that are remembered whose copies are not read.
const DISTRUSTED_MAX: usize = 1024;

/// What is known of copies.
#[derive(Default)]
pub(in crate::site) struct Spares {
    distrusted: Mutex<VecDeque<FrameId>>,
}

impl Spares {
    /// Copies of this frame are not read any more.
    pub(in crate::site) fn distrust(&self, frame: FrameId) {
        let mut distrusted = locked(&self.distrusted);
        if !distrusted.contains(&frame) {
            distrusted.push_back(frame);
            if distrusted.len() > DISTRUSTED_MAX {
                distrusted.pop_front();
            }
        }
    }

    fn trusts(&self, frame: FrameId) -> bool {
        !locked(&self.distrusted).contains(&frame)
    }
}

/// A copy, and what opens it.
struct Spare {
    container: ContainerId,
    opening: Opening,
}

/// Those who were asked for a copy and did not answer yet.
type Asked = FuturesUnordered<BoxFuture<'static, Option<Spare>>>;

/// What is known of who has a version.
#[derive(Default)]
struct Known {
    /// What the keeper said.
    kept: Option<Opening>,
    spares: Vec<Spare>,
    asked: Asked,
}

impl Site {
    /// What opens a version that another site keeps, and its sealed bytes: all of them are to be read, or a part.
    pub(in crate::site) async fn open_far(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Arc<Manifest>,
        whole: bool,
    ) -> Result<Opened> {
        let seal = manifest.seal.as_ref();
        let is_proven = whole || manifest.nfr.encrypt != Encryption::None;
        let may_copy = is_proven && seal.is_some_and(|seal| self.0.mesh.spares.trusts(seal.frame));
        let is_large = seal.is_some_and(|seal| seal.bytes >= ASKED_FROM_BYTES);
        let asked = || self.ask_for_copies(address, keeper, manifest.version);
        let mut asked_now = if may_copy && is_large { asked() } else { Asked::new() };
        let (kept, mut spares) = self.ask_keeper(address, keeper, manifest, &mut asked_now).await;
        let known = match kept {
            Ok(kept) => Known { kept: Some(kept), spares, asked: asked_now },
            Err(error) if is_of_the_way(&error) && may_copy => {
                let mut asked = if is_large { asked_now } else { asked() };
                while let Some(spare) = asked.next().await {
                    spares.extend(spare);
                }
                if spares.is_empty() {
                    return Err(error);
                }
                Known { spares, ..Known::default() }
            }
            Err(error) => return Err(error),
        };
        self.opened_of(address, keeper, manifest, known).await
    }

    /// What the keeper of a version says opens it, and who of those who were asked has a copy so far.
    async fn ask_keeper(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Manifest,
        asked: &mut Asked,
    ) -> (Result<Opening>, Vec<Spare>) {
        let began_ns = self.0.parts.telemetry.ticks_ns();
        let (mut kept, mut spares) = (pin!(self.ask_opening(address, keeper, manifest.version)), Vec::new());
        let kept = loop {
            tokio::select! {
                kept = &mut kept => break kept,
                Some(spare) = asked.next() => spares.extend(spare),
            }
        };
        if kept.is_ok() && !asked.is_empty() {
            let took = Duration::from_nanos(self.0.parts.telemetry.since_ns(began_ns));
            let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
            // Nobody is worth much of the time that the keeper takes for all of it.
            let patience = (took / 2).max(self.expects_of(address, keeper, bytes) / 8).min(WAIT_MAX);
            let rest = async {
                while let Some(spare) = asked.next().await {
                    spares.extend(spare);
                }
            };
            // Who is late stands in where another one fails.
            let _ = timeout(patience, rest).await;
        }
        (kept, spares)
    }

    /// With what its keeper said, or others who have it.
    async fn opened_of(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Arc<Manifest>,
        known: Known,
    ) -> Result<Opened> {
        let Known { kept, spares, mut asked } = known;
        let manifest = Arc::new(self.with_key(address, keeper, manifest, (kept.as_ref(), &spares)).await?);
        let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        let second_hand = kept.is_none() || !spares.is_empty() || !asked.is_empty();
        let kept = kept.map(|opening| (Spare { container: keeper, opening }, false));
        let mut all: Vec<(Spare, bool)> = kept.into_iter().chain(spares.into_iter().map(|one| (one, true))).collect();
        all.sort_by_cached_key(|(one, _)| self.expects_of(address, one.container, bytes));
        let is_whole = |(one, _): &(Spare, bool)| bytes > 0 && one.opening.frame.len() as u64 == bytes;
        let first = all.iter().position(is_whole).unwrap_or(0);
        if all.get(first).is_some_and(|(_, is_copy)| *is_copy) {
            self.0.parts.telemetry.metrics.peer_copies.one(());
        }
        if all.get(first).is_some_and(is_whole) {
            let (one, is_copy) = all.swap_remove(first);
            return Ok(Opened { manifest, frame: Arc::new(Bytes::from(one.opening.frame)), second_hand: is_copy });
        }
        let holder = |(one, is_copy): (Spare, bool)| Holder {
            container: one.container,
            ticket: Some(one.opening.ticket),
            is_copy,
        };
        let frame = self.sealed_at(address, &manifest, all.into_iter().map(holder).collect())?;
        if !asked.is_empty() {
            let frame = Arc::clone(&frame);
            self.spawn(async move {
                while let Some(spare) = asked.next().await {
                    spare.into_iter().for_each(|spare| frame.add(holder((spare, true))));
                }
            });
        }
        Ok(Opened { manifest, frame, second_hand })
    }

    /// The object with what opens it here: what its keeper says does, or somebody who has a copy, if it is not known.
    async fn with_key(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Manifest,
        (kept, spares): (Option<&Opening>, &[Spare]),
    ) -> Result<Manifest> {
        let mut manifest = manifest.clone();
        let key = match kept {
            Some(kept) => kept.key,
            None if manifest.lacks_key() => spares.iter().find_map(|spare| spare.opening.key),
            None => None,
        };
        let (Some(key), Some(seal)) = (key, manifest.seal.as_mut()) else { return Ok(manifest) };
        let bound = binding(address, manifest.version, manifest.size, seal);
        seal.key = Some(self.ring().wrap(&SystemRng, &DataKey::from_bytes(key), &bound)?);
        // What was opened once is opened again when that site is cut off.
        let may_hold = || self.0.parts.policies.on(address.collection()).is_none_or(|verdict| verdict.may_hold());
        if kept.is_some() && may_hold() {
            let (address, entry) = (address.clone(), Entry { keeper, head: Head::Object(manifest.clone()) });
            if let Err(error) = self.blocking(move |store| store.keep_key(&address, &entry)).await {
                tracing::debug!(%error, "the key of what another site keeps is asked for again");
            }
        }
        Ok(manifest)
    }

    /// How long so many bytes of a container are expected to take.
    fn expects_of(&self, address: &Address, container: ContainerId, bytes: u64) -> Duration {
        let way = self.way_to(address, container).ok();
        way.and_then(|way| self.expects(container, &way, bytes)).unwrap_or(USUAL)
    }

    /// Asks those who may have a copy, the nearest ones.
    fn ask_for_copies(&self, address: &Address, keeper: ContainerId, version: Version) -> Asked {
        let ask = |(site, member): (Name, Member)| {
            let (me, address) = (self.clone(), address.clone());
            async move {
                let opening = me.ask_to_open(&site, &member, &address, version).await.ok()?;
                Some(Spare { container: member.container, opening })
            }
            .boxed()
        };
        self.near(address.collection(), keeper).into_iter().map(ask).collect()
    }

    /// Containers of sites that have a collection, without the one that keeps the object: the nearest ones.
    fn near(&self, collection: &str, keeper: ContainerId) -> Vec<(Name, Member)> {
        let now_ms = self.now_ms();
        let mut near = Vec::new();
        for site in self.listing_sites(collection) {
            let members = locked(&self.0.mesh.far).members(&site, now_ms);
            let alive = members.into_iter().filter(|(member, is_alive)| *is_alive && member.container != keeper);
            near.extend(alive.map(|(member, _)| (site.clone(), member)));
        }
        near.sort_by_cached_key(|(site, member)| {
            let way = self.0.ways.to(Some(site.clone()), member).ok();
            way.and_then(|way| way.pace().answers()).unwrap_or(USUAL)
        });
        near.truncate(ASKED_MAX);
        near
    }

    /// What the keeper of a version says opens it.
    pub(in crate::site) async fn ask_opening(
        &self,
        address: &Address,
        keeper: ContainerId,
        version: Version,
    ) -> Result<Opening> {
        let now_ms = self.now_ms();
        let home = locked(&self.0.mesh.far).home(keeper).cloned();
        let (site, _) = home.ok_or_else(|| Error::internal("a container that is of no other site"))?;
        let member = locked(&self.0.mesh.far).member(keeper).filter(|(_, member)| member.is_alive(now_ms));
        let Some((_, member)) = member else {
            let why = "the site that keeps the object is not heard; try again when it is back";
            return Err(Error::unavailable(why).with("address", address).with("site", &site));
        };
        self.ask_to_open(&site, &member, address, version).await.map_err(|error| match error.kind() {
            // A policy that is not known here yet keeps it there.
            Kind::NotFound | Kind::Forbidden => error.with("address", address),
            Kind::Internal => error,
            _ => unreachable(error, address),
        })
    }

    async fn ask_to_open(&self, site: &Name, of: &Member, address: &Address, version: Version) -> Result<Opening> {
        let call = Call::Open(address.as_str().to_owned(), version);
        let began_ns = self.0.parts.telemetry.ticks_ns();
        let answer = self.call(site, Some(&of.name), &call, ASK_MAX).await;
        if answer.as_ref().err().is_none_or(|error| !is_of_the_way(error)) {
            let took = Duration::from_nanos(self.0.parts.telemetry.since_ns(began_ns));
            self.0.ways.to(Some(site.clone()), of)?.answered(took);
        }
        match answer? {
            Answer::Open(opening) => Ok(opening),
            _ => Err(Error::internal("another site answers something else").with("site", site)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_no_good_is_remembered_as_long_as_there_is_room() {
        let spares = Spares::default();
        let frame = |n: u64| FrameId([n.to_be_bytes(), [0; 8]].concat().try_into().unwrap());
        (0..DISTRUSTED_MAX as u64 + 1).for_each(|n| spares.distrust(frame(n)));
        spares.distrust(frame(1));
        assert!(spares.trusts(frame(0)) && !spares.trusts(frame(1)) && !spares.trusts(frame(DISTRUSTED_MAX as u64)));
        assert_eq!(locked(&spares.distrusted).len(), DISTRUSTED_MAX);
    }
}

//! Opening what another site keeps: what its keeper says of it, and copies at sites that have only read it, which are
//! asked for where much is to be read, and where the keeper is silent.
//!
//! Who has a copy is not believed for what is in it. Its frame is the one that the keeper's entry names; what is read
//! whole is checked against the digest there (`actors/reading.rs`), and a part is read with a key that the keeper gave
//! alone, so that nobody could have made it but who may open the object. A key that another one gave is not kept.

use std::collections::VecDeque;
use std::ops::Range;
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
use super::super::source::{CopyOf, Holder};
use super::super::{Site, locked};
use super::call::{Answer, Call, Opening};
use crate::error::{Error, Kind, Result};
use crate::limits::ASK_MAX;
use crate::model::{Address, ContainerId, Encryption, Entry, FrameId, Head, Manifest, Name, Version};
use crate::nfr::{DataKey, SystemRng, binding};
use crate::tiers::{Opened, Source};

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

    pub(in crate::site) fn trusts(&self, frame: FrameId) -> bool {
        !locked(&self.distrusted).contains(&frame)
    }
}

/// Somebody who has the sealed bytes of a version, and what opens them.
struct Offer {
    container: ContainerId,
    /// Whether somebody else keeps it.
    is_copy: bool,
    opening: Opening,
}

impl Offer {
    fn holder(self) -> Holder {
        Holder { container: self.container, ticket: Some(self.opening.ticket), is_copy: self.is_copy }
    }
}

/// Those who were asked for a copy and did not answer yet.
type Asked = FuturesUnordered<BoxFuture<'static, Option<Offer>>>;

impl Site {
    /// What opens a version that another site keeps, and its sealed bytes, of which those of this range are to be read.
    pub(in crate::site) async fn open_far(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Arc<Manifest>,
        range: Range<u64>,
    ) -> Result<Opened> {
        let is_encrypted = manifest.nfr.encrypt != Encryption::None;
        let is_whole = range == (0..manifest.size);
        let trusts = manifest.seal.as_ref().is_some_and(|seal| self.0.mesh.spares.trusts(seal.frame));
        let bytes = range.end.saturating_sub(range.start);
        let ask = || self.ask_for_copies(address, keeper, manifest.version);
        let may_copy = trusts && (is_whole || is_encrypted);
        let asks_all = may_copy && bytes >= ASKED_FROM_BYTES;
        let (mut asked, mut offers) = (if asks_all { ask() } else { Asked::new() }, Vec::new());
        match self.ask_keeper(address, keeper, manifest.version, bytes, (&mut asked, &mut offers)).await {
            Ok(opening) => offers.push(Offer { container: keeper, is_copy: false, opening }),
            // What opens it was given by the keeper before, or proves itself by all that it opens.
            Err(error) if is_of_the_way(&error) && may_copy && (is_whole || !manifest.lacks_key()) => {
                if !asks_all {
                    asked = ask();
                }
                let opens = |offer: &Offer| offer.opening.key.is_some() || !manifest.lacks_key();
                offers.retain(opens);
                while offers.is_empty() {
                    let Some(offer) = asked.next().await else { return Err(error) };
                    offers.extend(offer.filter(opens));
                }
            }
            Err(error) => return Err(error),
        }
        offers.sort_by_cached_key(|offer| self.expects(offer.container, bytes).unwrap_or(USUAL));
        self.opened_by(address, keeper, manifest, offers, asked).await
    }

    /// What the keeper of a version says opens it. Meanwhile others answer who may have a copy.
    async fn ask_keeper(
        &self,
        address: &Address,
        keeper: ContainerId,
        version: Version,
        bytes: u64,
        (asked, offers): (&mut Asked, &mut Vec<Offer>),
    ) -> Result<Opening> {
        let began_ns = self.0.parts.telemetry.ticks_ns();
        let mut kept = pin!(self.ask_opening(address, keeper, version));
        let kept = loop {
            tokio::select! {
                kept = &mut kept => break kept?,
                Some(offer) = asked.next() => offers.extend(offer),
            }
        };
        let took = Duration::from_nanos(self.0.parts.telemetry.since_ns(began_ns));
        // Nobody is worth much of the time that the keeper takes for all of it.
        let patience = (took / 2).max(self.expects(keeper, bytes).unwrap_or_default() / 8).min(WAIT_MAX);
        let rest = async {
            while let Some(offer) = asked.next().await {
                offers.extend(offer);
            }
        };
        // Who is late stands in where another one fails.
        let _ = timeout(patience, rest).await;
        Ok(kept)
    }

    /// With what these say; those who were asked as well are read from where one of them fails.
    async fn opened_by(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Arc<Manifest>,
        mut offers: Vec<Offer>,
        mut asked: Asked,
    ) -> Result<Opened> {
        let kept = offers.iter().find(|offer| !offer.is_copy);
        let (is_kept, lacks_key) = (kept.is_some(), manifest.lacks_key());
        let of_copies = || offers.iter().find_map(|offer| offer.opening.key).filter(|_| lacks_key);
        let key = kept.map_or_else(of_copies, |kept| kept.opening.key);
        // Who comes with another key made other bytes of it.
        let fits = move |offer: &Offer| is_kept || !lacks_key || offer.opening.key == key;
        offers.retain(fits);
        let manifest = match key {
            Some(key) => Arc::new(self.with_key(address, keeper, manifest, key, is_kept).await?),
            None => Arc::clone(manifest),
        };
        if offers.first().is_some_and(|offer| offer.is_copy) {
            self.0.parts.telemetry.metrics.peer_copies.one(());
        }
        let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        if let Some(all) = offers.iter_mut().find(|offer| bytes > 0 && offer.opening.frame.len() as u64 == bytes) {
            let bytes = Bytes::from(std::mem::take(&mut all.opening.frame));
            let frame: Arc<dyn Source> = if all.is_copy { Arc::new(CopyOf(bytes)) } else { Arc::new(bytes) };
            return Ok(Opened { manifest, frame, may_be_copy: all.is_copy });
        }
        let may_be_copy = !asked.is_empty() || offers.iter().any(|offer| offer.is_copy);
        let frame = self.sealed_at(address, &manifest, offers.into_iter().map(Offer::holder).collect())?;
        if !asked.is_empty() {
            let frame = Arc::clone(&frame);
            self.spawn(async move {
                while let Some(offer) = asked.next().await {
                    offer.into_iter().filter(fits).for_each(|offer| frame.add(offer.holder()));
                }
            });
        }
        Ok(Opened { manifest, frame, may_be_copy })
    }

    /// The object with what opens it here, which is kept where its keeper gave it.
    async fn with_key(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Manifest,
        key: [u8; 32],
        is_kept: bool,
    ) -> Result<Manifest> {
        let mut manifest = manifest.clone();
        let Some(seal) = manifest.seal.as_mut() else { return Ok(manifest) };
        let bound = binding(address, manifest.version, manifest.size, seal);
        seal.key = Some(self.ring().wrap(&SystemRng, &DataKey::from_bytes(key), &bound)?);
        // What was opened once is opened again when that site is cut off.
        if is_kept && self.0.parts.policies.on(address.collection()).is_none_or(|verdict| verdict.may_hold()) {
            let (address, entry) = (address.clone(), Entry { keeper, head: Head::Object(manifest.clone()) });
            if let Err(error) = self.blocking(move |store| store.keep_key(&address, &entry)).await {
                tracing::debug!(%error, "the key of what another site keeps is asked for again");
            }
        }
        Ok(manifest)
    }

    /// Asks those who may have a copy, the nearest ones.
    fn ask_for_copies(&self, address: &Address, keeper: ContainerId, version: Version) -> Asked {
        let ask = |(site, member): (Name, Member)| {
            let (me, address) = (self.clone(), address.clone());
            async move {
                let opening = me.ask_to_open(&site, &member, &address, version).await.ok()?;
                Some(Offer { container: member.container, is_copy: true, opening })
            }
            .boxed()
        };
        self.near(address.collection(), keeper).into_iter().map(ask).collect()
    }

    /// Containers of sites that have a collection, but not of the one that keeps the object: the nearest ones.
    fn near(&self, collection: &str, keeper: ContainerId) -> Vec<(Name, Member)> {
        let now_ms = self.now_ms();
        let home = locked(&self.0.mesh.far).home(keeper).map(|(home, _)| home.clone());
        let mut near = Vec::new();
        for site in self.listing_sites(collection).into_iter().filter(|site| Some(site) != home.as_ref()) {
            let members = locked(&self.0.mesh.far).members(&site, now_ms);
            let alive = members.into_iter().filter(|(_, is_alive)| *is_alive);
            near.extend(alive.map(|(member, _)| (site.clone(), member)));
        }
        near.sort_by_cached_key(|(_, member)| {
            self.0.ways.pace(member.container).and_then(|pace| pace.answers()).unwrap_or(USUAL)
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
        let (home, member) = {
            let far = locked(&self.0.mesh.far);
            (far.home(keeper).cloned(), far.member(keeper))
        };
        let (site, _) = home.ok_or_else(|| Error::internal("a container that is of no other site"))?;
        let Some((_, member)) = member.filter(|(_, member)| member.is_alive(self.now_ms())) else {
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
        let answer = self.call(site, Some(&of.name), &call, ASK_MAX).await?;
        let Answer::Open(opening) = answer else {
            return Err(Error::internal("another site answers something else").with("site", site));
        };
        let took = Duration::from_nanos(self.0.parts.telemetry.since_ns(began_ns));
        self.0.ways.to(Some(site.clone()), of)?.answered(took);
        Ok(opening)
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

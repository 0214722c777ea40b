//! Keeping what another container has kept so far: the very version, sealed as it is, which that one may let go once
//! this one says that it is durable here.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::container::Crew;
use super::cpu::blocking;
use super::handle::{BODY_BYTES_MAX, Handle};
use super::nfr::{HandOutStages, Stages, footer, opened};
use super::push::within;
use super::sync::FreeDisk;
use crate::error::{Error, Result};
use crate::model::{Address, ContainerId, FrameId, Manifest, Name, Version};
use crate::nfr::HEADER_BYTES;
use crate::tiers::{Change, Job, Keeper, Opened, Source, StagedFrame};

/// Frames that are being taken over: two attempts at one would write the same file.
#[derive(Clone, Default)]
pub struct Takeovers(Arc<Mutex<HashSet<FrameId>>>);

/// Held by the one who takes a frame over.
struct Turn(Takeovers, FrameId);

impl Takeovers {
    fn turn(&self, frame: FrameId) -> Result<Turn> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(frame) {
            true => Ok(Turn(self.clone(), frame)),
            false => Err(Error::busy("the object is being taken over already").with("frame", frame)),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Handle {
    /// Keeps from now on what another container keeps. What was replaced or deleted meanwhile is nobody's to keep.
    pub async fn take_over(
        &self,
        address: &Address,
        from: ContainerId,
        manifest: Manifest,
        deadline: Duration,
    ) -> Result<()> {
        let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        within(deadline, "it takes too long to take this object over", async {
            let _permits = self.permits_to_change(bytes.min(BODY_BYTES_MAX), deadline).await?;
            self.0.crew.take_over(address, from, manifest).await
        })
        .await
    }
}

impl Crew {
    async fn take_over(&self, address: &Address, from: ContainerId, manifest: Manifest) -> Result<()> {
        let why = "what was never sealed cannot be taken over; its keeper writes it to its disk first";
        let seal = manifest.seal.as_ref().ok_or_else(|| Error::invalid(why).with("address", address))?;
        let (frame, bytes) = (seal.frame, seal.bytes);
        let turn = self.takeovers.turn(frame)?;
        if self.keeps(address, manifest.version).await? {
            return Ok(());
        }
        let name: Name = address.collection().parse()?;
        if self.collections.get(name.as_str())?.is_none() {
            self.find_collection(&name).await;
        }
        if self.keeper.disk().sealed_bytes().saturating_add(bytes) > self.disk_budget {
            self.sync.ask(FreeDisk { bytes }).await?;
        }
        let stages = self.nfr.ask(HandOutStages).await?;
        let (manifest, peers) = (Arc::new(manifest), self.peers(address)?);
        let Opened { manifest, frame: source, .. } = peers.opened(address, from, &manifest, 0..manifest.size).await?;
        let manifest = Arc::unwrap_or_clone(manifest);
        let (keeper, own) = (Arc::clone(&self.keeper), address.clone());
        // The turn goes with the work: that goes on where nobody waits for it any more.
        let (frame, manifest, _turn) = blocking(move || {
            let frame = copy(&keeper, &stages, &own, &manifest, &*source)?;
            Ok((frame, stages.rewrapped(&own, manifest)?, turn))
        })
        .await?;
        let change = Change::TakeOver { from, manifest: Box::new(manifest), frame };
        self.commit(Job { address: address.clone(), change, show: None, decision: None }).await.map(drop)
    }

    /// Whether this version is kept here already, as after an answer that was lost. What was kept here before and given
    /// over a moment ago has its frame here still, under a name that nothing else may take.
    async fn keeps(&self, address: &Address, version: Version) -> Result<bool> {
        let (keeper, own) = (Arc::clone(&self.keeper), address.clone());
        let (newest, named) =
            blocking(move || Ok((keeper.durable(&own, None)?, keeper.durable(&own, Some(version))?))).await?;
        match (newest.is_some_and(|newest| newest.version == version), named) {
            (true, _) => Ok(true),
            (false, None) => Ok(false),
            (false, Some(_)) => {
                let why =
                    "this version was here a moment ago and is still being let go; offer it again in five minutes";
                Err(Error::busy(why).with("address", address))
            }
        }
    }
}

/// Writes the frame here and checks all of it on the way: what is damaged there must not be let go for it.
fn copy(
    keeper: &Keeper,
    stages: &Stages,
    address: &Address,
    manifest: &Manifest,
    source: &dyn Source,
) -> Result<StagedFrame> {
    let tail = footer(manifest, source)?;
    let (head, foot) = source.ends(0..HEADER_BYTES as u64, tail.clone())?;
    let opened = opened(stages, address, manifest, &head, &foot)?;
    let frame = opened.frame();
    // Its file of before is still to be unlinked: a new one of that name would go with it.
    if keeper.disk().store().is_discarded(frame)? {
        return Err(Error::busy("the object was here before, and is still being cleared away").with("frame", frame));
    }
    let mut staging = keeper.disk().stage(frame);
    staging.write(&head)?;
    let mut at = HEADER_BYTES as u64;
    for index in 0..opened.chunks() {
        let extent = opened.extent(index);
        at = extent.end;
        let sealed = source.load(extent)?;
        staging.write(&sealed)?;
        opened.open_buffer(index, sealed)?;
    }
    if at != tail.start {
        return Err(Error::corrupt("the frame's chunks do not end where its footer begins").with("frame", frame));
    }
    staging.write(&foot)?;
    staging.finish()
}

//! Reading what another container keeps: from a copy here, from its sealed bytes, or opened by its keeper.

use std::ops::Range;
use std::sync::Arc;

use super::body::PullBody;
use super::fetch::InOneGo;
use super::handle::Permits;
use super::reading::{Frame, Reading};
use super::request::Pulled;
use crate::error::{Kind, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{ContainerId, Level, Seal};
use crate::tiers::{FrameReader, Opened, Source};

impl Reading {
    /// From the container that keeps it: sealed, and opened here, where that is possible. What is in its memory alone
    /// was never sealed, and a frame that fails its check here is looked into there.
    pub async fn at_keeper(
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
}

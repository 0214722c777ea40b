//! Reading what another container keeps: from a copy here, from its sealed bytes, or opened by its keeper.

use std::ops::Range;
use std::sync::Arc;

use super::body::PullBody;
use super::fetch::InOneGo;
use super::handle::Permits;
use super::nfr::{footer, opened};
use super::reading::{Frame, Reading};
use super::request::Pulled;
use crate::error::{Error, Kind, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{ContainerId, Level, Seal};
use crate::nfr::HEADER_BYTES;
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
            let copy =
                self.crew.copies.reader(&self.address, seal.frame, seal.bytes).filter(|_| !self.manifest.lacks_key());
            if let Some(pulled) = self.by_copy(&seal, copy, &range, permits).await {
                return pulled;
            }
            loop {
                let peers = self.crew.peers(&self.address)?;
                let opened = peers.opened(&self.address, keeper, &self.manifest, range.clone()).await;
                let Opened { manifest, frame, may_be_copy } = opened.map_err(|error| self.named(error))?;
                self.manifest = manifest;
                self.frame = Frame { may_be_copy, ..Frame::elsewhere(Level::Peer, frame) };
                let mut copy = self.crew.copies.reader(&self.address, seal.frame, seal.bytes);
                if copy.is_none() && stored {
                    copy = self.copied(&seal).await;
                    if may_be_copy && copy.is_none() && peers.distrusts(seal.frame) {
                        continue;
                    }
                }
                if let Some(pulled) = self.by_copy(&seal, copy, &range, permits).await {
                    return pulled;
                }
                match self.clone().start(range.clone(), permits).await {
                    Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                        tracing::debug!(address = %self.address, %error, "a frame of another container is of no use");
                        self.doubt(&error);
                        if !may_be_copy || !peers.distrusts(seal.frame) {
                            break;
                        }
                    }
                    outcome => return outcome.map_err(|error| self.named(error)),
                }
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
                self.crew.copies.drop_copy(&self.address, seal.frame);
                None
            }
            outcome => Some(outcome.map_err(|error| self.named(error))),
        }
    }

    /// The copy of the frame on the disk here, made first.
    async fn copied(&self, seal: &Seal) -> Option<FrameReader> {
        let (copies, frame, bytes) = (Arc::clone(&self.crew.copies), seal.frame, seal.bytes);
        let _place = self.crew.fetches.place().await?;
        let (source, reading) = (InOneGo::of(&self.frame.bytes), self.clone());
        let take = move || {
            let is_good = |copy: &FrameReader| match reading.frame.may_be_copy {
                true => reading.is_proven(copy),
                false => Ok(true),
            };
            let taken = reading.crew.copies.take(&reading.address, frame, &*source, is_good);
            // A policy may have come meanwhile.
            if !reading.crew.may_hold(reading.address.collection()) {
                reading.crew.copies.drop_copy(&reading.address, frame);
            }
            taken.inspect_err(|error| reading.doubt(error))
        };
        self.crew.fetches.share(frame, take).await;
        copies.reader(&self.address, frame, bytes)
    }

    /// Whether all of a frame is what the keeper of the object has sealed.
    fn is_proven(&self, frame: &FrameReader) -> Result<bool> {
        let tail = footer(&self.manifest, frame)?;
        let (head, tail) = frame.ends(0..HEADER_BYTES as u64, tail)?;
        let opener = opened(&self.stages, &self.address, &self.manifest, &head, &tail)?;
        let hashes = (0..opener.chunks()).map(|index| {
            let plain = opener.open_buffer(index, frame.load(opener.extent(index))?)?;
            Ok(opener.hash(index, &plain))
        });
        match opener.is_made_of(&hashes.collect::<Result<Vec<_>>>()?) {
            true => Ok(true),
            false => Err(Error::corrupt("a copy of the object is not what its keeper has sealed")),
        }
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

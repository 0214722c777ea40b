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
use crate::model::{ContainerId, Entry, Head, Level, Seal};
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
            let copy = self.crew.copies.reader(seal.frame, seal.bytes).filter(|_| !self.manifest.lacks_key());
            if let Some(pulled) = self.by_copy(&seal, copy, &range, permits).await {
                return pulled;
            }
            let whole = range == (0..self.manifest.size);
            loop {
                let opened = self.crew.peers(&self.address)?.opened(&self.address, keeper, &self.manifest, whole).await;
                let Opened { manifest, frame, second_hand } = opened.map_err(|error| self.named(error))?;
                self.manifest = manifest;
                self.frame = Frame { second_hand, ..Frame::elsewhere(Level::Peer, frame) };
                let mut copy = self.crew.copies.reader(seal.frame, seal.bytes);
                if copy.is_none() && stored {
                    copy = self.copied(&seal, keeper).await;
                }
                if let Some(pulled) = self.by_copy(&seal, copy, &range, permits).await {
                    return pulled;
                }
                match self.clone().start(range.clone(), permits).await {
                    Err(error) if error.kind() == Kind::Corrupt && second_hand => self.distrust(),
                    Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                        tracing::debug!(address = %self.address, %error, "a frame of another container is of no use");
                        break;
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
                self.crew.copies.drop_copy(seal.frame);
                None
            }
            outcome => Some(outcome.map_err(|error| self.named(error))),
        }
    }

    /// The copy of the frame on the disk here, made first.
    async fn copied(&self, seal: &Seal, keeper: ContainerId) -> Option<FrameReader> {
        let (copies, frame, bytes) = (Arc::clone(&self.crew.copies), seal.frame, seal.bytes);
        let _place = self.crew.fetches.place().await?;
        let (taking, source, reading) = (Arc::clone(&copies), InOneGo::of(&self.frame.bytes), self.clone());
        let take = move || {
            let mut taken = taking.take(frame, &*source)?;
            if taken && reading.frame.second_hand {
                taken = taking.reader(frame, bytes).is_some_and(|copy| reading.is_proven(&copy));
                if taken {
                    // So is what opened it.
                    let entry = Entry { keeper, head: Head::Object((*reading.manifest).clone()) };
                    reading.crew.keeper.keep_key(&reading.address, &entry)?;
                }
            }
            // A policy may have come meanwhile.
            if !taken || !reading.crew.may_hold(reading.address.collection()) {
                taking.drop_copy(frame);
            }
            Ok(taken)
        };
        self.crew.fetches.share(frame, take).await;
        copies.reader(frame, bytes)
    }

    /// Whether all of a frame is what the keeper of the object has sealed.
    fn is_proven(&self, frame: &FrameReader) -> bool {
        let looked = || {
            let tail = footer(&self.manifest, frame)?;
            let (head, tail) = frame.ends(0..HEADER_BYTES as u64, tail)?;
            let opener = opened(&self.stages, &self.address, &self.manifest, &head, &tail)?;
            let hashes = (0..opener.chunks()).map(|index| {
                let plain = opener.open_buffer(index, frame.load(opener.extent(index))?)?;
                Ok(opener.hash(index, &plain))
            });
            Ok::<_, Error>(opener.is_made_of(&hashes.collect::<Result<Vec<_>>>()?))
        };
        let proven = looked().unwrap_or(false);
        if !proven {
            tracing::warn!(address = %self.address, "a copy at another site is not what the keeper has sealed");
            self.distrust();
        }
        proven
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

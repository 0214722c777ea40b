//! Brings objects to the disk, from the cloud or from another container: many readers of one object share one
//! transfer.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cpu::blocking;
use crate::error::{Error, Result};
use crate::limits::{CHUNK_BYTES, CLOUD_FETCH_BYTES_MAX};
use crate::model::{Address, FrameId, Manifest};
use crate::tiers::{CloudTier, Keeper, Run, Source};

type Flight = Shared<BoxFuture<'static, bool>>;

/// Copies of what others keep that are made at the same time: each holds a thread.
const COPIES_MAX: usize = 16;

/// Transfers that are under way, and places for those that come from other containers.
#[derive(Clone)]
pub struct Fetches(Arc<Mutex<HashMap<FrameId, Flight>>>, Arc<Semaphore>);

impl Default for Fetches {
    fn default() -> Self {
        Fetches(Arc::default(), Arc::new(Semaphore::new(COPIES_MAX)))
    }
}

impl Fetches {
    /// Brings an object to the disk, if there is room for it without sending others away. Returns whether
    /// it is there now; otherwise it can still be read where it is.
    pub async fn bring(
        &self,
        keeper: &Arc<Keeper>,
        cloud: &CloudTier,
        room: u64,
        address: &Address,
        manifest: &Arc<Manifest>,
    ) -> bool {
        let Some(seal) = manifest.seal.as_ref().filter(|seal| seal.bytes <= room.min(CLOUD_FETCH_BYTES_MAX)) else {
            return false;
        };
        let (keeper, cloud) = (Arc::clone(keeper), cloud.clone());
        let (address, manifest) = (address.clone(), Arc::clone(manifest));
        self.share(seal.frame, move || copy(&keeper, &cloud, &address, &manifest)).await
    }

    /// A place for one that comes from another container.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.1).acquire_owned().await.ok()
    }

    /// Does the work of moving a frame, once for all who ask for it at the same time. It goes on also when those
    /// who wait for it have gone: what has been moved is of use to the next.
    pub async fn share(&self, frame: FrameId, work: impl FnOnce() -> Result<bool> + Send + 'static) -> bool {
        let flight = {
            let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.entry(frame).or_insert_with(|| self.start(frame, work)).clone()
        };
        flight.await
    }

    fn start(&self, frame: FrameId, work: impl FnOnce() -> Result<bool> + Send + 'static) -> Flight {
        let all = self.clone();
        let moved = tokio::spawn(async move {
            let moved = blocking(work).await;
            all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&frame);
            moved.unwrap_or_else(|error| {
                tracing::warn!(%frame, %error, "an object cannot be brought to the disk");
                false
            })
        });
        moved.map(|moved| moved.unwrap_or(false)).boxed().shared()
    }
}

/// A frame that is read once, part by part in their order, by a thread that may wait.
pub(super) struct InOneGo {
    frame: Arc<dyn Source>,
    run: Mutex<Box<dyn Run>>,
    runtime: Handle,
}

impl InOneGo {
    /// The frame so, where that saves journeys; as it is otherwise.
    pub(super) fn of(frame: &Arc<dyn Source>) -> Arc<dyn Source> {
        match Arc::clone(frame).run(0..frame.len()) {
            Some(run) => {
                let (frame, runtime) = (Arc::clone(frame), Handle::current());
                Arc::new(InOneGo { frame, run: Mutex::new(run), runtime })
            }
            None => Arc::clone(frame),
        }
    }
}

impl Source for InOneGo {
    fn len(&self) -> u64 {
        self.frame.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = range.end.saturating_sub(range.start) as usize;
        Ok(self.runtime.block_on(run.next(bytes))?.freeze())
    }
}

/// Copies a frame from the cloud to the disk. What it holds is checked when it is read.
fn copy(keeper: &Keeper, cloud: &CloudTier, address: &Address, manifest: &Manifest) -> Result<bool> {
    let seal =
        manifest.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
    // The frame's file of before is still to be unlinked: a new one of that name would go with it.
    if keeper.disk().store().is_discarded(seal.frame)? {
        return Ok(false);
    }
    let source = cloud.read(seal);
    let mut staging = keeper.disk().stage(seal.frame);
    let mut at = 0;
    while at < source.len() {
        let next = (at + CHUNK_BYTES as u64).min(source.len());
        staging.write(&source.read(at..next)?)?;
        at = next;
    }
    keeper.readmit(address, manifest.version, staging.finish()?)
}

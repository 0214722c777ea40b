//! What this container asks of the others of its site: what they know, and the bytes that they keep.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::body::PullBody;
use super::container::Crew;
use super::cpu::blocking;
use super::handle::Permits;
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{Address, ContainerId, Entry, Manifest, Version};
use crate::tiers::{Arriving, Asked, Peers};

/// The others of the site; nobody until the site is joined.
pub type Neighbours = Arc<OnceLock<Arc<dyn Peers>>>;

impl Crew {
    /// Asks the others what they know of an address, and takes it in. Whoever found nothing here looks again if
    /// this says so; the rest says who did not answer.
    pub(super) async fn ask_others(&self, address: &Address, version: Option<Version>) -> Result<Asked> {
        let Some(peers) = self.neighbours.get() else { return Ok(Asked::default()) };
        let asked = peers.ask(address, version).await;
        if version.is_none() {
            self.learn(peers, address, asked.found.clone()).await?;
        }
        Ok(asked)
    }

    /// Takes in what was said of an address.
    pub(super) async fn learn(&self, peers: &Arc<dyn Peers>, address: &Address, found: Option<Entry>) -> Result<()> {
        let Some(entry) = found else { return Ok(()) };
        let (keeper, is_far) = (Arc::clone(&self.keeper), peers.is_far(entry.keeper));
        let lesson = [(address.clone(), entry)];
        let learn = move || if is_far { keeper.learn_of_sites(&lesson) } else { keeper.learn(&lesson, &[]) };
        blocking(move || learn().map(drop)).await
    }

    /// The others, where one of them is said to keep something.
    pub(super) fn peers(&self, address: &Address) -> Result<&Arc<dyn Peers>> {
        self.neighbours.get().ok_or_else(|| {
            let why = "another container of the site keeps the object, and this one has not joined the site yet";
            Error::unavailable(why).with("address", address)
        })
    }

    /// The plain bytes of a range that is not empty, as the keeper sends them. The first piece is here when this
    /// returns.
    pub(super) async fn plain_from(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Manifest,
        range: Range<u64>,
        permits: Option<Permits>,
    ) -> Result<PullBody> {
        let mut arriving = self.peers(address)?.plain(address, keeper, manifest.version, range).await?;
        let first = arriving.next().await.unwrap_or_else(|| Err(broke_off(address)))?;
        let (send, rest) = mpsc::channel(1);
        tokio::spawn(forward(arriving, send, permits));
        Ok(PullBody::streamed([first], rest))
    }

    /// The plain bytes of a range of a chunk at most.
    pub(super) async fn plain_small(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Manifest,
        range: Range<u64>,
    ) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let expected = range.end - range.start;
        let mut arriving = self.peers(address)?.plain(address, keeper, manifest.version, range).await?;
        let mut whole = BytesMut::with_capacity(expected.min(CHUNK_BYTES as u64) as usize);
        while let Some(piece) = arriving.next().await {
            whole.extend_from_slice(&piece?);
        }
        if whole.len() as u64 == expected { Ok(whole.freeze()) } else { Err(broke_off(address)) }
    }
}

/// Hands pieces on as they come, until the reader has gone.
async fn forward(mut arriving: Arriving, send: mpsc::Sender<Result<Bytes>>, permits: Option<Permits>) {
    while let Some(piece) = arriving.next().await {
        if send.send(piece).await.is_err() {
            break;
        }
    }
    drop(permits);
}

fn broke_off(address: &Address) -> Error {
    Error::unavailable("the container that keeps the object did not send all of it").with("address", address)
}

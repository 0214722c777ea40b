//! The sealed bytes of an object as they rest here: what another container of the site reads, and opens itself.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::body::PullBody;
use super::container::Crew;
use super::cpu::blocking;
use super::pull::{absent, resolve};
use super::request::{Pull, Pulled};
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{Entry, Head, Level, Manifest};
use crate::tiers::{CloudTier, Keeper, Source};

/// Bytes of a piece: several of them fit into a processor's cache, so that the door finds them there.
const PIECE_BYTES: usize = CHUNK_BYTES / 4;

/// Pieces that are read ahead of the door.
const AHEAD: usize = 4;

/// Answers with a range of the frame of a version that this container has.
pub async fn sealed(crew: &Crew, pull: Pull, permits: OwnedSemaphorePermit) -> Result<Pulled> {
    let (keeper, cloud, asked) = (Arc::clone(&crew.keeper), crew.cloud.clone(), pull.clone());
    let (manifest, bytes) = blocking(move || find(&keeper, cloud.as_ref(), &asked)).await?;
    let level = manifest.level();
    let range = resolve(pull.range, bytes.len())?;
    // From the cloud each piece is a journey.
    let step = if level == Level::Cloud { CHUNK_BYTES } else { PIECE_BYTES };
    let first_end = range.end.min(range.start + step as u64);
    let first = {
        let (bytes, piece) = (Arc::clone(&bytes), range.start..first_end);
        blocking(move || bytes.read(piece)).await?
    };
    if first_end == range.end {
        return Ok(Pulled { manifest, level, range, body: PullBody::ready([first]) });
    }
    let (send, rest) = mpsc::channel(AHEAD);
    let todo = first_end..range.end;
    tokio::spawn(async move {
        for piece in pieces(todo, step) {
            let bytes = Arc::clone(&bytes);
            if send.send(blocking(move || bytes.read(piece)).await).await.is_err() {
                break;
            }
        }
        drop(permits);
    });
    Ok(Pulled { manifest, level, range, body: PullBody::streamed([first], rest) })
}

/// A range of the frame, no longer than a message: in one go, on a thread that may wait.
pub async fn piece(crew: &Crew, pull: Pull) -> Result<Bytes> {
    let (keeper, cloud) = (Arc::clone(&crew.keeper), crew.cloud.clone());
    blocking(move || {
        let (_, bytes) = find(&keeper, cloud.as_ref(), &pull)?;
        bytes.read(resolve(pull.range, bytes.len())?)
    })
    .await
}

fn pieces(range: Range<u64>, step: usize) -> impl Iterator<Item = Range<u64>> {
    (range.start..range.end).step_by(step).map(move |at| at..range.end.min(at + step as u64))
}

fn find(keeper: &Keeper, cloud: Option<&CloudTier>, pull: &Pull) -> Result<(Arc<Manifest>, Arc<dyn Source>)> {
    let Pull { address, version, .. } = pull;
    let copy = |version| keeper.copy_of(address, version);
    let manifest = match keeper.durable(address, *version)? {
        Some(manifest) => manifest,
        None if let Some((Entry { head: Head::Object(manifest), .. }, copy)) =
            version.map(copy).transpose()?.flatten() =>
        {
            return Ok((Arc::new(manifest), Arc::new(copy)));
        }
        None if keeper.find(address, *version)?.is_some() => {
            let why =
                "this version is not sealed here: it rests in memory alone, or elsewhere; ask for its plain bytes";
            return Err(Error::not_found(why).with("address", address));
        }
        None => return Err(absent(keeper, address, *version)),
    };
    let seal =
        manifest.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
    let bytes: Arc<dyn Source> = match (seal.rest.on_disk(), cloud) {
        (true, _) => Arc::new(keeper.disk().reader(address, manifest.version, seal)?),
        (false, Some(cloud)) => Arc::new(cloud.read(seal)),
        (false, None) => {
            let why = "the object is in the cloud alone, and this container has no cloud tier; set cloud.url again";
            return Err(Error::unavailable(why).with("address", address));
        }
    };
    Ok((manifest, bytes))
}

//! Data keys that were wrapped anew: first in the cloud's heads, then in the records here.
//!
//! Under the turn, because no upload must be under way with the old wrapping, and no chore may have
//! forgotten a head that is then written again. A crash in between costs nothing: the record still has the
//! old wrapping, so the walk comes by again.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::SyncActor;
use crate::actors::cpu::blocking;
use crate::actors::runtime::{Answer, Ask, Serves};
use crate::error::Result;
use crate::limits::SYNC_FLYING;
use crate::model::{Head, Manifest};
use crate::tiers::{CloudTier, Keeper, Rewrapped};

/// Take these in. Answers with how many were still as they had been.
pub struct TakeRewrapped(pub Vec<Rewrapped>);

impl Ask for TakeRewrapped {
    type Reply = usize;
}

impl Serves<TakeRewrapped> for SyncActor {
    fn serve(&mut self, TakeRewrapped(keys): TakeRewrapped) -> Answer<usize> {
        let me = self.clone();
        Answer::later(async move { me.take_rewrapped(keys).await })
    }
}

impl SyncActor {
    async fn take_rewrapped(&self, keys: Vec<Rewrapped>) -> Result<usize> {
        let _turn = self.turn.lock().await;
        let keys = Arc::new(keys);
        if let Some(cloud) = &self.cloud {
            let told = (0..keys.len()).map(|index| {
                let (keeper, cloud, keys) = (Arc::clone(&self.keeper), cloud.clone(), Arc::clone(&keys));
                blocking(move || keys.get(index).map_or(Ok(()), |key| describe(&keeper, &cloud, key)))
            });
            stream::iter(told).buffer_unordered(SYNC_FLYING).try_collect::<()>().await?;
        }
        let keeper = Arc::clone(&self.keeper);
        blocking(move || keeper.rewrap(&keys)).await
    }
}

/// The cloud has a head of the newest version alone.
fn describe(keeper: &Keeper, cloud: &CloudTier, Rewrapped { address, version, old, new }: &Rewrapped) -> Result<()> {
    let Some(Head::Object(manifest)) = keeper.disk().head(address)? else { return Ok(()) };
    let Some(seal) = manifest.seal.clone().filter(|seal| seal.rest.receipt().is_some()) else { return Ok(()) };
    if manifest.version != *version || seal.key.as_ref() != Some(old) {
        return Ok(());
    }
    let seal = Some(crate::model::Seal { key: Some(new.clone()), ..seal });
    cloud.describe(address, &Manifest { seal, ..manifest }).map(drop)
}

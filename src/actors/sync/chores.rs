//! One round of chores: the cloud forgets what was deleted, and what nobody can read any more.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::{SyncActor, Turn};
use crate::actors::cpu::blocking;
use crate::error::Result;
use crate::limits::{SYNC_FLYING, SYNC_ROUND_MAX};
use crate::model::Version;
use crate::store::Chore;
use crate::tiers::CloudTier;

impl SyncActor {
    /// Does the oldest chores. Answers with how many are done.
    pub(super) async fn chore_round(&self, cloud: &CloudTier, turn: &mut Turn) -> Result<usize> {
        let (keeper, waiting) = (Arc::clone(&self.keeper), turn.pauses.waiting(self.keeper.now_ms()));
        let page =
            blocking(move || keeper.disk().store().chores(SYNC_ROUND_MAX, &|version, _| !waiting.contains(&version)))
                .await?;
        let work = page.into_iter().map(|(version, chore)| {
            let cloud = cloud.clone();
            async move {
                let asked = chore.clone();
                (version, chore, blocking(move || forget(&cloud, version, &asked)).await)
            }
        });
        let tried: Vec<_> = stream::iter(work).buffer_unordered(SYNC_FLYING).collect().await;
        let mut done = Vec::new();
        for (version, chore, outcome) in tried {
            match outcome {
                Ok(()) => {
                    turn.pauses.went_well();
                    done.push((version, chore));
                }
                Err(error) => turn.pauses.failed(self.keeper.now_ms(), version, &error),
            }
        }
        let (keeper, count) = (Arc::clone(&self.keeper), done.len());
        blocking(move || keeper.end_chores(&done)).await?;
        Ok(count)
    }
}

/// The head first: a frame without a head is only room lost, a head without its frame is a broken promise.
fn forget(cloud: &CloudTier, version: Version, Chore { address, frame }: &Chore) -> Result<()> {
    cloud.forget(address, version)?;
    frame.map_or(Ok(()), |frame| cloud.remove(frame))
}

//! One round of uploads: marked as begun, sent several at a time, receipts taken in by one commit.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::{SyncActor, Turn, Which};
use crate::actors::cpu::blocking;
use crate::error::{Error, Result};
use crate::limits::{SYNC_FLYING, SYNC_ROUND_MAX};
use crate::model::{Receipt, Usage, Version};
use crate::store::Owed;
use crate::tiers::{CloudTier, Keeper};

impl SyncActor {
    /// Sends the oldest of what is owed, up to a version. Answers with what the cloud got; an error when it
    /// got nothing although something is owed.
    pub(super) async fn upload_round(
        &self,
        cloud: &CloudTier,
        turn: &mut Turn,
        which: &Which,
        until: Option<Version>,
    ) -> Result<Usage> {
        let (keeper, policies, which) = (Arc::clone(&self.keeper), Arc::clone(&self.policies), which.clone());
        let waiting = turn.pauses.waiting(self.keeper.now_ms());
        let begun = blocking(move || {
            // What was owed before a policy said otherwise stays owed, and stays here.
            let may_go = |collection: &str| policies.on(collection).is_none_or(|verdict| verdict.may_go_to_cloud());
            let wanted = |version: Version, owed: &Owed| {
                until.is_none_or(|until| version <= until)
                    && which.fits(&owed.address)
                    && !waiting.contains(&version)
                    && may_go(owed.address.collection())
            };
            let page = keeper.disk().store().owed_page(None, SYNC_ROUND_MAX, &wanted)?;
            keeper.begin_uploads(page)
        });
        let sent = begun.await?.into_iter().map(|(version, owed)| {
            let (keeper, cloud) = (Arc::clone(&self.keeper), cloud.clone());
            async move {
                let bytes = owed.bytes;
                (version, bytes, blocking(move || send(&keeper, &cloud, version, &owed)).await)
            }
        });
        let sent: Vec<_> = stream::iter(sent).buffer_unordered(SYNC_FLYING).collect().await;
        let (mut paid, mut receipts, mut failure) = (Usage::default(), Vec::new(), None);
        for (version, bytes, outcome) in sent {
            match outcome {
                Ok(Some(receipt)) => {
                    turn.pauses.went_well();
                    receipts.push((version, receipt));
                    paid = paid.plus(Usage::of(bytes));
                }
                // It has ended and waits to be swept, or was replaced a moment ago.
                Ok(None) => turn.pauses.skip(self.keeper.now_ms(), version),
                Err(error) => {
                    turn.pauses.failed(self.keeper.now_ms(), version, &error);
                    failure = Some(error);
                }
            }
        }
        let keeper = Arc::clone(&self.keeper);
        blocking(move || keeper.pay(&receipts)).await?;
        match failure {
            Some(error) if paid.objects == 0 => Err(error),
            _ => Ok(paid),
        }
    }
}

/// Sends one version; nothing when it is not there to be sent any more.
fn send(keeper: &Keeper, cloud: &CloudTier, version: Version, owed: &Owed) -> Result<Option<Receipt>> {
    let address = &owed.address;
    let Some(manifest) = keeper.durable(address, Some(version))? else { return Ok(None) };
    let Some(seal) = &manifest.seal else {
        return Err(Error::corrupt("a record names no frame").with("address", address));
    };
    let frame = keeper.disk().reader(address, version, seal)?;
    cloud.upload(address, &manifest, &frame).map(Some)
}

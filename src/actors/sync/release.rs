//! What leaves the disk: objects that the cloud has, each receipt checked again just before.
//!
//! A hand goes round over all objects, as in the CLOCK algorithm, and spares what was read lately; so no
//! memory is spent on each object on the disk. When all is spared the hand goes round once more and spares
//! nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};

use super::{SyncActor, Turn, Which};
use crate::actors::cpu::blocking;
use crate::error::{Error, Result};
use crate::limits::{RECENT_READS_MAX, SYNC_FLYING, SYNC_ROUND_MAX, SYNC_SCAN_MAX};
use crate::model::{Address, FrameId, Level, Manifest, Rest, Usage};
use crate::store::Stretch;
use crate::tiers::CloudTier;

/// Frames that were read from the disk lately.
#[derive(Default)]
pub struct Recent(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashSet<FrameId>,
    old: HashSet<FrameId>,
}

impl Recent {
    /// Takes note of a read.
    pub fn note(&self, frame: FrameId) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if both.young.len() >= RECENT_READS_MAX {
            both.old = std::mem::take(&mut both.young);
        }
        both.young.insert(frame);
    }

    fn has(&self, frame: FrameId) -> bool {
        let both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        both.young.contains(&frame) || both.old.contains(&frame)
    }
}

impl SyncActor {
    /// Frees about so many bytes of the disk. Answers with what left: nothing when nothing may.
    pub(super) async fn release_round(
        &self,
        cloud: &CloudTier,
        turn: &mut Turn,
        which: &Which,
        bytes: u64,
    ) -> Result<Usage> {
        if let Which::Object(address) = which {
            let (keeper, address) = (Arc::clone(&self.keeper), address.clone());
            let found = blocking(move || Ok(keeper.durable(&address, None)?.map(|found| (address, found)))).await?;
            let found =
                found.filter(|(_, found)| found.seal.as_ref().is_some_and(|seal| matches!(seal.rest, Rest::Both(_))));
            return self
                .let_go(cloud, turn, found.map(|(address, found)| (address, (*found).clone())).into_iter().collect())
                .await;
        }
        for spares in [true, false] {
            let mut candidates = Vec::new();
            let mut found = 0;
            // Twice past the end is once round from anywhere.
            let mut ends = 0;
            while ends < 2 && found < bytes && candidates.len() < SYNC_ROUND_MAX {
                let page = self.page(turn.hand.clone(), which.clone(), spares).await?;
                ends += usize::from(page.next.is_none());
                turn.hand = page.next;
                for (address, manifest) in page.found {
                    if found < bytes && candidates.len() < SYNC_ROUND_MAX {
                        found += manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
                        candidates.push((address, manifest));
                    }
                }
            }
            candidates.sort_by(|(one, _), (two, _)| one.cmp(two));
            candidates.dedup_by(|(one, _), (two, _)| one == two);
            let left = self.let_go(cloud, turn, candidates).await?;
            if left.objects > 0 {
                return Ok(left);
            }
        }
        Ok(Usage::default())
    }

    async fn page(&self, hand: Option<Address>, which: Which, spares: bool) -> Result<Stretch> {
        let (keeper, recent) = (Arc::clone(&self.keeper), Arc::clone(&self.recent));
        let policies = Arc::clone(&self.policies);
        blocking(move || {
            let may_leave =
                |collection: &str| policies.on(collection).is_none_or(|verdict| verdict.may_evict().is_ok());
            let wanted = |address: &Address, manifest: &Manifest| {
                let spared = spares && manifest.seal.as_ref().is_some_and(|seal| recent.has(seal.frame));
                which.fits(address) && !spared && may_leave(address.collection())
            };
            keeper.disk().store().both_levels(hand.as_ref(), SYNC_ROUND_MAX, SYNC_SCAN_MAX, &wanted)
        })
        .await
    }

    /// Checks the receipts and lets go of what the cloud really has; what it has lost is owed again.
    async fn let_go(&self, cloud: &CloudTier, turn: &mut Turn, candidates: Vec<(Address, Manifest)>) -> Result<Usage> {
        let checks = candidates.into_iter().map(|(address, manifest)| {
            let cloud = cloud.clone();
            blocking(move || {
                let kept = kept(&cloud, &manifest);
                Ok((address, manifest, kept))
            })
        });
        let checked: Vec<_> = stream::iter(checks).buffer_unordered(SYNC_FLYING).collect().await;
        let (mut sure, mut lost) = (Vec::new(), Vec::new());
        for outcome in checked {
            let (address, manifest, kept) = outcome?;
            match kept {
                Ok(true) => sure.push((address, manifest.version)),
                Ok(false) => {
                    tracing::error!(%address, "the cloud has lost an object, or holds something else; it is sent again");
                    lost.push((address, manifest.version));
                }
                Err(error) => {
                    turn.pauses.failed(self.keeper.now_ms(), manifest.version, &error);
                    return Err(error);
                }
            }
        }
        let (keeper, teller) = (Arc::clone(&self.keeper), self.teller.clone());
        blocking(move || {
            for (address, version) in &lost {
                keeper.owe_again(address, *version)?;
            }
            let left = keeper.release(&sure)?;
            keeper.disk().count_evictions(left.len() as u64);
            let released = left.iter().fold(Usage::default(), |sum, (_, bytes)| sum.plus(Usage::of(*bytes)));
            teller.left(Level::Disk, left);
            Ok(released)
        })
        .await
    }
}

/// Whether the cloud still has what it gave a receipt for.
fn kept(cloud: &CloudTier, manifest: &Manifest) -> Result<bool> {
    let seal = manifest.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame"))?;
    match seal.rest.receipt() {
        Some(receipt) => cloud.check(seal.frame, receipt),
        None => Ok(false),
    }
}

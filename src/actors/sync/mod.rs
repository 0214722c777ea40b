//! The sync actor: pays what is owed to the cloud, and lets the disk go of what the cloud has.
//!
//! Owns: the turn of who works towards the cloud (one round at a time) and the pauses after failures. Asked
//! by: the handle (`Flush`, `EvictDisk`), container (`FreeDisk`), keys (`TakeRewrapped`), the clockwork (`Tick`). Asks:
//! nobody; the journal is the keeper's. Bound: `ACTOR_QUEUE_MAX`; callers wait. A new life goes on with the
//! same turn, so two lives never send the same thing at once.

mod chores;
mod pauses;
mod release;
mod rewrap;
mod upload;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Mutex;

use pauses::Pauses;
pub use release::Recent;
pub use rewrap::TakeRewrapped;

use super::cpu::blocking;
use super::release::Which;
use super::runtime::{Answer, Ask, Serves};
use super::telling::Teller;
use crate::control::Policies;
use crate::error::{Error, Result};
use crate::limits::{DISK_HIGH_PERCENT, DISK_LOW_PERCENT, OWED_HIGH_PERCENT, OWED_LOW_PERCENT};
use crate::model::{Address, Usage, Version};
use crate::store::Owed;
use crate::tiers::{CloudTier, Keeper};

/// The actor.
#[derive(Clone)]
pub struct SyncActor {
    keeper: Arc<Keeper>,
    teller: Teller,
    policies: Arc<Policies>,
    cloud: Option<CloudTier>,
    /// Sealed bytes that the disk should hold at most.
    budget: u64,
    recent: Arc<Recent>,
    turn: Arc<Mutex<Turn>>,
}

/// What a round needs to know of those before it.
#[derive(Default)]
struct Turn {
    pauses: Pauses,
    /// Where the search for what may leave the disk goes on.
    hand: Option<Address>,
}

/// Pay what is owed now for these objects. Answers with the objects that the cloud got, and their sealed bytes.
pub struct Flush(pub Which);

impl Ask for Flush {
    type Reply = Usage;
}

/// Make room on the disk for so many bytes, sending to the cloud what must be there first.
pub struct FreeDisk {
    /// How many.
    pub bytes: u64,
}

impl Ask for FreeDisk {
    type Reply = ();
}

/// Let the disk go of objects that the cloud has, paying for them first where it has not.
pub struct EvictDisk {
    /// Which may go.
    pub which: Which,
    /// Stop once so many bytes are free.
    pub bytes: Option<u64>,
}

impl Ask for EvictDisk {
    type Reply = Usage;
}

/// Do what is due by itself: chores, and what the watermarks ask for.
pub struct Tick;

impl Ask for Tick {
    type Reply = ();
}

impl SyncActor {
    /// An actor between these tiers.
    pub fn new(
        teller: Teller,
        policies: Arc<Policies>,
        cloud: Option<CloudTier>,
        budget: u64,
        recent: Arc<Recent>,
    ) -> Self {
        let keeper = Arc::clone(&teller.keeper);
        SyncActor { keeper, teller, policies, cloud, budget, recent, turn: Arc::default() }
    }

    fn cloud(&self) -> Result<&CloudTier> {
        self.cloud.as_ref().ok_or_else(|| {
            Error::unavailable("this container has no cloud tier; name one in cloud.url, or free the disk by hand")
        })
    }

    /// Sealed bytes beyond a share of the budget.
    fn above(&self, bytes: u64, percent: u64) -> u64 {
        bytes.saturating_sub(self.budget / 100 * percent)
    }

    async fn flush(&self, which: &Which) -> Result<Usage> {
        let cloud = self.cloud()?;
        // What is pushed from here on is the next flush's.
        let last = Some(self.keeper.last_version());
        let mut paid = Usage::default();
        loop {
            let mut turn = self.turn.lock().await;
            let round = self.upload_round(cloud, &mut turn, which, last).await?;
            if round.objects == 0 {
                return self.left_alone(&turn, which, last).await.map(|()| paid);
            }
            paid = paid.plus(round);
        }
    }

    /// Fails with the reason where something stays owed because it failed lately: rounds pass it over for a
    /// while, and whoever asked for it to be sent must hear of it.
    async fn left_alone(&self, turn: &Turn, which: &Which, until: Option<Version>) -> Result<()> {
        let mut reasons = turn.pauses.reasons(self.keeper.now_ms());
        if reasons.is_empty() {
            return Ok(());
        }
        let (keeper, which, failed): (_, _, HashSet<Version>) =
            (Arc::clone(&self.keeper), which.clone(), reasons.keys().copied().collect());
        let still_owed = blocking(move || {
            let wanted = |version: Version, owed: &Owed| {
                until.is_none_or(|until| version <= until) && which.fits(&owed.address) && failed.contains(&version)
            };
            keeper.disk().store().owed_page(None, 1, &wanted)
        });
        let Some((version, owed)) = still_owed.await?.pop() else { return Ok(()) };
        let Some(why) = reasons.remove(&version) else { return Ok(()) };
        let named = why.context("address").is_some();
        Err(if named { why } else { why.with("address", owed.address) })
    }

    async fn free(&self, bytes: u64) -> Result<()> {
        if bytes > self.budget {
            let why = "the object is larger than all that the disk should hold; raise data.budget_bytes";
            return Err(Error::too_large(why).with("budget_bytes", self.budget));
        }
        let short = || self.keeper.disk().sealed_bytes().saturating_add(bytes).saturating_sub(self.budget);
        let full = |cause: Error| {
            let why = "the disk's budget is used up and nothing can leave; delete objects, raise data.budget_bytes or mend the cloud tier";
            Error::unavailable(why).with("budget_bytes", self.budget).because(cause)
        };
        // Others push meanwhile, so what was freed may be used up again.
        while short() > 0 {
            let cloud = self.cloud().map_err(full)?;
            if self.turn.lock().await.pauses.all_wait(self.keeper.now_ms()) {
                return Err(full(Error::unavailable("the cloud tier does not answer; it is tried again by itself")));
            }
            if self.make_room(cloud, &Which::Any, short()).await.map_err(full)?.objects == 0 && short() > 0 {
                return Err(full(Error::unavailable("all that is on the disk was asked to stay there")));
            }
        }
        Ok(())
    }

    /// Frees about so many bytes: first what the cloud has already, then what must be sent there before.
    /// Answers with what left.
    async fn make_room(&self, cloud: &CloudTier, which: &Which, bytes: u64) -> Result<Usage> {
        // What is pushed from here on may stay.
        let last = Some(self.keeper.last_version());
        let mut left = Usage::default();
        while left.bytes < bytes {
            let mut turn = self.turn.lock().await;
            let round = self.release_round(cloud, &mut turn, which, bytes - left.bytes).await?;
            left = left.plus(round);
            if round.objects == 0 && self.upload_round(cloud, &mut turn, which, last).await?.objects == 0 {
                break;
            }
        }
        Ok(left)
    }

    async fn evict(&self, EvictDisk { which, bytes }: EvictDisk) -> Result<Usage> {
        self.make_room(self.cloud()?, &which, bytes.unwrap_or(u64::MAX)).await
    }

    /// What is due by itself. Each step takes the turn anew, so that whoever waits for room is not held up.
    async fn tick(&self) -> Result<()> {
        let Ok(cloud) = self.cloud() else { return Ok(()) };
        if self.turn.lock().await.pauses.all_wait(self.keeper.now_ms()) {
            return Ok(());
        }
        while self.chore_round(cloud, &mut *self.turn.lock().await).await? > 0 {}
        if self.above(self.keeper.holding().owed.bytes, OWED_HIGH_PERCENT) > 0 {
            while self.above(self.keeper.holding().owed.bytes, OWED_LOW_PERCENT) > 0
                && self.upload_round(cloud, &mut *self.turn.lock().await, &Which::Any, None).await?.objects > 0
            {
            }
        }
        if self.above(self.keeper.disk().sealed_bytes(), DISK_HIGH_PERCENT) > 0 {
            loop {
                let much = self.above(self.keeper.disk().sealed_bytes(), DISK_LOW_PERCENT);
                let mut turn = self.turn.lock().await;
                if much == 0 || self.release_round(cloud, &mut turn, &Which::Any, much).await?.objects == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Serves<Flush> for SyncActor {
    fn serve(&mut self, Flush(which): Flush) -> Answer<Usage> {
        let me = self.clone();
        Answer::later(async move { me.flush(&which).await })
    }
}

impl Serves<FreeDisk> for SyncActor {
    fn serve(&mut self, FreeDisk { bytes }: FreeDisk) -> Answer<()> {
        let me = self.clone();
        Answer::later(async move { me.free(bytes).await })
    }
}

impl Serves<EvictDisk> for SyncActor {
    fn serve(&mut self, evict: EvictDisk) -> Answer<Usage> {
        let me = self.clone();
        Answer::later(async move { me.evict(evict).await })
    }
}

impl Serves<Tick> for SyncActor {
    fn serve(&mut self, Tick: Tick) -> Answer<()> {
        let me = self.clone();
        Answer::later(async move { me.tick().await })
    }
}

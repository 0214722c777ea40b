//! The sync actor: pays what is owed to the cloud, and lets the disk go of what the cloud has.
//!
//! Owns: the turn of who works towards the cloud (one round at a time) and the pauses after failures. Asked
//! by: the handle (`Flush`, `EvictDisk`), container and memory (`FreeDisk`), the clockwork (`Tick`). Asks:
//! nobody; the journal is the keeper's. Bound: `ACTOR_QUEUE_MAX`; callers wait. A new life goes on with the
//! same turn, so two lives never send the same thing at once.

mod chores;
mod pauses;
mod release;
mod upload;

use std::sync::Arc;

use tokio::sync::Mutex;

use pauses::Pauses;
pub use release::Recent;

use super::release::Which;
use super::runtime::{Answer, Ask, Serves};
use super::telling::Teller;
use crate::error::{Error, Result};
use crate::limits::{DISK_HIGH_PERCENT, DISK_LOW_PERCENT, OWED_HIGH_PERCENT, OWED_LOW_PERCENT};
use crate::model::{Address, Usage};
use crate::tiers::{CloudTier, Keeper};

/// The actor.
#[derive(Clone)]
pub struct SyncActor {
    keeper: Arc<Keeper>,
    teller: Teller,
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
    pub fn new(teller: Teller, cloud: Option<CloudTier>, budget: u64, recent: Arc<Recent>) -> Self {
        SyncActor { keeper: Arc::clone(&teller.keeper), teller, cloud, budget, recent, turn: Arc::default() }
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
                return Ok(paid);
            }
            paid = paid.plus(round);
        }
    }

    async fn free(&self, bytes: u64) -> Result<()> {
        loop {
            let short = (self.keeper.disk().sealed_bytes().saturating_add(bytes)).saturating_sub(self.budget);
            if short == 0 {
                return Ok(());
            }
            let full = |cause: Error| {
                let why = "the disk's budget is used up and nothing can leave; delete objects, raise data.budget_bytes or mend the cloud tier";
                Error::unavailable(why).with("budget_bytes", self.budget).because(cause)
            };
            let cloud = self.cloud().map_err(full)?;
            let mut turn = self.turn.lock().await;
            if self.release_round(cloud, &mut turn, &Which::Any, short).await.map_err(full)?.bytes > 0 {
                continue;
            }
            if self.upload_round(cloud, &mut turn, &Which::Any, None).await.map_err(full)?.objects == 0 {
                return Err(full(Error::unavailable("all that is on the disk was asked to stay there")));
            }
        }
    }

    async fn evict(&self, EvictDisk { which, bytes }: EvictDisk) -> Result<Usage> {
        self.flush(&which).await?;
        let cloud = self.cloud()?;
        let most = bytes.unwrap_or(u64::MAX);
        let mut left = Usage::default();
        while left.bytes < most {
            let mut turn = self.turn.lock().await;
            let round = self.release_round(cloud, &mut turn, &which, most - left.bytes).await?;
            if round.objects == 0 {
                break;
            }
            left = left.plus(round);
        }
        Ok(left)
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

//! The memory actor: finds room in level 1, demoting to disk what memory alone holds.
//!
//! Owns: the turn of who makes room (one at a time, first come first served). Asked by: container.
//! Asks: eviction, disk. Bound: `ACTOR_QUEUE_MAX`; callers wait. When room cannot be made because the
//! disk refuses what is dirty, the answer is that refusal; nothing dirty is ever dropped.

use std::sync::Arc;

use super::disk::{DiskActor, Persist};
use super::eviction::{EvictionActor, MakeRoom, Reinstate};
use super::nfr::{HandOutStages, NfrActor, seal_chunks};
use super::runtime::{Answer, Ask, Link, Serves};
use super::telling::Teller;
use crate::error::{Error, Result};
use crate::model::{Address, Level};
use crate::tiers::{Change, Job, Keeper, MemoryTier, MemoryUsage, Outcome, Reservation};

/// Where one finds no room the next ones will not either, and each would come all this way: room is made for so many
/// like it,
const SPARE_MANY: u64 = 64;
/// of at most so many bytes,
const SPARE_BYTES_MAX: u64 = 1 << 20;
/// and not beyond this part of level 1.
const SPARE_PART: u64 = 256;
/// None is made beyond what is needed while memory alone holds more than this part of it: that would be chosen, and
/// stay, again and again.
const DIRTY_PART: u64 = 8;

/// The actor.
#[derive(Clone)]
pub struct MemoryActor {
    pub(super) keeper: Arc<Keeper>,
    pub(super) eviction: Link<EvictionActor>,
    disk: Link<DiskActor>,
    nfr: Link<NfrActor>,
    pub(super) teller: Teller,
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

/// Set bytes of level 1 aside, making room where needed; `None` when so many can never fit.
pub struct Admit {
    /// How many.
    pub bytes: u64,
}

impl Ask for Admit {
    type Reply = Option<Reservation>;
}

/// Write everything to disk that memory alone holds.
pub struct WriteOut;

impl Ask for WriteOut {
    type Reply = usize;
}

impl MemoryActor {
    /// An actor over these tiers.
    pub fn new(
        keeper: Arc<Keeper>,
        eviction: Link<EvictionActor>,
        disk: Link<DiskActor>,
        nfr: Link<NfrActor>,
        teller: Teller,
    ) -> Self {
        MemoryActor { keeper, eviction, disk, nfr, teller, turn: Arc::default() }
    }

    async fn admit(self, bytes: u64) -> Result<Option<Reservation>> {
        let memory = self.keeper.memory();
        let _turn = self.turn.lock().await;
        loop {
            if let Some(room) = memory.try_reserve(bytes) {
                return Ok(Some(room));
            }
            let Some(short) = memory.shortage(bytes) else { return Ok(None) };
            let victims =
                self.eviction.ask(MakeRoom { bytes: short.max(spare(&memory.usage(), bytes)).max(1) }).await?;
            if victims.is_empty() {
                // All of it is on its way in: whoever holds it will let go.
                return Err(Error::busy("level 1 is full of objects that are still arriving; try again"));
            }
            self.let_go(victims, |memory| memory.shortage(bytes) > Some(0)).await?;
        }
    }

    /// Lets victims go: what is elsewhere too at once; what memory alone holds is written out first where room is still
    /// wanted, and stays otherwise.
    pub(super) async fn let_go(&self, victims: Vec<Address>, wanted: impl Fn(&MemoryTier) -> bool) -> Result<()> {
        let memory = self.keeper.memory();
        let (mut left, mut dirty) = (Vec::new(), Vec::new());
        for address in victims {
            match memory.evict_clean(&address) {
                Some(bytes) => left.push((address, bytes)),
                None => dirty.push(address),
            }
        }
        self.teller.left(Level::Ram, left);
        let (mut stay, mut outcome) = (Vec::new(), Ok(()));
        for address in dirty {
            if outcome.is_ok() && wanted(memory) {
                outcome = self.demote(&address).await;
                stay.extend(outcome.is_err().then_some(address));
            } else {
                stay.push(address);
            }
        }
        if !stay.is_empty() {
            self.eviction.ask(Reinstate { addresses: stay }).await?;
        }
        outcome
    }

    /// Lets an entry go that is elsewhere too. Returns whether it left.
    pub(super) fn evict_clean(&self, address: &Address) -> bool {
        let left = self.keeper.memory().evict_clean(address);
        left.into_iter().for_each(|bytes| self.teller.left(Level::Ram, [(address.clone(), bytes)]));
        left.is_some()
    }

    /// Writes an entry to disk and lets it go. Whatever replaces it meanwhile is left alone.
    pub(super) async fn demote(&self, address: &Address) -> Result<()> {
        let Some(resident) = self.keeper.memory().peek(address).filter(|resident| resident.dirty) else {
            return Ok(());
        };
        let stages = self.nfr.ask(HandOutStages).await?;
        let mut manifest = (*resident.manifest).clone();
        let sealed = seal_chunks(Arc::clone(&stages), self.keeper.disk(), manifest.nfr, &resident.chunks).await?;
        let mut seal = sealed.seal.clone();
        seal.key = (sealed.binding())(address, manifest.version, manifest.size, &seal)?;
        manifest.seal = Some(seal);
        let change = Change::Adopt { manifest: Box::new(manifest), frame: sealed.frame };
        let outcome =
            self.disk.ask(Persist(Job { address: address.clone(), change, show: None, decision: None })).await?;
        // Void when something newer was there: then this version has no reader left either.
        self.keeper.memory().settle(address, resident.manifest.version);
        if matches!(outcome, Outcome::Stored { .. }) {
            self.teller.left(Level::Ram, [(address.clone(), resident.cost())]);
        }
        Ok(())
    }
}

/// Bytes that leave at least where somebody finds no room for `bytes`.
fn spare(usage: &MemoryUsage, bytes: u64) -> u64 {
    if usage.dirty_bytes > usage.budget / DIRTY_PART {
        return 0;
    }
    bytes.saturating_mul(SPARE_MANY).min(SPARE_BYTES_MAX).min(usage.budget / SPARE_PART)
}

impl Serves<Admit> for MemoryActor {
    fn serve(&mut self, Admit { bytes }: Admit) -> Answer<Option<Reservation>> {
        Answer::later(self.clone().admit(bytes))
    }
}

impl Serves<WriteOut> for MemoryActor {
    fn serve(&mut self, WriteOut: WriteOut) -> Answer<usize> {
        let me = self.clone();
        Answer::later(async move {
            let dirty = me.keeper.memory().dirty();
            let count = dirty.len();
            for address in dirty {
                me.demote(&address).await?;
            }
            Ok(count)
        })
    }
}

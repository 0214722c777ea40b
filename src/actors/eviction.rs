//! The eviction actor of level 1: decides which entries leave.
//!
//! Owns: the policy and its books. Asked by: memory (`MakeRoom`, `Reinstate`), container (`Consider`).
//! Bound: `ACTOR_QUEUE_MAX`; callers wait. A new life starts with books made from what memory holds.

use std::sync::Arc;

use super::runtime::{Answer, Ask, Serves};
use crate::model::{Address, EvictionKind};
use crate::tiers::eviction::{Policy, policy_seeded};
use crate::tiers::{MemoryTier, Note};

/// The actor.
pub struct EvictionActor {
    policy: Box<dyn Policy<Address>>,
    memory: Arc<MemoryTier>,
}

/// Choose entries whose leaving frees at least this many bytes.
pub struct MakeRoom {
    /// How many.
    pub bytes: u64,
}

impl Ask for MakeRoom {
    type Reply = Vec<Address>;
}

/// These were chosen but could not leave.
pub struct Reinstate {
    /// Which.
    pub addresses: Vec<Address>,
}

impl Ask for Reinstate {
    type Reply = ();
}

/// Say whether an object that was read from disk is worth a place in memory.
pub struct Consider {
    /// Which object.
    pub address: Address,
    /// What it would cost.
    pub cost: u64,
}

impl Ask for Consider {
    type Reply = bool;
}

/// Read what memory noted: asked now and then so that notes do not pile up.
pub struct Learn;

impl Ask for Learn {
    type Reply = ();
}

impl EvictionActor {
    /// A policy over the entries that memory holds.
    ///
    /// The seed is drawn at each start, so that strangers cannot choose keys that collide in the sketch.
    pub fn new(kind: EvictionKind, memory: Arc<MemoryTier>, seed: u64) -> Self {
        let mut policy = policy_seeded(kind, memory.usage().budget, seed);
        // Notes of a former life are gone with its books; what is here now counts.
        memory.drain_notes(|_| {}, |_| {});
        memory.each(|address, cost| policy.insert(address.clone(), cost));
        EvictionActor { policy, memory }
    }

    fn learn(&mut self) {
        let policy = std::cell::RefCell::new(&mut self.policy);
        let note = |note| match note {
            Note::Inserted(address, cost) => policy.borrow_mut().insert(address, cost),
            Note::Removed(address) => policy.borrow_mut().remove(&address),
        };
        self.memory.drain_notes(note, |address| policy.borrow_mut().touch(&address));
    }
}

impl Serves<MakeRoom> for EvictionActor {
    fn serve(&mut self, MakeRoom { bytes }: MakeRoom) -> Answer<Vec<Address>> {
        self.learn();
        Answer::Ready(Ok(self.policy.victims(bytes, &|_| false)))
    }
}

impl Serves<Reinstate> for EvictionActor {
    fn serve(&mut self, Reinstate { addresses }: Reinstate) -> Answer<()> {
        self.learn();
        for address in addresses {
            if let Some(resident) = self.memory.peek(&address) {
                self.policy.insert(address, resident.cost());
            }
        }
        Answer::Ready(Ok(()))
    }
}

impl Serves<Consider> for EvictionActor {
    fn serve(&mut self, Consider { address, cost }: Consider) -> Answer<bool> {
        self.learn();
        self.policy.miss(&address);
        let usage = self.memory.usage();
        Answer::Ready(Ok(self.policy.admits(&address, cost, usage.budget.saturating_sub(usage.bytes))))
    }
}

impl Serves<Learn> for EvictionActor {
    fn serve(&mut self, Learn: Learn) -> Answer<()> {
        self.learn();
        Answer::Ready(Ok(()))
    }
}

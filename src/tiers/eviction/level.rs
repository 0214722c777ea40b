//! What the eviction actor asks of the level whose books it keeps: any level that can answer can have one.

use super::Pins;
use crate::model::Address;
use crate::tiers::{MemoryTier, Note};

/// A level that entries leave when it is full.
pub trait Evictable: Send + Sync {
    /// Hands over everything noted since the last time: changes in their order, and hits as far as they
    /// were kept.
    fn drain_notes(&self, note: &mut dyn FnMut(Note), touch: &mut dyn FnMut(Address));

    /// Visits every entry with its cost, in no order.
    fn each(&self, visit: &mut dyn FnMut(&Address, u64));

    /// What an entry costs; `None` when it is not here.
    fn cost(&self, address: &Address) -> Option<u64>;

    /// Bytes that may come without anything leaving.
    fn free(&self) -> u64;

    /// The most it may hold.
    fn budget(&self) -> u64;

    /// Takes note of what is pinned, for those who ask how full it is and what can still fit.
    fn note_pins(&self, pins: Pins);
}

impl Evictable for MemoryTier {
    fn drain_notes(&self, note: &mut dyn FnMut(Note), touch: &mut dyn FnMut(Address)) {
        MemoryTier::drain_notes(self, note, touch);
    }

    fn each(&self, visit: &mut dyn FnMut(&Address, u64)) {
        MemoryTier::each(self, visit);
    }

    fn cost(&self, address: &Address) -> Option<u64> {
        self.peek(address).map(|resident| resident.cost())
    }

    fn free(&self) -> u64 {
        MemoryTier::free(self)
    }

    fn budget(&self) -> u64 {
        MemoryTier::budget(self)
    }

    fn note_pins(&self, pins: Pins) {
        MemoryTier::note_pins(self, pins);
    }
}

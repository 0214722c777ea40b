//! What left a moment ago, so that its return can be noticed: the evidence that a little more room would
//! have been a hit. `climber.rs` asks it for the window, `sections.rs` for the share of a collection.
//!
//! A table found by hash, where a newer departure takes the slot of an older one: it is evidence, not books.

/// The reach is a small share of the entries, so the table needs a slot only for every fourth.
const ENTRIES_A_SLOT: usize = 4;

const SLOTS_MIN: usize = 64;

/// Something that left.
#[derive(Clone, Copy, Default)]
struct Gone {
    hash: u64,
    /// The sum of the costs that had left with it; 0 in an empty slot.
    at: u64,
}

/// Recent departures, as far back as the reach.
pub(super) struct Ghost {
    slots: Vec<Gone>,
    gone_bytes: u64,
    reach_bytes: u64,
}

impl Ghost {
    /// A memory of what left since this many bytes left.
    pub fn new(reach_bytes: u64) -> Self {
        Ghost { slots: vec![Gone::default(); SLOTS_MIN], gone_bytes: 0, reach_bytes: reach_bytes.max(1) }
    }

    pub fn reach_bytes(&self) -> u64 {
        self.reach_bytes
    }

    pub fn set_reach(&mut self, bytes: u64) {
        self.reach_bytes = bytes.max(1);
    }

    /// Makes room for this many entries; the size stays a power of two, so a copy keeps each in its slot.
    pub fn grow_for(&mut self, entries: usize) {
        while self.slots.len() * ENTRIES_A_SLOT < entries {
            self.slots.extend_from_within(..);
        }
    }

    /// Notes a departure.
    pub fn leave(&mut self, hash: u64, cost: u64) {
        self.gone_bytes = self.gone_bytes.saturating_add(cost.max(1));
        let (at, slot) = (self.gone_bytes, self.slot(hash));
        if let Some(gone) = self.slots.get_mut(slot) {
            *gone = Gone { hash, at };
        }
    }

    /// Whether it left within the reach.
    pub fn remembers(&self, hash: u64) -> bool {
        let gone = self.slots.get(self.slot(hash)).filter(|gone| gone.at > 0 && gone.hash == hash);
        gone.is_some_and(|gone| self.gone_bytes - gone.at <= self.reach_bytes)
    }

    fn slot(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_left_within_the_reach_is_remembered() {
        let mut ghost = Ghost::new(10);
        assert!(!ghost.remembers(0), "an empty slot is nobody");
        (1..=20).for_each(|hash| ghost.leave(hash, 1));
        assert_eq!((1..=20).filter(|hash| ghost.remembers(*hash)).collect::<Vec<_>>(), Vec::from_iter(10..=20));
        ghost.set_reach(2);
        ghost.grow_for(10_000);
        assert_eq!((1..=20).filter(|hash| ghost.remembers(*hash)).collect::<Vec<_>>(), [18, 19, 20]);
    }
}

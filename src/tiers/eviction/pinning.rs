//! Which entries of pinned collections stay: a bounded part of the level, first come first served.
//!
//! What comes beyond that is spilled into a section that pays like any other, and is taken among the pinned
//! when it is used after room came free there. So pinning too much makes pins worth less, and never leaves
//! the others without memory. [`Pins`] says how it stands.

use super::choice::{Grouped, Pins};
use super::section::Home;
use super::{Policy, Sections};

/// What was spilled is looked at again once this part of the room for pinned entries is free.
const ROOMY_ONE_IN: u64 = 8;

impl<K: Grouped> Sections<K> {
    /// What pinned collections hold.
    pub fn pins(&self) -> Pins {
        let cost = |home: Home| self.find(&home).and_then(|id| self.sections.get(&id)).map_or(0, |s| s.policy.cost());
        Pins { bytes: cost(Home::Pinned), bytes_max: self.pinned_max(), spilled: cost(Home::Spilled) }
    }

    fn pinned_max(&self) -> u64 {
        self.budget_bytes / 100 * self.pinned_percent_max + self.budget_bytes % 100 * self.pinned_percent_max / 100
    }

    /// Where entries of a collection may be: in its section, and spilled if that is the pinned one.
    pub(super) fn places(&mut self, collection: &str) -> [Option<u32>; 2] {
        let id = self.section_of(collection);
        [Some(id), self.find(&Home::Spilled).filter(|_| self.is_pinned(id))]
    }

    pub(super) fn is_pinned(&self, id: u32) -> bool {
        self.sections.get(&id).is_some_and(|section| !section.pays())
    }

    /// Where an entry that comes now belongs.
    pub(super) fn place(&mut self, collection: &str, cost: u64) -> u32 {
        let id = self.section_of(collection);
        if !self.is_pinned(id) {
            return id;
        }
        let pins = self.pins();
        if pins.bytes.saturating_add(cost) <= pins.bytes_max { id } else { self.open(Home::Spilled) }
    }

    /// Takes a spilled entry among the pinned if there is room again.
    pub(super) fn settle(&mut self, key: &K) {
        let pins = self.pins();
        let roomy = pins.bytes_max.saturating_sub(pins.bytes) >= pins.bytes_max / ROOMY_ONE_IN;
        let Some(id) = self.find(&Home::Spilled).filter(|_| roomy && pins.spilled > 0) else { return };
        let taken = self.act(id, key.collection(), |section| {
            let before = (section.policy.len(), section.policy.cost());
            section.policy.remove(key);
            (section.policy.len() < before.0).then(|| before.1 - section.policy.cost())
        });
        if let Some(cost) = taken.flatten() {
            self.insert(key.clone(), cost);
        }
    }
}

//! What collections hold durably and owe, kept in step with the commits that change it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::model::{Holding, Usage};
use crate::store::Batch;
use crate::tiers::disk::Plan;
use crate::tiers::locked;

/// What each collection holds durably and owes, as last committed.
#[derive(Default)]
pub(super) struct Ledger(Mutex<BTreeMap<String, Holding>>);

/// What it will hold once the changes of one group are committed.
pub(super) struct Tally<'a> {
    ledger: &'a Ledger,
    changed: BTreeMap<String, Holding>,
}

impl Ledger {
    pub(super) fn new(holdings: BTreeMap<String, Holding>) -> Self {
        Ledger(Mutex::new(holdings))
    }

    pub(super) fn of(&self, collection: &str) -> Holding {
        locked(&self.0).get(collection).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> Holding {
        locked(&self.0).values().fold(Holding::default(), |sum, of| Holding {
            usage: sum.usage.plus(of.usage),
            owed: sum.owed.plus(of.owed),
            cloud: sum.cloud.plus(of.cloud),
        })
    }

    pub(super) fn tally(&self) -> Tally<'_> {
        Tally { ledger: self, changed: BTreeMap::new() }
    }

    pub(super) fn forget(&self, collection: &str) {
        locked(&self.0).remove(collection);
    }
}

impl Tally<'_> {
    fn holding(&mut self, collection: &str) -> &mut Holding {
        let ledger = self.ledger;
        self.changed.entry(collection.to_owned()).or_insert_with(|| ledger.of(collection))
    }

    pub(super) fn of(&self, collection: &str) -> Usage {
        self.changed.get(collection).copied().unwrap_or_else(|| self.ledger.of(collection)).usage
    }

    /// An object of a collection gives way to another; nothing is a usage of nothing.
    pub(super) fn replace(&mut self, collection: &str, old: Usage, new: Usage) {
        let holding = self.holding(collection);
        holding.usage = holding.usage.minus(old).plus(new);
    }

    /// Takes over what a plan owes.
    pub(super) fn owe(&mut self, plan: &Plan<'_>) {
        for (collection, shift) in plan.shifts() {
            let holding = self.holding(collection);
            holding.owed = shift.owed.of(holding.owed);
            holding.cloud = shift.held.of(holding.cloud);
        }
    }

    /// Adds the new sums to the commit.
    pub(super) fn write(&self, batch: &mut Batch) {
        self.changed.iter().for_each(|(collection, holding)| batch.put_holding(collection, *holding));
    }

    /// The commit is durable.
    pub(super) fn settle(self) {
        locked(&self.ledger.0).extend(self.changed);
    }
}

//! What collections hold durably, kept in step with the commits that change it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::model::Usage;
use crate::store::Batch;
use crate::tiers::locked;

/// What each collection holds durably, as last committed.
#[derive(Default)]
pub(super) struct Ledger(Mutex<BTreeMap<String, Usage>>);

/// What it will hold once the changes of one group are committed.
pub(super) struct Tally<'a> {
    ledger: &'a Ledger,
    changed: BTreeMap<String, Usage>,
}

impl Ledger {
    pub(super) fn new(usages: BTreeMap<String, Usage>) -> Self {
        Ledger(Mutex::new(usages))
    }

    pub(super) fn of(&self, collection: &str) -> Usage {
        locked(&self.0).get(collection).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> Usage {
        locked(&self.0).values().fold(Usage::default(), |sum, usage| sum.plus(*usage))
    }

    pub(super) fn tally(&self) -> Tally<'_> {
        Tally { ledger: self, changed: BTreeMap::new() }
    }

    pub(super) fn forget(&self, collection: &str) {
        locked(&self.0).remove(collection);
    }
}

impl Tally<'_> {
    pub(super) fn of(&self, collection: &str) -> Usage {
        self.changed.get(collection).copied().unwrap_or_else(|| self.ledger.of(collection))
    }

    /// An object of a collection gives way to another; nothing is a usage of nothing.
    pub(super) fn replace(&mut self, collection: &str, old: Usage, new: Usage) {
        let after = self.of(collection).minus(old).plus(new);
        self.changed.insert(collection.to_owned(), after);
    }

    /// Adds the new sums to the commit.
    pub(super) fn write(&self, batch: &mut Batch) {
        self.changed.iter().for_each(|(collection, usage)| batch.put_usage(collection, *usage));
    }

    /// The commit is durable.
    pub(super) fn settle(self) {
        locked(&self.ledger.0).extend(self.changed);
    }
}

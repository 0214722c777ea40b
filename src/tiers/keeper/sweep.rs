//! Clears away what ended by itself: old versions, objects with a time to live, traces of deletes.

use super::{Keeper, Known};
use crate::error::Result;
use crate::limits::SWEEP_MAX;
use crate::model::{Address, Head, Usage, Version};
use crate::store::Ending;
use crate::tiers::disk::Plan;
use crate::tiers::locked;

/// What a sweep cleared away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Old versions that are no longer kept.
    pub versions: usize,
    /// Objects whose time was over.
    pub lives: Vec<(Address, Version)>,
    /// Traces of deletes.
    pub tombstones: usize,
    /// Whether more is waiting.
    pub more: bool,
}

impl Keeper {
    /// Clears away a number of things that have ended, in one commit.
    pub fn sweep(&self) -> Result<Swept> {
        let now_ms = self.now_ms();
        let due = self.disk.store().due(now_ms, SWEEP_MAX)?;
        let mut ended: Vec<Address> = self.memory.dirty_ended(now_ms);
        ended.truncate(SWEEP_MAX);
        if due.is_empty() && ended.is_empty() {
            return Ok(Swept::default());
        }
        let _order = locked(&self.order);
        self.ensure_ceiling((due.len() + ended.len()) as u64)?;
        let (mut plan, mut tally) = (Plan::new(&self.disk), self.ledger.tally());
        let mut swept = Swept { more: due.len() == SWEEP_MAX || ended.len() == SWEEP_MAX, ..Swept::default() };
        for (at_ms, ending) in due {
            plan.batch().ended(at_ms, &ending);
            match ending {
                Ending::Version(address, version) => {
                    plan.drop_version(&address, version)?;
                    swept.versions += 1;
                }
                Ending::Tombstone(address, version) => {
                    if matches!(plan.head(&address)?, Some(Head::Deleted(trace)) if trace.version == version) {
                        plan.forget(&address)?;
                        swept.tombstones += 1;
                    }
                }
                Ending::Life(address, _) => ended.push(address),
            }
        }
        ended.sort_unstable();
        ended.dedup();
        for address in ended {
            let head = plan.head(&address)?;
            let is_over = |known: &Known| Ok(self.is_over(head.as_ref(), known, &address, now_ms));
            let (known, stamp) = self.decide(head.as_ref(), &address, is_over)?;
            if let Some(stamp) = stamp {
                self.bury(&mut plan, &mut tally, &address, &known, stamp, None)?;
                swept.lives.push((address, stamp.version));
            }
        }
        self.seal(plan, tally)?;
        for (address, version) in &swept.lives {
            self.memory.supersede(address, *version);
            self.memory.rebase(address, Usage::default());
        }
        Ok(swept)
    }

    /// Whether the newest thing at an address is an object that has ended, and not something that came since.
    fn is_over(&self, head: Option<&Head>, known: &Known, address: &Address, now_ms: u64) -> bool {
        let on_disk = head.and_then(Head::object).filter(|manifest| Some(manifest.version) == known.version);
        let resident = self.memory.peek(address).filter(|entry| Some(entry.manifest.version) == known.version);
        on_disk.is_some_and(|manifest| manifest.is_expired(now_ms))
            || resident.is_some_and(|entry| entry.manifest.is_expired(now_ms))
    }
}

//! Clears away what ended by itself: old versions, objects with a time to live, traces of deletes.

use super::{Keeper, Known};
use crate::error::{Kind, Result};
use crate::limits::SWEEP_MAX;
use crate::model::{Address, Head, Usage, Version};
use crate::store::{Due, Ending};
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
        let Due { endings, damaged } = self.disk.store().due(now_ms, SWEEP_MAX)?;
        let due = endings.len() + damaged.len();
        let mut ended: Vec<Address> = self.memory.dirty_ended(now_ms);
        ended.truncate(SWEEP_MAX);
        if due == 0 && ended.is_empty() {
            return Ok(Swept::default());
        }
        let _order = locked(&self.order);
        let _window = self.sequencer.window();
        self.ensure_ceiling((due + ended.len()) as u64)?;
        let (mut plan, mut tally) = (Plan::new(&self.disk), self.ledger.tally());
        let mut swept = Swept { more: due == SWEEP_MAX || ended.len() == SWEEP_MAX, ..Swept::default() };
        damaged.iter().for_each(|damaged| plan.batch().renew_deadline(damaged, now_ms));
        for (at_ms, ending) in endings {
            plan.batch().ended(at_ms, &ending);
            match ending {
                Ending::Version(address, version) => {
                    swept.versions += usize::from(readable(plan.drop_version(&address, version), &address)?.is_some());
                }
                Ending::Tombstone(address, version) => {
                    let head = readable(plan.head(&address), &address)?.flatten();
                    if matches!(head, Some(Head::Deleted(trace)) if trace.version == version) {
                        plan.forget(&address)?;
                        swept.tombstones += 1;
                    } else if plan.entry(&address)?.is_some_and(|other| other.version() == version) {
                        plan.forget_entry(&address)?;
                        swept.tombstones += 1;
                    }
                }
                Ending::Life(address, _) => ended.push(address),
            }
        }
        ended.sort_unstable();
        ended.dedup();
        for address in ended {
            let Some(head) = readable(plan.head(&address), &address)? else { continue };
            let is_over = |known: &Known| Ok(self.is_over(head.as_ref(), known, &address, now_ms));
            let other = plan.entry(&address)?;
            let (known, stamp) = self.decide(head.as_ref(), other.as_ref(), &address, is_over)?;
            if let Some(stamp) = stamp {
                self.bury(&mut plan, &mut tally, &address, &known, stamp, None)?;
                swept.lives.push((address, stamp.version));
            }
        }
        self.seal(plan, tally)?;
        for (address, version) in &swept.lives {
            self.memory.supersede(address, *version);
            self.memory.rebase(address, Usage::default());
            self.outbox.add(address);
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

/// Passes over what has ended and whose record fails its check, so that it does not hold up the others. The
/// scrub and `verify` name it again.
fn readable<T>(found: Result<T>, address: &Address) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind() == Kind::Corrupt => {
            tracing::error!(%address, %error, "what has ended cannot be read; it is not cleared away");
            Ok(None)
        }
        found => found.map(Some),
    }
}

//! A group of changes on its way to the disk: decided one after the other, committed at once, then shown.

use std::sync::Arc;

use super::decide::still_decides;
use super::{Change, Job, Keeper, Outcome, Show};
use crate::error::{Error, Kind, Result};
use crate::model::{Address, Durability, Usage};
use crate::tiers::disk::Plan;
use crate::tiers::{Decision, locked};

/// A change of a group, decided.
struct Planned {
    address: Address,
    show: Option<Show>,
    outcome: Result<Outcome>,
    /// For a second try, should the disk have no room for the whole group.
    again: Option<Change>,
    /// Ends with the commit, and not before.
    decision: Option<Decision>,
}

impl Keeper {
    /// Commits a group of changes: durable when this returns, and memory shows them. The answers
    /// come in the order of the jobs. When the disk is full, pushes fail and deletes do not.
    pub fn commit(&self, jobs: Vec<Job>) -> Vec<Result<Outcome>> {
        let _order = locked(&self.order);
        let _window = self.sequencer.window();
        // Known before anything is written, the ceiling too: refused pushes must not use up what is kept.
        let room = match jobs.iter().any(|job| job.change.brings_bytes()) {
            true => self.disk.store().leave_to_grow().map(drop),
            false => Ok(()),
        };
        let fits = |change: &Change| room.is_ok() || !change.brings_bytes();
        let count = jobs.iter().filter(|job| fits(&job.change)).count() as u64;
        if count > 0
            && let Err(error) = self.ensure_ceiling(count)
        {
            return jobs.iter().map(|_| Err(error.duplicate())).collect();
        }
        let (mut plan, mut tally) = (Plan::new(&self.disk), self.ledger.tally());
        let mut planned = Vec::with_capacity(jobs.len());
        for Job { address, change, show, decision } in jobs {
            let again = change.again();
            let outcome = match &room {
                Err(error) if change.brings_bytes() => Err(error.duplicate()),
                _ => still_decides(&address, decision.as_ref())
                    .and_then(|()| self.plan(&mut plan, &mut tally, &address, change)),
            };
            let again = again.filter(|_| outcome.is_ok());
            planned.push(Planned { address, show, outcome, again, decision });
        }
        let committed = self.seal(plan, tally);
        let mixed = planned.iter().any(|job| job.again.is_some()) && planned.iter().any(|job| job.again.is_none());
        match committed {
            Err(error) if mixed && error.kind() == Kind::Unavailable => self.commit_the_rest(planned, error),
            committed => planned.into_iter().map(|job| self.settle(&committed, job)).collect(),
        }
    }

    /// A group found no room: its pushes fail, and what brings no bytes is decided and committed without them.
    fn commit_the_rest(&self, planned: Vec<Planned>, error: Error) -> Vec<Result<Outcome>> {
        let (mut plan, mut tally) = (Plan::new(&self.disk), self.ledger.tally());
        let replan = |mut job: Planned| {
            let again = job.again.take();
            let pushed = again.is_none();
            if let Some(change) = again {
                job.outcome = still_decides(&job.address, job.decision.as_ref())
                    .and_then(|()| self.plan(&mut plan, &mut tally, &job.address, change));
            }
            (pushed, job)
        };
        let planned: Vec<(bool, Planned)> = planned.into_iter().map(replan).collect();
        let (refused, committed) = (Err(error), self.seal(plan, tally));
        let settle = |(pushed, job)| self.settle(if pushed { &refused } else { &committed }, job);
        planned.into_iter().map(settle).collect()
    }

    /// Shows in memory what was committed, in the order of the commits.
    fn settle(&self, committed: &Result<()>, job: Planned) -> Result<Outcome> {
        let Planned { address, show, outcome, .. } = job;
        let (address, outcome) = (&address, outcome?);
        if let Err(error) = committed {
            // The store decides what is visible after a failed commit; memory must not contradict it.
            self.memory.evict_clean(address);
            return Err(error.duplicate());
        }
        match (&outcome, show) {
            (Outcome::Stored { manifest, .. }, Some(Show { chunks, mut room })) => {
                self.memory.publish(address, Arc::clone(manifest), chunks, &mut room);
            }
            (Outcome::Stored { manifest, .. }, None) if manifest.durability == Durability::Ram => {
                self.memory.settle(address, manifest.version);
            }
            (Outcome::Stored { manifest, .. }, None) => self.memory.supersede(address, manifest.version),
            (Outcome::Deleted(Some(stamp)), _) => self.memory.supersede(address, stamp.version),
            (Outcome::Deleted(None) | Outcome::Mended | Outcome::Superseded, _) => {}
        }
        match &outcome {
            Outcome::Stored { manifest, .. } => {
                self.memory.rebase(address, Usage::of(manifest.size));
                self.outbox.add(address);
            }
            Outcome::Deleted(Some(_)) => {
                self.memory.rebase(address, Usage::default());
                self.outbox.add(address);
            }
            Outcome::Deleted(None) | Outcome::Mended | Outcome::Superseded => {}
        }
        Ok(outcome)
    }
}

//! The disk actor: the one queue through which changes become durable, in groups.
//!
//! Owns: the commit queue and its thread. Asked by: container, memory. Bound: `ACTOR_QUEUE_MAX`;
//! callers wait. A new life starts a new thread; the keeper lets only one commit run at a time, so the
//! old one may finish its queue beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use super::cpu::blocking;
use super::runtime::{Answer, Ask, Serves};
use super::telling::{Teller, Telling};
use crate::error::{Error, Result};
use crate::limits::COMMIT_CHANGES_MAX;
use crate::model::{Address, FrameId, Version};
use crate::tiers::{Job, Keeper, Outcome, Swept};

type Done = oneshot::Sender<Result<Outcome>>;

/// The actor.
pub struct DiskActor {
    keeper: Arc<Keeper>,
    teller: Teller,
    queue: mpsc::Sender<(Job, Done)>,
}

/// Make a change durable, together with whoever else asks at the same time.
pub struct Persist(pub Job);

impl Ask for Persist {
    type Reply = Outcome;
}

/// Put a frame aside that failed its check.
pub struct Quarantine {
    /// The object it belongs to.
    pub address: Address,
    /// The object's version.
    pub version: Version,
    /// The frame.
    pub frame: FrameId,
    /// What failed.
    pub why: Error,
}

impl Ask for Quarantine {
    type Reply = ();
}

/// Unlink frames that no object needs any more.
pub struct Collect;

impl Ask for Collect {
    type Reply = usize;
}

/// Clear away what ended by itself.
pub struct Sweep;

impl Ask for Sweep {
    type Reply = Swept;
}

impl DiskActor {
    /// An actor with a commit thread of its own, which ends with it.
    pub fn new(keeper: Arc<Keeper>, teller: Teller) -> Self {
        let (queue, jobs) = mpsc::channel();
        let (committer, committed) = (Arc::clone(&keeper), teller.clone());
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || commit_groups(&committer, &committed, &jobs));
        if let Err(error) = thread {
            // The queue is closed then, and every change is refused with a clear error.
            tracing::error!(%error, "cannot start the commit thread");
        }
        DiskActor { keeper, teller, queue }
    }
}

/// While one group is being synced the next one gathers, so the group grows with the load.
fn commit_groups(keeper: &Keeper, teller: &Teller, jobs: &mpsc::Receiver<(Job, Done)>) {
    while let Ok(first) = jobs.recv() {
        let rest = jobs.try_iter().take(COMMIT_CHANGES_MAX - 1);
        let (group, waiting): (Vec<Job>, Vec<Done>) = std::iter::once(first).chain(rest).unzip();
        let tellings: Vec<Telling> = group.iter().map(Telling::of).collect();
        // Callers of a group that panics find their channel closed: the outcome is unknown to them.
        let outcomes = catch_unwind(AssertUnwindSafe(|| keeper.commit(group)));
        match outcomes {
            Ok(outcomes) => {
                tellings.iter().zip(&outcomes).for_each(|(telling, outcome)| teller.outcome(telling, outcome));
                waiting.into_iter().zip(outcomes).for_each(|(done, outcome)| drop(done.send(outcome)));
            }
            Err(_) => tracing::error!("a commit panicked; its callers are told to try again"),
        }
    }
}

impl Serves<Persist> for DiskActor {
    fn serve(&mut self, Persist(job): Persist) -> Answer<Outcome> {
        let (done, outcome) = oneshot::channel();
        let stopped = || Error::unavailable("the commit thread has stopped; try again");
        if self.queue.send((job, done)).is_err() {
            return Answer::Ready(Err(stopped()));
        }
        Answer::later(async move { outcome.await.map_err(|_| stopped())? })
    }
}

impl Serves<Quarantine> for DiskActor {
    fn serve(&mut self, Quarantine { address, version, frame, why }: Quarantine) -> Answer<()> {
        let keeper = Arc::clone(&self.keeper);
        Answer::later(blocking(move || {
            tracing::error!(%address, %version, %frame, %why, "a damaged object is quarantined");
            keeper.disk().quarantine(&address, version, frame, &why)
        }))
    }
}

impl Serves<Collect> for DiskActor {
    fn serve(&mut self, Collect: Collect) -> Answer<usize> {
        let keeper = Arc::clone(&self.keeper);
        Answer::later(blocking(move || keeper.disk().collect()))
    }
}

impl Serves<Sweep> for DiskActor {
    fn serve(&mut self, Sweep: Sweep) -> Answer<Swept> {
        let (keeper, teller) = (Arc::clone(&self.keeper), self.teller.clone());
        Answer::later(blocking(move || keeper.sweep().inspect(|swept| teller.swept(swept))))
    }
}

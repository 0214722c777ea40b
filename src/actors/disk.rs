//! The disk actor: the one queue through which changes become durable, in groups.
//!
//! Owns: the commit queue and its thread, to which pushes go directly, and the thread that brings what was committed
//! from the journal into the database. Asked by: container, memory, scrub. Bound: `ACTOR_QUEUE_MAX`; callers wait.
//! A new life starts new threads; the keeper lets only one commit run at a time, so the old one may finish its queue
//! beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::cpu::blocking;
use super::runtime::{Answer, Ask, Serves};
use super::telling::{Teller, Telling};
use crate::error::{Error, Result};
use crate::limits::COMMIT_CHANGES_MAX;
use crate::model::{Address, FrameId, Version};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::labels::{CommitOutcome, Ended};
use crate::tiers::{Job, Keeper, Outcome, Swept};

/// Who waits for an outcome.
pub(super) struct Waiting {
    done: oneshot::Sender<Result<Outcome>>,
    /// The thread that waits, and what runs there.
    home: Option<(ThreadId, Handle)>,
}

/// The actor.
pub struct DiskActor {
    keeper: Arc<Keeper>,
    telemetry: Arc<Telemetry>,
    teller: Teller,
    commits: CommitQueue,
    /// The way to this life's own thread.
    queue: Arc<Queue>,
}

type Answered = (Waiting, Result<Outcome>);

pub(super) type Queue = mpsc::Sender<(Job, Waiting)>;

/// The way to the commit thread of the life that is on: into the queue without a mailbox before it. What waits
/// in it is bounded by the requests that may be at work.
#[derive(Clone, Default)]
pub struct CommitQueue(Arc<RwLock<Option<Arc<Queue>>>>);

impl CommitQueue {
    /// The queue of the life that is on; there is none right after the start.
    pub(super) fn open(&self) -> Option<Arc<Queue>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, queue: Option<Arc<Queue>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = queue;
    }
}

/// Queues the change at once; what is awaited is its outcome.
pub(super) fn persist(queue: &Queue, job: Job) -> impl Future<Output = Result<Outcome>> + Send + use<> {
    let (done, outcome) = oneshot::channel();
    let home = Handle::try_current().ok().map(|runtime| (thread::current().id(), runtime));
    let queued = queue.send((job, Waiting { done, home })).is_ok();
    async move {
        let stopped = || Error::unavailable("the commit thread has stopped; try again");
        if !queued {
            return Err(stopped());
        }
        outcome.await.map_err(|_| stopped())?
    }
}

impl Drop for DiskActor {
    fn drop(&mut self) {
        // The thread ends with the last way to it; a new life may have set its own already.
        let mut set = self.commits.0.write().unwrap_or_else(PoisonError::into_inner);
        if set.as_ref().is_some_and(|set| Arc::ptr_eq(set, &self.queue)) {
            *set = None;
        }
    }
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
    /// Whether it was put aside now.
    type Reply = bool;
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
    pub fn new(keeper: Arc<Keeper>, teller: Teller, telemetry: Arc<Telemetry>, commits: CommitQueue) -> Self {
        let (queue, jobs) = mpsc::channel();
        // One word is enough: who hears it does all there is.
        let (settle, due) = mpsc::sync_channel(1);
        let mine = Arc::clone(&keeper);
        start_thread("settle", move || settle_journal(&mine, &due));
        let mine = (Arc::clone(&keeper), teller.clone(), Arc::clone(&telemetry));
        // Where it does not start the queue is closed, and every change is refused with a clear error.
        start_thread("commit", move || commit_groups(&mine.0, &mine.1, &mine.2, &jobs, &settle));
        let queue = Arc::new(queue);
        commits.set(Some(Arc::clone(&queue)));
        DiskActor { keeper, telemetry, teller, commits, queue }
    }
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.into()).spawn(work) {
        tracing::error!(%error, name, "cannot start a thread");
    }
}

/// Brings what was committed into the database whenever enough has gathered. Where it fails a commit that needs the
/// room tries again, and says why not.
fn settle_journal(keeper: &Keeper, due: &mpsc::Receiver<()>) {
    while due.recv().is_ok() {
        if let Err(error) = keeper.disk().store().settle() {
            tracing::warn!(%error, "the journal cannot be brought into the store; it is tried again");
        }
    }
}

/// While one group is being synced the next one gathers, so the group grows with the load.
fn commit_groups(
    keeper: &Keeper,
    teller: &Teller,
    telemetry: &Telemetry,
    jobs: &mpsc::Receiver<(Job, Waiting)>,
    settle: &mpsc::SyncSender<()>,
) {
    while let Ok(first) = jobs.recv() {
        let rest = jobs.try_iter().take(COMMIT_CHANGES_MAX - 1);
        let (group, waiting): (Vec<Job>, Vec<Waiting>) = std::iter::once(first).chain(rest).unzip();
        let tellings: Vec<Telling> = group.iter().map(Telling::of).collect();
        // Callers of a group that panics find their channel closed: the outcome is unknown to them.
        let (started, changes) = (telemetry.ticks_ns(), group.len() as u64);
        let outcomes = catch_unwind(AssertUnwindSafe(|| keeper.commit(group)));
        let done = outcomes.as_ref().is_ok_and(|outcomes| outcomes.iter().all(Result::is_ok));
        telemetry.metrics.commits.one(if done { CommitOutcome::Done } else { CommitOutcome::Failed });
        telemetry.metrics.commit_changes.observe((), changes);
        telemetry.metrics.commit_duration.observe((), telemetry.since_ns(started));
        match outcomes {
            Ok(outcomes) => {
                teller.outcomes(tellings, &outcomes);
                answer(waiting.into_iter().zip(outcomes));
            }
            Err(_) => tracing::error!("a commit panicked; its callers are told to try again"),
        }
        if keeper.disk().store().must_settle() {
            // A word that is still on its way serves as well.
            let _ = settle.try_send(());
        }
    }
}

/// Tells everybody what became of their changes. To wake a task on another thread is a call to the system, so those who
/// wait on one thread are woken there, all of them by one.
fn answer(outcomes: impl Iterator<Item = Answered>) {
    let tell = |(waiting, outcome): Answered| {
        // Whoever asked may have gone.
        let _ = waiting.done.send(outcome);
    };
    let mut threads: Vec<(ThreadId, Handle, Vec<Answered>)> = Vec::new();
    for mut answer in outcomes {
        let Some((thread, runtime)) = answer.0.home.take() else {
            tell(answer);
            continue;
        };
        match threads.iter_mut().find(|(known, ..)| *known == thread) {
            Some((.., answers)) => answers.push(answer),
            None => threads.push((thread, runtime, vec![answer])),
        }
    }
    for (_, runtime, answers) in threads {
        match answers.len() {
            1 => answers.into_iter().for_each(tell),
            _ => drop(runtime.spawn(async move { answers.into_iter().for_each(tell) })),
        }
    }
}

impl Serves<Persist> for DiskActor {
    fn serve(&mut self, Persist(job): Persist) -> Answer<Outcome> {
        Answer::later(persist(&self.queue, job))
    }
}

impl Serves<Quarantine> for DiskActor {
    fn serve(&mut self, Quarantine { address, version, frame, why }: Quarantine) -> Answer<bool> {
        let (keeper, telemetry) = (Arc::clone(&self.keeper), Arc::clone(&self.telemetry));
        Answer::later(blocking(move || {
            let aside = keeper.disk().quarantine(&address, version, frame, &why)?;
            if aside {
                telemetry.metrics.quarantines.one(());
                tracing::error!(%address, %version, %frame, %why, "a damaged object is quarantined");
            }
            Ok(aside)
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
        let (keeper, teller, telemetry) = (Arc::clone(&self.keeper), self.teller.clone(), Arc::clone(&self.telemetry));
        Answer::later(blocking(move || {
            let swept = keeper.sweep()?;
            teller.swept(&swept);
            let metrics = &telemetry.metrics;
            metrics.sweeps.one(());
            metrics.swept.add(Ended::Version, swept.versions as u64);
            metrics.swept.add(Ended::Object, swept.lives.len() as u64);
            metrics.swept.add(Ended::Tombstone, swept.tombstones as u64);
            Ok(swept)
        }))
    }
}

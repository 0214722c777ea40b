//! Brings the actors of a container to life, each on a thread where it cannot hold up the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::container::{ContainerActor, Crew};
use super::cpu::CpuPool;
use super::disk::{Collect, CommitQueue, DiskActor, Sweep};
use super::eviction::{EvictionActor, EvictionOptions, Learn};
use super::fetch::Fetches;
use super::handle::{Bounds, Doors, Handle};
use super::keys::{Keys, KeysActor, RewrapNext};
use super::memory::MemoryActor;
use super::neighbours::Neighbours;
use super::nfr::{NfrActor, Stages};
use super::runtime::{ActorRuntime, Link};
use super::scrub::{CheckNext, ScrubActor, ScrubOptions};
use super::sync::{Recent, SyncActor, Tick};
use super::takeover::Takeovers;
use super::telling::Teller;
use crate::control::{Collections, KeyFile, Rulings};
use crate::error::Result;
use crate::limits::{
    ACTOR_QUEUE_MAX, COLLECT_PERIOD, LEARN_PERIOD, OBEY_RETRY, REWRAP_RETRY, SCRUB_RETRY, SWEEP_PERIOD, SYNC_PERIOD,
};
use crate::model::Rng;
use crate::nfr::Keyring;
use crate::telemetry::Telemetry;
use crate::telemetry::events::EventBook;
use crate::tiers::eviction::{Choice, Choices, Evictable};
use crate::tiers::{CloudTier, Copies, Keeper, MemoryTier};

/// What the crew of a container is told.
#[derive(Clone, Debug)]
pub struct CrewOptions {
    /// Threads that seal and open.
    pub workers: usize,
    /// How level 1 is kept.
    pub eviction: EvictionOptions,
    /// Largest object in plain bytes.
    pub object_bytes_max: u64,
    /// Sealed bytes that the disk should hold at most.
    pub disk_budget: u64,
    /// What bounds the container as a whole.
    pub bounds: Bounds,
    /// Where it is counted what happens.
    pub telemetry: Arc<Telemetry>,
    /// How everything that is sealed is read now and then.
    pub scrub: ScrubOptions,
}

/// The actors of a container.
pub struct Actors {
    runtime: ActorRuntime,
    handle: Handle,
    clockwork: Vec<tokio::task::JoinHandle<()>>,
    /// Tells what goes on for long that it need not be finished.
    ending: Arc<AtomicBool>,
}

impl Actors {
    /// Starts them all over one keeper. What they leave for later runs on `main`.
    pub fn start(
        main: tokio::runtime::Handle,
        keeper: Arc<Keeper>,
        rulings: Arc<Rulings>,
        (keyring, file): (Keyring, KeyFile),
        (cloud, copies): (Option<CloudTier>, Copies),
        rng: Arc<dyn Rng>,
        options: CrewOptions,
    ) -> Result<Self> {
        let (collections, policies) = (Arc::clone(&rulings.collections), Arc::clone(&rulings.policies));
        let runtime = ActorRuntime::start(main.clone())?;
        let stages = Arc::new(Stages::new(CpuPool::new(options.workers)?, keyring, Arc::clone(&rng)));
        let (front, back) = (runtime.arbiter(), runtime.arbiter());
        let nfr = {
            let stages = Arc::clone(&stages);
            runtime.supervise(&front, "nfr", ACTOR_QUEUE_MAX, move || NfrActor::new(Arc::clone(&stages)))
        };
        let teller = Teller::new(EventBook::new(rng.u64()), Arc::clone(&keeper));
        let commits = CommitQueue::default();
        let disk = {
            let commits = commits.clone();
            let (keeper, teller, telemetry) = (Arc::clone(&keeper), teller.clone(), Arc::clone(&options.telemetry));
            runtime.supervise(&back, "disk", ACTOR_QUEUE_MAX, move || {
                DiskActor::new(Arc::clone(&keeper), teller.clone(), Arc::clone(&telemetry), commits.clone())
            })
        };
        let eviction = {
            let (memory, seed) = (Arc::clone(keeper.memory()), rng.u64());
            let choices = choices(&collections);
            runtime.supervise(&back, "eviction", ACTOR_QUEUE_MAX, move || {
                let level: Arc<dyn Evictable> = Arc::<MemoryTier>::clone(&memory);
                EvictionActor::new(options.eviction, level, Arc::clone(&choices), seed)
            })
        };
        let memory = {
            let (keeper, teller) = (Arc::clone(&keeper), teller.clone());
            let life = MemoryActor::new(keeper, eviction.clone(), disk.clone(), nfr.clone(), teller);
            runtime.supervise(&front, "memory", ACTOR_QUEUE_MAX, move || life.clone())
        };
        let object_bytes_max = options.object_bytes_max;
        let (recent, disk_budget) = (Arc::<Recent>::default(), options.disk_budget);
        let sync = {
            let life =
                SyncActor::new(teller.clone(), Arc::clone(&policies), cloud.clone(), disk_budget, Arc::clone(&recent));
            runtime.supervise(&back, "sync", ACTOR_QUEUE_MAX, move || life.clone())
        };
        let (fetches, copies) = (Fetches::default(), Arc::new(copies));
        keeper.copy_to(&copies);
        let crew = Crew {
            keeper,
            collections,
            policies,
            memory,
            eviction,
            disk,
            commits,
            stages,
            nfr,
            sync,
            cloud,
            fetches,
            takeovers: Takeovers::default(),
            neighbours: Neighbours::default(),
            copies,
            recent,
            teller,
            disk_budget,
            object_bytes_max,
            telemetry: options.telemetry,
        };
        let container = {
            let crew = crew.clone();
            let bound = options.bounds.requests_max;
            runtime.supervise(&front, "container", bound, move || ContainerActor::new(crew.clone()))
        };
        let ending = Arc::<AtomicBool>::default();
        let scrub = {
            let (crew, ending) = (crew.clone(), Arc::clone(&ending));
            runtime.supervise(&back, "scrub", ACTOR_QUEUE_MAX, move || {
                ScrubActor::new(Arc::clone(&crew.keeper), crew.healer(), options.scrub, Arc::clone(&ending))
            })
        };
        let keys = {
            let life = Keys::new(Arc::clone(&crew.keeper), file, crew.nfr.clone(), crew.sync.clone());
            runtime.supervise(&back, "keys", ACTOR_QUEUE_MAX, move || KeysActor::new(Arc::clone(&life)))
        };
        let clockwork = clockwork(&main, &crew, scrub.clone(), keys.clone());
        let handle = Handle::new(crew, Doors { container, scrub, keys }, options.bounds);
        Ok(Actors { runtime, handle, clockwork, ending })
    }

    /// What doors hold.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends every actor; drain the handle first.
    pub fn stop(self) {
        self.ending.store(true, Ordering::Release);
        self.clockwork.iter().for_each(tokio::task::JoinHandle::abort);
        self.runtime.stop();
    }
}

/// What collections ask of level 1. One that nobody can read asks for nothing.
fn choices(collections: &Arc<Collections>) -> Choices {
    let collections = Arc::clone(collections);
    Arc::new(move |name| {
        let known = collections.get(name).ok().flatten();
        known.map_or_else(Choice::default, |known| Choice { kind: known.policy.eviction, pinned: known.policy.pinned })
    })
}

/// What is done now and then whether or not anybody asks.
fn clockwork(
    main: &tokio::runtime::Handle,
    crew: &Crew,
    scrub: Link<ScrubActor>,
    keys: Link<KeysActor>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let (eviction, disk) = (crew.eviction.clone(), crew.disk.clone());
    let learn = main.spawn(async move {
        loop {
            tokio::time::sleep(LEARN_PERIOD).await;
            // An actor between two lives is asked again at the next turn.
            let _ = eviction.ask(Learn).await;
        }
    });
    let collect = main.spawn(async move {
        loop {
            tokio::time::sleep(COLLECT_PERIOD).await;
            if let Err(error) = disk.ask(Collect).await {
                tracing::warn!(%error, "cannot remove discarded frames; they are tried again");
            }
        }
    });
    let disk = crew.disk.clone();
    let sweep = main.spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_PERIOD).await;
            match sweep_all(&disk).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "cannot clear away what has ended; it is tried again"),
            }
        }
    });
    let sync = crew.sync.clone();
    let pay = main.spawn(async move {
        loop {
            tokio::time::sleep(SYNC_PERIOD).await;
            if let Err(error) = sync.ask(Tick).await {
                tracing::debug!(%error, "what is due towards the cloud could not be done; it is tried again");
            }
        }
    });
    let scrub = main.spawn(async move {
        loop {
            let wait = scrub.ask(CheckNext).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the scrub cannot go on; it is tried again");
                SCRUB_RETRY
            });
            tokio::time::sleep(wait).await;
        }
    });
    let rewrap = main.spawn(async move {
        loop {
            let wait = keys.ask(RewrapNext).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "data keys cannot be wrapped anew; it is tried again");
                REWRAP_RETRY
            });
            tokio::time::sleep(wait).await;
        }
    });
    let (obeying, mut changed) = (crew.clone(), crew.policies.changed());
    let obey = main.spawn(async move {
        loop {
            match obeying.obey().await {
                Ok(()) if changed.changed().await.is_err() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "copies that a policy does not let rest here are still here; it is tried again");
                    tokio::time::sleep(OBEY_RETRY).await;
                }
            }
        }
    });
    vec![learn, collect, sweep, pay, scrub, rewrap, obey]
}

/// Clears away until nothing is left to clear, a bounded commit at a time.
async fn sweep_all(disk: &Link<DiskActor>) -> Result<()> {
    while disk.ask(Sweep).await?.more {}
    Ok(())
}

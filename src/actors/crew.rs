//! Brings the actors of a container to life, each on a thread where it cannot hold up the others.

use std::sync::Arc;

use super::container::{ContainerActor, Crew};
use super::cpu::CpuPool;
use super::disk::{Collect, DiskActor, Sweep};
use super::eviction::{EvictionActor, Learn};
use super::handle::{Bounds, Handle};
use super::memory::MemoryActor;
use super::nfr::{NfrActor, Stages};
use super::runtime::ActorRuntime;
use super::telling::Teller;
use crate::control::Collections;
use crate::error::Result;
use crate::limits::{ACTOR_QUEUE_MAX, COLLECT_PERIOD, LEARN_PERIOD, SWEEP_PERIOD};
use crate::model::{EvictionKind, Rng};
use crate::nfr::Keyring;
use crate::telemetry::events::EventBook;
use crate::tiers::Keeper;

/// What the crew of a container is told.
#[derive(Clone, Copy, Debug)]
pub struct CrewOptions {
    /// Threads that seal and open.
    pub workers: usize,
    /// The policy of level 1.
    pub eviction: EvictionKind,
    /// Largest object in plain bytes.
    pub object_bytes_max: u64,
    /// What bounds the container as a whole.
    pub bounds: Bounds,
}

/// The actors of a container.
pub struct Actors {
    runtime: ActorRuntime,
    handle: Handle,
    clockwork: Vec<tokio::task::JoinHandle<()>>,
}

impl Actors {
    /// Starts them all over one keeper. What they leave for later runs on `main`.
    pub fn start(
        main: tokio::runtime::Handle,
        keeper: Arc<Keeper>,
        collections: Arc<Collections>,
        keyring: Keyring,
        rng: Arc<dyn Rng>,
        options: CrewOptions,
    ) -> Result<Self> {
        let runtime = ActorRuntime::start(main.clone())?;
        let stages = Arc::new(Stages::new(CpuPool::new(options.workers)?, keyring, Arc::clone(&rng)));
        let (front, back) = (runtime.arbiter(), runtime.arbiter());
        let nfr = runtime.supervise(&front, "nfr", ACTOR_QUEUE_MAX, move || NfrActor::new(Arc::clone(&stages)));
        let teller = Teller::new(EventBook::new(rng.u64()), Arc::clone(&keeper));
        let disk = {
            let (keeper, teller) = (Arc::clone(&keeper), teller.clone());
            runtime
                .supervise(&back, "disk", ACTOR_QUEUE_MAX, move || DiskActor::new(Arc::clone(&keeper), teller.clone()))
        };
        let eviction = {
            let (memory, seed) = (Arc::clone(keeper.memory()), rng.u64());
            runtime.supervise(&back, "eviction", ACTOR_QUEUE_MAX, move || {
                EvictionActor::new(options.eviction, Arc::clone(&memory), seed)
            })
        };
        let memory = {
            let (keeper, teller) = (Arc::clone(&keeper), teller.clone());
            let life = MemoryActor::new(keeper, eviction.clone(), disk.clone(), nfr.clone(), teller);
            runtime.supervise(&front, "memory", ACTOR_QUEUE_MAX, move || life.clone())
        };
        let object_bytes_max = options.object_bytes_max;
        let crew = Crew { keeper, collections, memory, eviction, disk, nfr, teller, object_bytes_max };
        let container = {
            let crew = crew.clone();
            let bound = options.bounds.requests_max;
            runtime.supervise(&front, "container", bound, move || ContainerActor::new(crew.clone()))
        };
        let clockwork = clockwork(&main, &crew);
        Ok(Actors { runtime, handle: Handle::new(crew, container, options.bounds), clockwork })
    }

    /// What doors hold.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends every actor; drain the handle first.
    pub fn stop(self) {
        self.clockwork.iter().for_each(tokio::task::JoinHandle::abort);
        self.runtime.stop();
    }
}

/// What is done now and then whether or not anybody asks.
fn clockwork(main: &tokio::runtime::Handle, crew: &Crew) -> Vec<tokio::task::JoinHandle<()>> {
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
    vec![learn, collect, sweep]
}

/// Clears away until nothing is left to clear, a bounded commit at a time.
async fn sweep_all(disk: &super::runtime::Link<DiskActor>) -> Result<()> {
    while disk.ask(Sweep).await?.more {}
    Ok(())
}

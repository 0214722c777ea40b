//! The container actor: takes what doors ask, plans it by the collection's policy, and sets it going.
//!
//! Owns: nothing of its own; policies are `control/`'s. Asked by: the handle. Asks: memory, eviction, disk,
//! nfr. Bound: the requests that may be at work; callers wait. A new life costs nothing.

use std::sync::Arc;

use futures_util::future::Either;

use super::body::Body;
use super::cpu::blocking;
use super::disk::{CommitQueue, DiskActor, Persist, persist};
use super::eviction::EvictionActor;
use super::fetch::Fetches;
use super::handle::Permits;
use super::heal::Healer;
use super::memory::MemoryActor;
use super::neighbours::Neighbours;
use super::nfr::{NfrActor, Stages};
use super::pull::fetch;
use super::push::store;
use super::request::{Delete, Deleted, Pull, Pulled, Push, Pushed};
use super::runtime::{Answer, Ask, Link, Serves};
use super::sync::{Recent, SyncActor};
use super::takeover::Takeovers;
use super::telling::Teller;
use crate::control::{Collections, Policies};
use crate::error::{Error, Result};
use crate::model::{CollectionPolicy, Durability, Level, Name, NfrSpec};
use crate::telemetry::Telemetry;
use crate::tiers::{Change, CloudTier, Copies, Decision, Job, Keeper, Outcome};

/// The actors that a request is worked on with.
#[derive(Clone)]
pub struct Crew {
    pub(super) keeper: Arc<Keeper>,
    pub(super) collections: Arc<Collections>,
    pub(super) policies: Arc<Policies>,
    pub(super) memory: Link<MemoryActor>,
    pub(super) eviction: Link<EvictionActor>,
    pub(super) disk: Link<DiskActor>,
    /// Where changes go that need nothing else of the disk actor.
    pub(super) commits: CommitQueue,
    /// What the nfr actor hands out in every life.
    pub(super) stages: Arc<Stages>,
    pub(super) nfr: Link<NfrActor>,
    pub(super) sync: Link<SyncActor>,
    pub(super) cloud: Option<CloudTier>,
    pub(super) fetches: Fetches,
    pub(super) takeovers: Takeovers,
    pub(super) neighbours: Neighbours,
    pub(super) copies: Arc<Copies>,
    pub(super) recent: Arc<Recent>,
    pub(super) teller: Teller,
    /// Sealed bytes that the disk should hold at most.
    pub(super) disk_budget: u64,
    pub(super) object_bytes_max: u64,
    pub(super) telemetry: Arc<Telemetry>,
}

impl Crew {
    /// What damage is dealt with through.
    pub(super) fn healer(&self) -> Healer {
        Healer {
            keeper: Arc::clone(&self.keeper),
            disk: self.disk.clone(),
            nfr: self.nfr.clone(),
            cloud: self.cloud.clone(),
        }
    }

    /// Makes a change durable, together with whoever else asks at the same time: at once, or through the disk
    /// actor's mailbox while no life of it is on. Where one is on, it is on its way when this returns.
    pub(super) fn commit(&self, job: Job) -> impl Future<Output = Result<Outcome>> + Send + use<> {
        match self.commits.open() {
            Some(queue) => Either::Left(persist(&queue, job)),
            None => {
                let disk = self.disk.clone();
                Either::Right(Box::pin(async move { disk.ask(Persist(job)).await }))
            }
        }
    }
}

/// The actor.
pub struct ContainerActor {
    crew: Crew,
}

/// How one object is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When to acknowledge.
    pub durability: Durability,
    /// How to seal.
    pub nfr: NfrSpec,
    /// Whether memory may hold a copy.
    pub in_ram: bool,
    /// How long the object lives.
    pub ttl_ms: Option<u64>,
}

impl Plan {
    /// What the collection's policy and the request together ask for.
    pub fn of(policy: &CollectionPolicy, push: &Push) -> Result<Self> {
        let in_ram = policy.allows(Level::Ram);
        let durability = push.durability.unwrap_or(policy.durability);
        if durability == Durability::Ram && !in_ram {
            let why = "the collection's policy keeps its objects out of memory; push with durability disk";
            return Err(Error::invalid(why).with("address", &push.address));
        }
        // A request may shorten the life that the policy gives, never lengthen it.
        let ttl_s = [push.ttl_s, policy.ttl_s].into_iter().flatten().min();
        let ttl_ms = ttl_s.map(|seconds| seconds.saturating_mul(1000));
        Ok(Plan { durability, nfr: policy.nfr.overridden(push.nfr), in_ram, ttl_ms })
    }
}

/// Store an object. The permits are held until it is done.
pub struct StoreObject {
    /// What is asked.
    pub push: Box<Push>,
    /// Its bytes.
    pub body: Body,
    /// Its share of the container's limits.
    pub permits: Permits,
}

impl Ask for StoreObject {
    type Reply = Pushed;
}

/// Read an object that memory does not hold.
pub struct FetchObject {
    /// What is asked.
    pub pull: Pull,
    /// Its share of the container's limits.
    pub permits: Permits,
}

impl Ask for FetchObject {
    type Reply = Pulled;
}

/// Delete an object.
#[derive(Clone)]
pub struct RemoveObject {
    /// What is asked.
    pub delete: Delete,
    /// Who may decide its condition, until it is committed.
    pub decision: Option<Decision>,
    /// Whether somebody who cannot be asked may hold it.
    pub unseen: bool,
}

impl Ask for RemoveObject {
    type Reply = Deleted;
}

impl ContainerActor {
    /// An actor that works with this crew.
    pub fn new(crew: Crew) -> Self {
        ContainerActor { crew }
    }
}

impl Serves<StoreObject> for ContainerActor {
    fn serve(&mut self, StoreObject { push, body, permits }: StoreObject) -> Answer<Pushed> {
        let crew = self.crew.clone();
        let collection = match crew.collections.get(push.address.collection()) {
            Ok(collection) => collection,
            Err(error) => return Answer::Ready(Err(error)),
        };
        Answer::later(async move {
            let collection = match collection {
                Some(collection) => collection,
                None => {
                    let name = push.address.collection().parse::<Name>()?;
                    // Another container may have been told what it asks for.
                    crew.find_collection(&name).await;
                    let collections = Arc::clone(&crew.collections);
                    crew.teller.ensured(blocking(move || collections.ensure(&name)).await?)
                }
            };
            let plan = Plan::of(&collection.policy, &push)?;
            store(&crew, plan, push, body, permits).await
        })
    }
}

impl Serves<FetchObject> for ContainerActor {
    fn serve(&mut self, FetchObject { pull, permits }: FetchObject) -> Answer<Pulled> {
        Answer::later(fetch(self.crew.clone(), pull, permits))
    }
}

impl Serves<RemoveObject> for ContainerActor {
    fn serve(&mut self, RemoveObject { delete, decision, unseen }: RemoveObject) -> Answer<Deleted> {
        let Delete { address, condition, .. } = delete;
        let disk = self.crew.disk.clone();
        Answer::later(async move {
            let job = Job { address, change: Change::Delete { condition, unseen }, show: None, decision };
            match disk.ask(Persist(job)).await? {
                Outcome::Deleted(stamp) => Ok(Deleted { gone: stamp.map(|stamp| (stamp.version, stamp.dot)) }),
                Outcome::Stored { .. } | Outcome::Mended | Outcome::Superseded => {
                    Err(Error::internal("a delete became something else"))
                }
            }
        })
    }
}

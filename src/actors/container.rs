//! The container actor: takes what doors ask, plans it by the collection's policy, and sets it going.
//!
//! Owns: the policies of collections. Asked by: the handle. Asks: memory, eviction, disk, nfr. Bound:
//! `ACTOR_QUEUE_MAX`; callers wait. A new life starts with the default policy for all.

use std::sync::Arc;

use super::body::Body;
use super::disk::DiskActor;
use super::eviction::EvictionActor;
use super::handle::Permits;
use super::memory::MemoryActor;
use super::nfr::NfrActor;
use super::pull::fetch;
use super::push::store;
use super::request::{Delete, Deleted, Pull, Pulled, Push, Pushed};
use super::runtime::{Answer, Ask, Link, Serves};
use crate::error::Error;
use crate::model::{CollectionPolicy, Durability, NfrSpec};
use crate::telemetry::Telemetry;
use crate::tiers::{Change, Job, Keeper, Outcome};

/// The actors that a request is worked on with.
#[derive(Clone)]
pub struct Crew {
    pub(super) keeper: Arc<Keeper>,
    pub(super) memory: Link<MemoryActor>,
    pub(super) eviction: Link<EvictionActor>,
    pub(super) disk: Link<DiskActor>,
    pub(super) nfr: Link<NfrActor>,
    pub(super) object_bytes_max: u64,
    pub(super) telemetry: Arc<Telemetry>,
}

/// The actor.
pub struct ContainerActor {
    crew: Crew,
    default: CollectionPolicy,
}

/// How one object is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When to acknowledge.
    pub durability: Durability,
    /// How to seal.
    pub nfr: NfrSpec,
}

/// Store an object. The permits are held until it is done.
pub struct StoreObject {
    /// What is asked.
    pub push: Push,
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
pub struct RemoveObject(pub Delete);

impl Ask for RemoveObject {
    type Reply = Deleted;
}

impl ContainerActor {
    /// An actor that works with this crew.
    pub fn new(crew: Crew) -> Self {
        ContainerActor { crew, default: CollectionPolicy::default() }
    }

    /// What the collection's policy and the request together ask for.
    fn plan(&self, push: &Push) -> Plan {
        let policy = &self.default;
        Plan { durability: push.durability.unwrap_or(policy.durability), nfr: policy.nfr.overridden(push.nfr) }
    }
}

impl Serves<StoreObject> for ContainerActor {
    fn serve(&mut self, StoreObject { push, body, permits }: StoreObject) -> Answer<Pushed> {
        let plan = self.plan(&push);
        Answer::later(store(self.crew.clone(), plan, push, body, permits))
    }
}

impl Serves<FetchObject> for ContainerActor {
    fn serve(&mut self, FetchObject { pull, permits }: FetchObject) -> Answer<Pulled> {
        Answer::later(fetch(self.crew.clone(), pull, permits))
    }
}

impl Serves<RemoveObject> for ContainerActor {
    fn serve(&mut self, RemoveObject(Delete { address, .. }): RemoveObject) -> Answer<Deleted> {
        let disk = self.crew.disk.clone();
        Answer::later(async move {
            let job = Job { address, change: Change::Delete, show: None };
            match disk.ask(super::disk::Persist(job)).await? {
                Outcome::Deleted(version) => Ok(Deleted { version }),
                Outcome::Stored { .. } | Outcome::Superseded => Err(Error::internal("a delete became something else")),
            }
        })
    }
}

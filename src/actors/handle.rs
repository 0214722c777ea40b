//! The way in: what a door holds. Permits first, so that what is refused has cost nothing yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body::Body;
use super::container::{ContainerActor, Crew, FetchObject, RemoveObject, StoreObject};
use super::cpu::blocking;
use super::frame;
use super::keys::KeysActor;
use super::memory::WriteOut;
use super::neighbours::Neighbours;
use super::page::page;
use super::pull::{absent, from_memory, unasked};
use super::push::within;
use super::quick;
use super::release::{Release, Released};
use super::request::{Delete, Deleted, Found, List, Page, Pull, Pulled, Push, Pushed, Stat};
use super::runtime::{ActorHealth, Link};
use super::scrub::ScrubActor;
use crate::control::Collections;
use crate::error::{Error, Kind, Result};
use crate::limits::{BODY_WINDOW_CHUNKS, CHUNK_BYTES, LIST_LIMIT_MAX, SESSION_POLL};
use crate::model::{Address, Durability, Entry, Head, Level, Session};
use crate::nfr::Keyring;
use crate::telemetry::Telemetry;
use crate::telemetry::events::EventBook;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels::{Outcome, Served};
use crate::tiers::{DiskTier, Keeper, Lacks, Located, Resident};

/// Bytes that one streamed body may have in flight: received, being sealed, and being written.
pub(super) const BODY_BYTES_MAX: u64 = (3 * BODY_WINDOW_CHUNKS * CHUNK_BYTES) as u64;

/// Body permits count in units of this many bytes.
const PERMIT_BYTES: u64 = 4096;

/// What other containers read here may hold this part of the bytes of bodies, beside them.
const LENT_SHARE: usize = 4;

/// Of a caller's deadline, the most that is kept to say why nothing came in time.
const LAST_WORD_MAX: Duration = Duration::from_millis(20);

/// Attempts to write out memory at a stop.
const WRITE_OUT_ATTEMPTS_MAX: usize = 8;

/// A request's share of the container's limits, given back when dropped.
#[derive(Debug)]
pub struct Permits {
    _request: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
    /// Held by what changes something, so that a drain can wait for it and not for readers.
    _change: Option<OwnedSemaphorePermit>,
}

/// What is taken of the container's limits.
#[derive(Clone, Copy, Debug)]
pub struct InUse {
    /// Requests at work.
    pub requests: usize,
    /// Bytes of bodies in flight, rounded up as they are counted.
    pub body_bytes: u64,
    /// The most there can be of both.
    pub bounds: Bounds,
}

/// What a drain wrote out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Objects that memory alone held.
    pub objects: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

/// What bounds the container as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests at work at the same time.
    pub requests_max: usize,
    /// Bytes of bodies in flight.
    pub body_bytes_max: u64,
}

/// The actors that the handle alone asks.
pub struct Doors {
    pub(super) container: Link<ContainerActor>,
    pub(super) scrub: Link<ScrubActor>,
    pub(super) keys: Link<KeysActor>,
}

/// The container, as its doors see it.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) crew: Crew,
    pub(super) doors: Doors,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// The same for what other containers read here: who is asked must not wait for those who ask.
    lent: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    bounds: Bounds,
    draining: AtomicBool,
    /// Set before memory is written out for the last time: what memory alone takes on after that is lost.
    closed: AtomicBool,
    /// Drained by request: still read from, never changed again.
    retired: AtomicBool,
    /// Whether it is still on its way into its site: others may know what it does not.
    joining: AtomicBool,
}

impl Handle {
    /// A handle on these actors.
    pub fn new(crew: Crew, doors: Doors, bounds: Bounds) -> Self {
        let units = (bounds.body_bytes_max / PERMIT_BYTES).min(Semaphore::MAX_PERMITS as u64) as usize;
        Handle(Arc::new(Inner {
            crew,
            doors,
            requests: Arc::new(Semaphore::new(bounds.requests_max)),
            bytes: Arc::new(Semaphore::new(units)),
            lent: Arc::new(Semaphore::new((units / LENT_SHARE).max(1))),
            changes: Arc::new(Semaphore::new(bounds.requests_max)),
            bounds,
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            joining: AtomicBool::new(false),
        }))
    }

    /// An object in memory, answered without waiting for anything.
    pub fn hit(&self, address: &Address) -> Option<Arc<Resident>> {
        if self.0.crew.lets_pull(address) { self.in_memory(address) } else { None }
    }

    fn in_memory(&self, address: &Address) -> Option<Arc<Resident>> {
        let found = self.0.crew.keeper.hit(address)?;
        self.metrics().pulls.one((Outcome(None), Served(Some(Level::Ram))));
        Some(found)
    }

    /// Stores an object.
    pub async fn push(&self, push: Push, body: Body) -> Result<Pushed> {
        let outcome = match self.0.crew.may_change(&push.address, push.size) {
            Ok(()) => {
                let address = push.address.clone();
                // In a box: each step it goes through keeps room for it.
                self.store_somewhere(Box::new(push), body)
                    .await
                    .map_err(|error| self.0.crew.name_quota(&address, error))
            }
            Err(error) => Err(error),
        };
        let level = outcome.as_ref().ok().map(|pushed| match pushed.manifest.durability {
            Durability::Ram => Level::Ram,
            Durability::Disk => Level::Disk,
        });
        self.metrics().pushes.one((Outcome::of(&outcome), Served(level)));
        outcome
    }

    pub(super) async fn store(&self, push: Box<Push>, body: Body) -> Result<Pushed> {
        let in_flight = push.size.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
        let permits = self.permits_to_change(in_flight, push.deadline).await?;
        let pushed = match quick::plan(&self.0.crew, &push) {
            Some(plan) => quick::push(&self.0.crew, plan?, push, body, permits).await?,
            None => self.0.doors.container.ask(StoreObject { push, body, permits }).await?,
        };
        // Not closed yet means that it was in memory before the last writing out began.
        if pushed.manifest.durability == Durability::Ram && self.0.closed.load(Ordering::SeqCst) {
            return Err(shutting_down());
        }
        Ok(pushed)
    }

    /// Reads an object or a range of it.
    pub async fn pull(&self, pull: Pull) -> Result<Pulled> {
        if let Err(error) = self.0.crew.may_pull(&pull.address) {
            self.metrics().pulls.one((Outcome(Some(error.kind())), Served(None)));
            return Err(error);
        }
        self.read(pull).await
    }

    /// The same for somebody else, to whom it is allowed.
    pub async fn read(&self, pull: Pull) -> Result<Pulled> {
        let covered =
            self.covered(pull.address.collection(), Some(&pull.address), pull.session.as_ref(), pull.deadline).await;
        if covered.is_ok()
            && let Some(resident) = self.in_memory(&pull.address)
            && pull.version.is_none_or(|version| version == resident.manifest.version)
        {
            return from_memory(&pull, &resident);
        }
        let outcome = match covered {
            Ok(()) => self.fetch(pull).await,
            Err(error) => Err(error),
        };
        let level = outcome.as_ref().ok().map(|pulled| pulled.level);
        self.metrics().pulls.one((Outcome::of(&outcome), Served(level)));
        outcome
    }

    /// Reads the sealed bytes of a version that this container has, or a range of them.
    pub async fn sealed(&self, pull: Pull, has_ticket: bool) -> Result<Pulled> {
        if !has_ticket {
            self.0.crew.may_pull(&pull.address)?;
        }
        let (lent, deadline) = (self.lent(pull.deadline).await?, pull.deadline);
        within(deadline, "the object could not be read in time", frame::sealed(&self.0.crew, pull, lent)).await
    }

    /// The same of a range that fits into a message.
    pub async fn sealed_piece(&self, pull: Pull) -> Result<Bytes> {
        let (_lent, deadline) = (self.lent(pull.deadline).await?, pull.deadline);
        within(deadline, "the object could not be read in time", frame::piece(&self.0.crew, pull)).await
    }

    /// What reading for another container takes: a share of the bodies' bytes that its own callers cannot be kept from.
    async fn lent(&self, deadline: Duration) -> Result<OwnedSemaphorePermit> {
        self.must_be_joined()?;
        let most = (self.0.bounds.body_bytes_max / PERMIT_BYTES) as usize / LENT_SHARE;
        let units = (BODY_BYTES_MAX / 4).div_ceil(PERMIT_BYTES).min(most.max(1) as u64) as u32;
        let lent = timeout(before(deadline), Arc::clone(&self.0.lent).acquire_many_owned(units)).await;
        lent.ok().and_then(Result::ok).ok_or_else(|| self.at_limit())
    }

    async fn fetch(&self, pull: Pull) -> Result<Pulled> {
        self.0.crew.keeper.memory().missed();
        let permits = self.permits(BODY_BYTES_MAX / 2, pull.deadline).await?;
        self.0.doors.container.ask(FetchObject { pull, permits }).await
    }

    /// What is known of an object.
    pub async fn stat(&self, Stat { address, version, session, deadline }: Stat) -> Result<Found> {
        self.must_be_joined()?;
        self.covered(address.collection(), Some(&address), session.as_ref(), deadline).await?;
        let look = || {
            let (keeper, address) = (Arc::clone(&self.0.crew.keeper), address.clone());
            blocking(move || match keeper.find(&address, version)? {
                Some(Located::Disk(manifest)) if keeper.disk().is_out(&manifest) => {
                    Err(DiskTier::damaged(&address, manifest.version))
                }
                Some(located) => Ok(found(located)),
                None => Err(absent(&keeper, &address, version)),
            })
        };
        let absent = match look().await {
            Err(error) if error.kind() == Kind::NotFound => error,
            outcome => return outcome,
        };
        let asked = self.0.crew.ask_others(&address, version).await?;
        match asked.found {
            Some(Entry { head: Head::Object(manifest), .. }) if version.is_some() => {
                Ok(Found { manifest: Arc::new(manifest), level: Level::Peer })
            }
            Some(_) if version.is_none() => look().await,
            _ => Err(unasked(absent, &asked.silent)),
        }
    }

    /// Deletes an object.
    pub async fn delete(&self, delete: Delete) -> Result<Deleted> {
        let outcome = match self.0.crew.may_delete(&delete.address) {
            Ok(()) => self.remove_somewhere(delete).await,
            Err(error) => Err(error),
        };
        self.metrics().deletes.one(Outcome::of(&outcome));
        outcome
    }

    pub(super) async fn remove(&self, delete: Delete) -> Result<Deleted> {
        let deadline = delete.deadline;
        let _permits = self.permits_to_change(0, deadline).await?;
        within(deadline, "the delete took too long; it may still happen", async {
            let decision = self.0.crew.decide(&delete.address, &delete.condition).await?;
            let mut remove = RemoveObject { delete, decision, unseen: false };
            let deleted = self.0.doors.container.ask(remove.clone()).await?;
            if deleted.gone.is_some() {
                return Ok(deleted);
            }
            // What is not known here may be elsewhere, and the news of it on their way; or with somebody who is silent,
            // and who is to hear of this delete when it is back.
            let asked = self.0.crew.ask_others(&remove.delete.address, None).await?;
            remove.unseen = !asked.silent.is_empty();
            if asked.found.is_none() && !remove.unseen {
                return Ok(deleted);
            }
            self.0.doors.container.ask(remove).await
        })
        .await
    }

    /// Reads a page of a collection.
    pub async fn list(&self, list: List) -> Result<Page> {
        if !(1..=LIST_LIMIT_MAX).contains(&list.limit) {
            return Err(Error::invalid("a page holds 1 to 1000 entries").with("limit", list.limit));
        }
        self.must_be_joined()?;
        self.covered(list.collection.as_str(), None, list.session.as_ref(), list.deadline).await?;
        let silent = match self.neighbours().get() {
            Some(peers) => peers.gather(list.collection.as_str()).await,
            None => Vec::new(),
        };
        let keeper = Arc::clone(&self.0.crew.keeper);
        let page = blocking(move || page(&keeper, &list)).await?;
        Ok(Page { silent, ..page })
    }

    /// Waits until what the caller has seen is here: an answer must not be older. Without an address,
    /// everything it has seen must be that is of the collection, and all of this site.
    pub(super) async fn covered(
        &self,
        collection: &str,
        address: Option<&Address>,
        session: Option<&Session>,
        deadline: Duration,
    ) -> Result<()> {
        let Some(session) = session else { return Ok(()) };
        let look = || {
            let (keeper, address, session) = (Arc::clone(&self.0.crew.keeper), address.cloned(), session.clone());
            blocking(move || keeper.lacks(address.as_ref(), &session))
        };
        let waiting = async {
            let (peers, mut asked) = (self.neighbours().get(), false);
            loop {
                match (look().await?, address, peers) {
                    (Lacks::Nothing, ..) => return Ok(()),
                    (Lacks::Dots(dots), _, Some(peers)) if peers.has_heard(collection, &dots) => return Ok(()),
                    // It is known somewhere: asked for once, and then the news of it will come.
                    (Lacks::Version, Some(address), _) if !asked => drop(self.0.crew.ask_others(address, None).await?),
                    (Lacks::Dots(_), _, Some(peers)) if !asked => peers.catch_up(collection),
                    _ => tokio::time::sleep(SESSION_POLL).await,
                }
                asked = true;
            }
        };
        timeout(before(deadline), waiting).await.unwrap_or_else(|_| {
            let why = "what the session has seen is not here yet; try again, or ask where it was written";
            let error = Error::new(Kind::NotYet, why).with("deadline_ms", deadline.as_millis());
            Err(match address {
                Some(address) => error.with("address", address),
                None => error,
            })
        })
    }

    /// Whether requests are taken.
    pub fn ready(&self) -> bool {
        !self.0.draining.load(Ordering::Acquire)
            && !self.0.retired.load(Ordering::Acquire)
            && !self.0.joining.load(Ordering::Acquire)
    }

    /// Answers nothing that others of the site may know better, until it has joined them.
    pub fn await_site(&self) {
        self.0.joining.store(true, Ordering::Release);
    }

    /// The site is joined.
    pub fn joined(&self) {
        self.0.joining.store(false, Ordering::Release);
    }

    pub(super) fn must_be_joined(&self) -> Result<()> {
        if !self.0.joining.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = "the container is joining its site; try again";
        Err(Error::unavailable(why).retry_after(Duration::from_secs(1)))
    }

    /// What is taken of the container's limits.
    pub fn in_use(&self) -> InUse {
        let Bounds { requests_max, body_bytes_max } = self.0.bounds;
        let free = self.0.bytes.available_permits() as u64 * PERMIT_BYTES;
        InUse {
            requests: requests_max - self.0.requests.available_permits().min(requests_max),
            body_bytes: (body_bytes_max / PERMIT_BYTES * PERMIT_BYTES).saturating_sub(free),
            bounds: self.0.bounds,
        }
    }

    /// Lets entries of level 1 go, as far as the rules allow.
    pub async fn release(&self, release: Release, deadline: Duration) -> Result<Released> {
        self.check_known(&release.which)?;
        within(deadline, "level 1 could not be emptied in time; it goes on", self.0.crew.memory.ask(release)).await
    }

    /// Takes no more changes until it is started anew, waits for those at work, and writes out what
    /// memory alone holds. Reads go on. May be asked again.
    pub async fn retire(&self, deadline: Duration) -> Result<Drained> {
        self.0.retired.store(true, Ordering::Release);
        let all = self.0.bounds.requests_max as u32;
        within(deadline, "changes are still at work; none is taken any more, ask again", async {
            // Nobody closes this semaphore.
            let _none_at_work = self.0.changes.acquire_many(all).await;
            let bytes = self.keeper().memory().usage().dirty_bytes;
            let objects = self.0.crew.memory.ask(WriteOut).await? as u64;
            self.events().close();
            Ok(Drained { objects, bytes })
        })
        .await
    }

    /// The keyring in use.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.0.crew.stages.keyring()
    }

    /// The collections and what they ask for.
    pub fn policies(&self) -> &Arc<Collections> {
        &self.0.crew.collections
    }

    /// The others of the site, once it is joined.
    pub fn neighbours(&self) -> &Neighbours {
        &self.0.crew.neighbours
    }

    /// Where it is counted what happens here.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.0.crew.telemetry
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.crew.telemetry.metrics
    }

    /// What happens here, for whoever watches.
    pub fn events(&self) -> &Arc<EventBook> {
        &self.0.crew.teller.book
    }

    /// How each actor is doing.
    pub fn actors(&self) -> Vec<ActorHealth> {
        let crew = &self.0.crew;
        vec![
            self.0.doors.container.health(),
            crew.memory.health(),
            crew.eviction.health(),
            crew.disk.health(),
            crew.nfr.health(),
            self.0.doors.scrub.health(),
            crew.sync.health(),
            self.0.doors.keys.health(),
        ]
    }

    /// The tiers, for whoever reports on them.
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.0.crew.keeper
    }

    /// Takes no more requests, waits for those at work, and writes out what memory alone holds.
    /// Returns how many objects that were.
    pub async fn drain(&self, within: Duration) -> Result<usize> {
        self.0.draining.store(true, Ordering::Release);
        let all = self.0.bounds.requests_max as u32;
        if timeout(within, self.0.requests.acquire_many(all)).await.is_err() {
            tracing::warn!("requests are still at work at the end of the drain; they are cut off");
        }
        self.0.closed.store(true, Ordering::SeqCst);
        let written = self.write_out().await;
        self.events().close();
        written
    }

    async fn write_out(&self) -> Result<usize> {
        for _ in 1..WRITE_OUT_ATTEMPTS_MAX {
            match self.0.crew.memory.ask(WriteOut).await {
                // An actor that died over it lives again, and what is left is written by its next life.
                Err(error) if error.retryable() => tracing::warn!(%error, "writing out memory is tried again"),
                outcome => return outcome,
            }
        }
        self.0.crew.memory.ask(WriteOut).await
    }

    pub(super) async fn permits_to_change(&self, bytes: u64, deadline: Duration) -> Result<Permits> {
        let change = timeout(before(deadline), Arc::clone(&self.0.changes).acquire_owned()).await;
        let Ok(Ok(change)) = change else { return Err(self.at_limit()) };
        // Looked at with the permit in hand: a drain that does not see this change is seen by it.
        if self.0.retired.load(Ordering::Acquire) {
            return Err(Error::unavailable(
                "the container is drained and takes no changes; start it anew or use another",
            ));
        }
        let permits = self.permits(bytes, deadline).await?;
        Ok(Permits { _change: Some(change), ..permits })
    }

    /// What is passed on to another container takes as much on its way as what is stored here.
    pub(super) async fn permits_to_pass_on(&self, size: Option<u64>, deadline: Duration) -> Result<Permits> {
        self.permits(size.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX), deadline).await
    }

    pub(super) async fn permits(&self, bytes: u64, deadline: Duration) -> Result<Permits> {
        if self.0.draining.load(Ordering::Acquire) {
            return Err(shutting_down());
        }
        self.must_be_joined()?;
        let units = bytes.div_ceil(PERMIT_BYTES).min(self.0.bounds.body_bytes_max / PERMIT_BYTES) as u32;
        let acquired = timeout(before(deadline), async {
            let request = Arc::clone(&self.0.requests).acquire_owned().await;
            let bytes = match units {
                0 => None,
                units => Some(Arc::clone(&self.0.bytes).acquire_many_owned(units).await),
            };
            (request, bytes)
        });
        match acquired.await {
            // The drain went by while this one waited for its place.
            Ok(_) if self.0.draining.load(Ordering::Acquire) => Err(shutting_down()),
            Ok((Ok(request), None)) => Ok(Permits { _request: request, _bytes: None, _change: None }),
            Ok((Ok(request), Some(Ok(bytes)))) => Ok(Permits { _request: request, _bytes: Some(bytes), _change: None }),
            _ => Err(self.at_limit()),
        }
    }

    fn at_limit(&self) -> Error {
        self.metrics().permits_refused.one(());
        Error::busy("the container is at its limit of requests").retry_after(Duration::from_secs(1))
    }
}

/// How long to wait for what has an answer of its own when it does not come: at the deadline itself the door gives up.
fn before(deadline: Duration) -> Duration {
    deadline - LAST_WORD_MAX.min(deadline / 10)
}

fn shutting_down() -> Error {
    Error::unavailable("the container is shutting down; ask another one, or this one once it is back")
        .retry_after(Duration::from_secs(1))
}

fn found(located: Located) -> Found {
    match located {
        Located::Ram(resident) => Found { manifest: Arc::clone(&resident.manifest), level: Level::Ram },
        Located::Disk(manifest) => Found { level: manifest.level(), manifest },
        Located::Peer(manifest, _) => Found { level: Level::Peer, manifest },
    }
}

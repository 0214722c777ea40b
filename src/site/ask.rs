//! Asking all others at once: what is known of an address that nothing is known of here.
//!
//! Many who miss the same thing share one question, and its answer counts for a moment longer: thousands of pulls
//! of what does not exist cost the site ten questions a second.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join, join_all};

use super::source::{Holder, Noted};
use super::wire::{Question, Reply};
use super::{Site, locked};
use crate::error::{Error, Kind, Result};
use crate::limits::ASK_MAX;
use crate::model::{Address, Condition, ContainerId, Dot, Entry, FrameId, Manifest, Name, Version};
use crate::tiers::{Accepted, Arriving, Asked, Decision, Everywhere, Handover, Opened, Peers, Sending};

/// How long an answer of absence counts.
const ABSENT: Duration = Duration::from_millis(100);

/// Questions that are remembered at the same time; beyond that each is asked for itself.
const ASKS_MAX: usize = 16_384;

type Key = (Address, Option<Version>);
type Flight = Shared<BoxFuture<'static, Asked>>;

/// Questions under way, and those just answered.
#[derive(Clone, Default)]
pub(super) struct Asks(Arc<Mutex<HashMap<Key, Flight>>>);

impl Asks {
    /// Something came in at this address: what was said of its absence counts no more.
    pub(super) fn forget(&self, address: &Address) {
        let mut under_way = locked(&self.0);
        if !under_way.is_empty() {
            under_way.remove(&(address.clone(), None));
        }
    }

    async fn ask(&self, site: &Site, key: Key) -> Asked {
        let flight = {
            let mut under_way = locked(&self.0);
            match under_way.get(&key) {
                Some(flight) => flight.clone(),
                None => {
                    let asking = site.clone().ask_all(key.clone());
                    // It goes on also when those who wait for it have gone.
                    let flight = tokio::spawn(asking).map(|asked| asked.unwrap_or_default()).boxed().shared();
                    if under_way.len() < ASKS_MAX {
                        under_way.insert(key.clone(), flight.clone());
                        tokio::spawn(self.clone().expire(key, flight.clone()));
                    }
                    flight
                }
            }
        };
        flight.await
    }

    async fn expire(self, key: Key, flight: Flight) {
        if flight.clone().await.found.is_none() {
            tokio::time::sleep(ABSENT).await;
        }
        let mut under_way = locked(&self.0);
        if under_way.get(&key).is_some_and(|known| known.ptr_eq(&flight)) {
            under_way.remove(&key);
        }
    }
}

impl Site {
    async fn ask_all(self, (address, version): Key) -> Asked {
        let (of_site, of_others) = join(self.ask_own_site(&address, version), self.ask_sites(&address, version)).await;
        let found = of_site.found.into_iter().chain(of_others.found).max_by_key(Entry::version);
        // What this container keeps itself it need not hear of.
        let found = found.filter(|entry| entry.keeper != self.0.me);
        Asked { found, silent: [of_site.silent, of_others.silent].concat() }
    }

    /// Asks the other containers of the site.
    pub(super) async fn ask_own_site(&self, address: &Address, version: Option<Version>) -> Asked {
        let now_ms = self.now_ms();
        let (alive, mut silent) = {
            let members = locked(&self.0.members);
            let alive: Vec<_> = members.alive(now_ms).map(|member| (member.container, member.name.clone())).collect();
            let silent: Vec<_> = members.silent(now_ms).map(|member| member.name.to_string()).collect();
            (alive, silent)
        };
        let (me, question) = (self, &Question::Latest(address.as_str().to_owned(), version));
        let ask = |(container, name)| async move {
            let answer = me.ask_one(&name, question, ASK_MAX).await;
            (container, name, answer)
        };
        let answers = join_all(alive.into_iter().map(ask)).await;
        let mut found: Option<Entry> = None;
        for (container, name, answer) in answers {
            match answer {
                Ok(Reply::Latest(entry)) => {
                    // An old version is asked of who has it, whoever kept it once.
                    let entry = entry.map(|entry| match version {
                        Some(_) => Entry { keeper: container, ..*entry },
                        None => *entry,
                    });
                    found = found.into_iter().chain(entry).max_by_key(Entry::version);
                }
                Ok(_) => silent.push(name.to_string()),
                Err(error) => {
                    tracing::debug!(%error, container = %name, "asked in vain");
                    silent.push(name.to_string());
                }
            }
        }
        Asked { found, silent }
    }
}

impl Peers for Site {
    fn better_for(&self, address: &Address, conditional: bool, size: u64) -> Result<Option<ContainerId>> {
        if self.is_alone() && !conditional {
            return Ok(None);
        }
        let to = if conditional { Some(self.home(address)?) } else { self.roomier(size) };
        Ok(to.filter(|to| *to != self.0.me))
    }

    fn find_collection<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, ()> {
        Site::find_collection(self, name).boxed()
    }

    fn look_again(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = self.refresh_epoch().await {
                tracing::debug!(%error, "who decides cannot be read");
            }
        }
        .boxed()
    }

    fn decide(&self, address: &Address) -> BoxFuture<'_, Result<Decision>> {
        let address = address.clone();
        async move { Site::decide(self, &address).await }.boxed()
    }

    fn hand_over(&self, to: ContainerId, push: Handover, body: Sending) -> BoxFuture<'_, Result<Accepted>> {
        async move {
            let (client, address) = (self.client_of(&push.address, to)?, push.address.clone());
            let pushed = self.push_at(client, push, body).await;
            self.note(to, &pushed);
            pushed.map_err(|error| passed_on(error, &address))
        }
        .boxed()
    }

    fn delete_at(
        &self,
        to: ContainerId,
        address: &Address,
        wanted: (Condition, Option<Version>),
    ) -> BoxFuture<'_, Result<Option<(Version, Dot)>>> {
        let address = address.clone();
        async move {
            let client = self.client_of(&address, to)?;
            let deleted = self.delete_through(client, &address, wanted).await;
            self.note(to, &deleted);
            deleted.map_err(|error| passed_on(error, &address))
        }
        .boxed()
    }

    fn push_at_home(
        &self,
        home: Name,
        push: Handover,
        body: Sending,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Accepted>> {
        async move { Site::push_at_home(self, &home, push, body, deadline).await }.boxed()
    }

    fn delete_at_home(
        &self,
        home: Name,
        address: Address,
        wanted: (Condition, Option<Version>),
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Option<(Version, Dot)>>> {
        async move { Site::delete_at_home(self, &home, &address, wanted, deadline).await }.boxed()
    }

    fn ask(&self, address: &Address, version: Option<Version>) -> BoxFuture<'_, Asked> {
        let key = (address.clone(), version);
        let is_alone = self.is_alone() && !self.has_sites();
        async move { if is_alone { Asked::default() } else { self.0.asks.ask(self, key).await } }.boxed()
    }

    fn ask_sites<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Asked> {
        Site::ask_sites(self, address, None).boxed()
    }

    fn locate(&self, address: &Address) -> BoxFuture<'_, Everywhere> {
        self.locate_all(address)
    }

    fn name_of(&self, container: ContainerId) -> Option<(Option<String>, String)> {
        let far = locked(&self.0.mesh.far).home(container).cloned();
        let own = || self.known_as(container).map(|name| (None, name));
        far.map(|(site, name)| (Some(site.to_string()), name.to_string())).or_else(own)
    }

    fn opened<'a>(
        &'a self,
        address: &'a Address,
        keeper: ContainerId,
        manifest: &'a Arc<Manifest>,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Opened>> {
        async move {
            if self.is_far(keeper) {
                return self.open_far(address, keeper, manifest, range).await;
            }
            let keeps = Holder { container: keeper, ticket: None, is_copy: false };
            let frame = self.sealed_at(address, manifest, vec![keeps])?;
            let frame = Arc::new(Noted { site: self.clone(), keeper, frame });
            Ok(Opened { manifest: Arc::clone(manifest), frame, may_be_copy: false })
        }
        .boxed()
    }

    fn distrust(&self, frame: FrameId) {
        self.0.mesh.spares.distrust(frame);
    }

    fn distrusts(&self, frame: FrameId) -> bool {
        !self.0.mesh.spares.trusts(frame)
    }

    fn is_far(&self, keeper: ContainerId) -> bool {
        Site::is_far(self, keeper)
    }

    fn has_heard(&self, collection: &str, dots: &[Dot]) -> bool {
        self.has_heard_far(collection, dots)
    }

    fn catch_up(&self, collection: &str) {
        self.catch_up_far(collection);
    }

    fn gather<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Vec<String>> {
        self.gather_far(collection).boxed()
    }

    fn plain(
        &self,
        address: &Address,
        keeper: ContainerId,
        version: Version,
        range: Range<u64>,
    ) -> BoxFuture<'_, Result<Arriving>> {
        let address = address.clone();
        async move {
            let arriving = self.plain_at(&address, keeper, version, range).await;
            self.note(keeper, &arriving);
            arriving.map_err(|error| unreachable(error, &address))
        }
        .boxed()
    }
}

/// What went wrong on the way to the container that takes a change is not what the caller could mend.
fn passed_on(error: Error, address: &Address) -> Error {
    match error.kind() {
        // It says itself that nothing was done, and when to come back.
        Kind::Unavailable if error.delay().is_some() => error,
        Kind::Unavailable | Kind::Deadline | Kind::Unauthorised | Kind::Forbidden => {
            let why = "the container of the site that takes this change cannot be reached, and may have taken it; look before you try again";
            let told = Error::unavailable(why).with("address", address).retry_after(Duration::from_secs(1));
            told.with("outcome", "unknown").because(error)
        }
        _ => error,
    }
}

/// A container that cannot be reached is not at fault for what was asked of it.
pub(super) fn unreachable(error: Error, address: &Address) -> Error {
    match error.kind() {
        Kind::Unauthorised | Kind::Forbidden => {
            let why = "the container that keeps the object refuses this one; give both the same --keys file";
            Error::unavailable(why).with("address", address).because(error)
        }
        Kind::Unavailable | Kind::Deadline => {
            let why = "the container that keeps the object does not answer; try again, or start it";
            Error::unavailable(why).with("address", address).because(error)
        }
        _ => error,
    }
}

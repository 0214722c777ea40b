//! Which container of the site takes a change, and having another one take it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream;

use super::body::Body;
use super::container::Crew;
use super::handle::Handle;
use super::push::within;
use super::request::{Delete, Deleted, Push, Pushed};
use crate::error::{Error, Kind, Result};
use crate::model::{Address, Condition, ContainerId, Manifest, Name, NfrSpec, Version};
use crate::tiers::{Accepted, Decision, Handover, Peers, Sending};

/// How often a change is tried whose decision has no home at the moment, and the pause before the second try.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// Bodies up to this length are kept for another try.
const REPLAYED_BYTES_MAX: u64 = 64 << 10;

impl Handle {
    /// Stores an object where it belongs, which may be another container.
    pub(super) async fn store_somewhere(&self, push: Box<Push>, body: Body) -> Result<Pushed> {
        self.must_be_joined()?;
        self.follow(push.after);
        if push.condition == Condition::Always || push.passed_on {
            return self.store_once(push, body).await;
        }
        // Few pushes have a condition; the others are not to carry the room for it.
        Box::pin(self.store_on_condition(push, body)).await
    }

    async fn store_on_condition(&self, mut push: Box<Push>, mut body: Body) -> Result<Pushed> {
        if push.size.is_none_or(|size| size > REPLAYED_BYTES_MAX) {
            // It can be sent once: who decides had better be known.
            if let Some(peers) = self.0.crew.neighbours.get() {
                peers.look_again().await;
            }
            return self.store_once(push, body).await;
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = within(push.deadline, "the body stalled", body.next_chunk()).await? {
            bytes.extend_from_slice(&chunk);
        }
        let (bytes, mut attempt) = (bytes.freeze(), 1);
        loop {
            let outcome = self.store_once(push.clone(), Body::whole(bytes.clone())).await;
            match outcome {
                Err(error) if self.0.crew.may_try_again(&error, attempt).await => attempt += 1,
                outcome => return outcome,
            }
            push.deadline = push.deadline.saturating_sub(PAUSE * attempt);
        }
    }

    /// Whether this site decides conditions in a collection, as far as it knows: two that take each other for the one who
    /// does would ask each other for ever.
    pub fn must_decide(&self, address: &Address) -> Result<()> {
        if self.0.crew.home_of(address)?.as_ref() == Some(self.mesh_policies().site()) {
            return Ok(());
        }
        let why = "the policy of the collection is another one at the site that is asked to decide; try again";
        Err(Error::unavailable(why).with("address", address).retry_after(Duration::from_secs(1)))
    }

    /// What somebody knows of an object is older than what comes now, whichever container gave it.
    fn follow(&self, known: Option<Version>) {
        if let Some(known) = known {
            self.keeper().observe(known);
        }
    }

    async fn store_once(&self, push: Box<Push>, body: Body) -> Result<Pushed> {
        if let Some(home) = self.0.crew.other_home(&push.address, &push.condition, push.passed_on).await? {
            let there = async {
                let _permits = self.permits_to_pass_on(push.size, push.deadline).await?;
                self.0.crew.push_at_home(home, *push, body).await
            };
            return Box::pin(there).await;
        }
        match self.0.crew.better_for(&push.address, &push.condition, push.size, push.passed_on)? {
            None => self.store(push, body).await,
            Some(to) => {
                let there = async {
                    let _permits = self.permits_to_pass_on(push.size, push.deadline).await?;
                    self.0.crew.hand_over(to, *push, body).await
                };
                Box::pin(there).await
            }
        }
    }

    /// Deletes an object where that is decided, which may be another container.
    pub(super) async fn remove_somewhere(&self, delete: Delete) -> Result<Deleted> {
        let mut attempt = 1;
        self.must_be_joined()?;
        self.follow(delete.after);
        loop {
            match self.remove_once(&delete).await {
                Err(error) if !delete.passed_on && self.0.crew.may_try_again(&error, attempt).await => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn remove_once(&self, delete: &Delete) -> Result<Deleted> {
        let Delete { address, condition, passed_on, deadline, .. } = delete;
        if let Some(home) = self.0.crew.other_home(address, condition, *passed_on).await? {
            return self.0.crew.delete_at_home(home, delete).await;
        }
        match self.0.crew.better_for(address, condition, None, *passed_on)? {
            None => self.remove(delete.clone()).await,
            Some(to) => {
                let why = "the delete took too long; it may still happen";
                within(*deadline, why, self.0.crew.delete_at(to, delete)).await
            }
        }
    }
}

impl Crew {
    /// Another container that is to take a change.
    fn better_for(
        &self,
        address: &Address,
        condition: &Condition,
        size: Option<u64>,
        passed_on: bool,
    ) -> Result<Option<ContainerId>> {
        match self.neighbours.get() {
            Some(peers) if !passed_on => {
                peers.better_for(address, *condition != Condition::Always, size.unwrap_or_default())
            }
            _ => Ok(None),
        }
    }

    /// Makes sure that this container may decide a condition, and knows all that counts for it. What is returned
    /// is held until that is committed.
    pub(super) async fn decide(&self, address: &Address, condition: &Condition) -> Result<Option<Decision>> {
        match self.neighbours.get() {
            Some(peers) if *condition != Condition::Always => {
                let deciding = async {
                    self.hear_of(peers, address).await?;
                    peers.decide(address).await.map(Some)
                };
                Box::pin(deciding).await
            }
            _ => Ok(None),
        }
    }

    /// Whoever decides for all sites knows what all of them have, as far as they are reached.
    async fn hear_of(&self, peers: &Arc<dyn Peers>, address: &Address) -> Result<()> {
        let is_home = self.home_of(address)?.is_some_and(|home| home == *self.policies.site());
        if !is_home {
            return Ok(());
        }
        // The news of it may be on their way.
        let asked = peers.ask_sites(address).await;
        self.learn(peers, address, asked.found).await
    }

    /// The site that decides conditions in a collection for all, if its policy names one.
    fn home_of(&self, address: &Address) -> Result<Option<Name>> {
        Ok(self.collections.get(address.collection())?.and_then(|known| known.policy.home_site.clone()))
    }

    /// Who is undecided says so, and nothing was done: who decides may have changed a moment ago. Waits a little
    /// and looks again. Says whether it is worth another try.
    pub(super) async fn may_try_again(&self, error: &Error, attempt: u32) -> bool {
        let is_undecided =
            error.kind() == Kind::Unavailable && error.delay().is_some() && error.context("outcome").is_none();
        let Some(peers) = self.neighbours.get().filter(|_| is_undecided && attempt < ATTEMPTS_MAX) else {
            return false;
        };
        tokio::time::sleep(PAUSE * attempt).await;
        peers.look_again().await;
        true
    }

    /// Takes over what the others know of a collection.
    pub(super) async fn find_collection(&self, name: &Name) {
        if let Some(peers) = self.neighbours.get() {
            peers.find_collection(name).await;
        }
    }

    /// Has another container store an object.
    async fn hand_over(&self, to: ContainerId, push: Push, body: Body) -> Result<Pushed> {
        let accepted = self.peers(&push.address)?.hand_over(to, handover(&push), sending(body)).await?;
        Ok(self.pushed_elsewhere(push, accepted))
    }

    /// The other site that decides conditions in a collection, if one does.
    async fn other_home(&self, address: &Address, condition: &Condition, passed_on: bool) -> Result<Option<Name>> {
        let Some(peers) = self.neighbours.get().filter(|_| !passed_on && *condition != Condition::Always) else {
            return Ok(None);
        };
        if self.collections.get(address.collection())?.is_none() {
            // Another site may know who decides.
            peers.find_collection(&address.collection().parse()?).await;
        }
        Ok(self.home_of(address)?.filter(|home| home != self.policies.site()))
    }

    /// Has another site store an object, whose condition that one decides.
    async fn push_at_home(&self, home: Name, push: Push, body: Body) -> Result<Pushed> {
        self.may_leave(&push.address, &home)?;
        let peers = self.peers(&push.address)?;
        let accepted = peers.push_at_home(home, handover(&push), sending(body), push.deadline).await?;
        Ok(self.pushed_elsewhere(push, accepted))
    }

    fn pushed_elsewhere(&self, push: Push, accepted: Accepted) -> Pushed {
        let Accepted { version, dot, size, digest, durability, created } = accepted;
        // What is written here next is later.
        self.keeper.observe(version);
        let manifest = Manifest {
            version,
            dot,
            replaces: None,
            size,
            digest,
            content_type: push.content_type,
            meta: push.meta,
            modified_ms: self.keeper.now_ms(),
            expires_ms: None,
            nfr: NfrSpec::default().overridden(push.nfr),
            durability,
            seal: None,
            moves: 0,
        };
        Pushed { manifest: Arc::new(manifest), created }
    }

    /// Has another site delete an object, whose condition that one decides.
    async fn delete_at_home(&self, home: Name, delete: &Delete) -> Result<Deleted> {
        let Delete { address, condition, after, deadline, .. } = delete;
        let wanted = (condition.clone(), *after);
        let gone = self.peers(address)?.delete_at_home(home, address.clone(), wanted, *deadline).await?;
        gone.iter().for_each(|(version, _)| self.keeper.observe(*version));
        Ok(Deleted { gone })
    }

    /// Has another container delete an object.
    async fn delete_at(&self, to: ContainerId, delete: &Delete) -> Result<Deleted> {
        let wanted = (delete.condition.clone(), delete.after);
        let gone = self.peers(&delete.address)?.delete_at(to, &delete.address, wanted).await?;
        Ok(Deleted { gone })
    }
}

fn handover(push: &Push) -> Handover {
    Handover {
        address: push.address.clone(),
        durability: push.durability,
        nfr: push.nfr,
        content_type: push.content_type.clone(),
        meta: push.meta.clone(),
        expect: push.expect,
        condition: push.condition.clone(),
        ttl_s: push.ttl_s,
        after: push.after,
        size: push.size,
    }
}

fn sending(body: Body) -> Sending {
    let next = |body: Option<Body>| async move {
        let mut body = body?;
        match body.next_chunk().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
            Ok(None) => None,
            Err(error) => Some((Err(io::Error::other(error.to_string())), None)),
        }
    };
    stream::unfold(Some(body), next).boxed()
}

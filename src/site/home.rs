//! Deciding conditions: one container of the site decides for an address, its home, and knows what all the others
//! know when it does.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::epoch::Epoch;
use super::wire::{Question, Reply};
use super::{Site, locked};
use crate::error::{Error, Result};
use crate::limits::ASK_MAX;
use crate::model::{Address, ContainerId, Entry};
use crate::tiers::{Deciding, Decision};

/// How long a question waits for decisions that are under way here.
const UNDER_WAY_MAX: Duration = Duration::from_secs(5);

/// Stands for the epoch of a container that has no record and is alone.
const ALONE: u64 = 0;

/// How often a decision begins again because the members changed.
const ATTEMPTS_MAX: usize = 4;

/// Decisions under way: at which address, of which epoch.
#[derive(Clone, Default)]
pub(super) struct Decisions(Arc<Book>);

#[derive(Default)]
struct Book {
    under_way: Mutex<HashMap<Address, Vec<u64>>>,
    ended: Notify,
}

/// A decision under way; it ends when this is dropped.
struct UnderWay {
    site: Site,
    address: Address,
    epoch: u64,
}

impl Deciding for UnderWay {
    fn holds(&self) -> bool {
        let now = locked(&self.site.0.epoch).as_ref().map_or(ALONE, |epoch| epoch.number);
        now == self.epoch && if now == ALONE { self.site.decides_alone() } else { self.site.has_lease() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let decisions = &self.site.0.decisions.0;
        let mut under_way = locked(&decisions.under_way);
        if let Some(epochs) = under_way.get_mut(&self.address) {
            let at = epochs.iter().position(|epoch| *epoch == self.epoch);
            at.map(|at| epochs.swap_remove(at));
            if epochs.is_empty() {
                under_way.remove(&self.address);
            }
        }
        drop(under_way);
        decisions.ended.notify_waiters();
    }
}

impl Decisions {
    fn begin(&self, address: &Address, epoch: u64) {
        locked(&self.0.under_way).entry(address.clone()).or_default().push(epoch);
    }

    /// Whether nothing is under way.
    pub(super) fn have_ended(&self) -> bool {
        locked(&self.0.under_way).is_empty()
    }

    /// Waits until nothing is under way.
    pub(super) async fn all_ended(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.have_ended() {
                return;
            }
            ended.await;
        }
    }

    /// Waits until nothing of an older epoch is under way at an address.
    async fn older_ended(&self, address: &Address, epoch: u64) {
        loop {
            let ended = self.0.ended.notified();
            let older = locked(&self.0.under_way).get(address).is_some_and(|all| all.iter().any(|of| *of < epoch));
            if !older {
                return;
            }
            ended.await;
        }
    }
}

impl Site {
    /// Who decides at an address.
    pub(super) fn home(&self, address: &Address) -> Result<ContainerId> {
        let epoch = locked(&self.0.epoch).clone();
        match epoch.and_then(|epoch| epoch.home(address)) {
            Some(home) => Ok(home),
            // Nobody to share the site with was ever heard, and there is no record of anybody.
            None if self.is_alone() => Ok(self.0.me),
            None => Err(undecided("the site has no list of its members; its NATS server needs JetStream", address)),
        }
    }

    /// Whether nobody else of the site was heard but who left in order. Who hears itself hears the others as well.
    pub(super) fn is_alone(&self) -> bool {
        locked(&self.0.members).all().all(|member| member.left)
    }

    /// Whether there is nobody else to decide, as far as this container hears.
    fn decides_alone(&self) -> bool {
        self.is_alone() && (!self.0.parts.bus.describe().is_shared() || self.has_lease())
    }

    fn begin(&self, address: &Address, epoch: u64) -> Decision {
        self.0.decisions.begin(address, epoch);
        Arc::new(UnderWay { site: self.clone(), address: address.clone(), epoch })
    }

    /// Makes sure that this container decides at an address, and knows what every member does. What is returned is
    /// held until the decision is committed.
    pub(super) async fn decide(&self, address: &Address) -> Result<Decision> {
        let mut epoch = locked(&self.0.epoch).clone();
        if epoch.is_none() && self.decides_alone() {
            return Ok(self.begin(address, ALONE));
        }
        for _ in 0..ATTEMPTS_MAX {
            let now = match epoch.take() {
                Some(epoch) => epoch,
                None => self.refresh_epoch().await.map_err(|error| {
                    undecided("the list of the site's members cannot be read", address).because(error)
                })?,
            };
            if now.home(address) != Some(self.0.me) {
                return Err(undecided("another container decides here since a moment ago; try again", address));
            }
            if self.0.retreating.load(Ordering::Acquire) {
                return Err(undecided("this container is about to stop; ask another one", address));
            }
            if !self.has_lease() {
                let why = "this container is cut off from its site and cannot tell whether it still decides; try again";
                return Err(undecided(why, address));
            }
            // Who was cut off hears nobody at first, and may have been struck off meanwhile: the record tells.
            if now.members.iter().any(|member| *member != self.0.me && !self.may_live(*member)) {
                let fresh = self.refresh_epoch().await.map_err(|error| {
                    undecided("the list of the site's members cannot be read", address).because(error)
                })?;
                if fresh.number != now.number {
                    epoch = Some(fresh);
                    continue;
                }
            }
            let decision = self.begin(address, now.number);
            if locked(&self.0.epoch).as_ref().is_some_and(|known| known.number != now.number) {
                continue;
            }
            // Once more: a stop that did not see this decision is seen by it.
            if self.0.retreating.load(Ordering::Acquire) {
                continue;
            }
            if self.ask_members(address, &now).await? {
                return Ok(decision);
            }
        }
        Err(undecided("the site's members change all the time; try again", address))
    }

    /// Asks every other member of an epoch what it knows, and takes it in. `false` when there is a newer epoch.
    async fn ask_members(&self, address: &Address, epoch: &Epoch) -> Result<bool> {
        let question = &Question::Decide(address.as_str().to_owned(), epoch.number);
        let others = epoch.members.iter().copied().filter(|member| *member != self.0.me && self.may_live(*member));
        let ask = |member: ContainerId| async move {
            let name = locked(&self.0.members).get(member).map(|member| member.name.clone());
            let unknown = || {
                let why = "a member of the site has not been heard yet, and may know of a newer version; try again";
                undecided(why, address).with("member", format!("{:016x}", member.0))
            };
            let name = name.ok_or_else(unknown)?;
            let silent = |error| {
                let why = "a member of the site does not answer, and may know of a newer version; try again";
                undecided(why, address).with("member", &name).because(error)
            };
            match self.ask_one(&name, question, ASK_MAX).await.map_err(silent)? {
                Reply::Decide(number, known) => Ok((number, known)),
                Reply::Refused(why) => Err(undecided("a member of the site refuses", address).because(why)),
                _ => Err(Error::internal("another container answers something else")),
            }
        };
        let mut lessons: Vec<(Address, Entry)> = Vec::new();
        for answer in join_all(others.map(ask)).await {
            let (number, known) = answer?;
            if number > epoch.number {
                return Ok(false);
            }
            lessons.extend(known.map(|entry| (address.clone(), *entry)));
        }
        if !lessons.is_empty() {
            let learnt = self.blocking(move |keeper| keeper.learn(&lessons, &[])).await?;
            self.report(&learnt);
        }
        Ok(true)
    }

    /// Answers who decides in this epoch: no decision of an older one is made here from now on.
    pub(super) async fn decided(&self, address: &Address, number: u64) -> Result<u64> {
        let known = locked(&self.0.epoch).as_ref().map_or(0, |epoch| epoch.number);
        let known = if known < number { self.refresh_epoch().await?.number } else { known };
        let waited = tokio::time::timeout(UNDER_WAY_MAX, self.0.decisions.older_ended(address, number)).await;
        waited.map_err(|_| Error::busy("a decision here takes long; try again"))?;
        Ok(known.max(number))
    }
}

/// Why nobody decides at the moment.
fn undecided(why: &'static str, address: &Address) -> Error {
    Error::unavailable(why).with("address", address).retry_after(Duration::from_secs(1))
}

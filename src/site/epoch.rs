//! Who decides: the site's members, in a record that is changed by compare-and-set and numbered anew with each
//! change. The home of an address is chosen among them, so that exactly one container decides its conditions.
//!
//! A member that is silent is struck off, but only when its own lease has surely ended: it counts the time from when
//! it sent what came back to it, the others from when they heard it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::{self, Said};
use super::{Site, locked};
use crate::bus::{Log, Message, Subject};
use crate::error::{Error, Kind, Result};
use crate::model::{Address, ContainerId, fingerprint, mix};

/// How long a container decides after it was last heard by itself.
pub(super) const LEASE_MS: u64 = 5_000;

/// How long the others wait until they believe that it does not decide any more.
pub(super) const STRIKE_MS: u64 = 10_000;

/// How often the record is read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Attempts to change the record before somebody else is let go first for good.
const ATTEMPTS_MAX: usize = 16;

/// The members, as of one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Epoch {
    /// Greater with each change, for ever.
    pub number: u64,
    /// Sorted.
    pub members: Vec<ContainerId>,
}

impl Said for Epoch {
    const KIND: &'static str = "epoch";
}

impl Epoch {
    /// Who decides at an address: the one of the highest score. A member more or less moves few addresses.
    pub(super) fn home(&self, address: &Address) -> Option<ContainerId> {
        let at = fingerprint(address.as_str().as_bytes());
        self.members.iter().copied().max_by_key(|member| (mix(at ^ mix(member.0)), *member))
    }
}

/// What the log has for the list of the members.
#[derive(Debug, PartialEq)]
enum Record {
    /// Nothing yet.
    None,
    /// What a member wrote.
    Of(Epoch),
    /// What no container of the site wrote.
    Strange,
}

impl Record {
    fn believed(self) -> Option<Epoch> {
        match self {
            Record::Of(epoch) => Some(epoch),
            Record::None | Record::Strange => None,
        }
    }
}

impl Site {
    /// Whether no other container can be asked at the moment.
    fn hears_nobody(&self) -> bool {
        locked(&self.0.members).alive(self.now_ms()).next().is_none()
    }

    fn epoch_subject(&self) -> Result<Subject> {
        format!("mesh.log.{}.epoch", self.0.parts.site).parse()
    }

    /// The record as it is now, and its place.
    async fn read_epoch(&self, log: &dyn Log) -> Result<(u64, Record)> {
        let subject = self.epoch_subject()?;
        let Some(logged) = log.last(&subject).await? else { return Ok((0, Record::None)) };
        match self.believe::<Epoch>(subject.as_str(), &logged.message.body) {
            Ok(epoch) => Ok((logged.place, Record::Of(epoch))),
            Err(error) => {
                tracing::debug!(%error, "the list of the site's members is not believed");
                Ok((logged.place, Record::Strange))
            }
        }
    }

    /// Changes who the members are, unless they are that already. `change` says what is to become of them.
    pub(super) async fn change_epoch(&self, change: impl Fn(&mut Vec<ContainerId>)) -> Result<()> {
        let (log, subject) = (self.log().await?, self.epoch_subject()?);
        for _ in 0..ATTEMPTS_MAX {
            let (place, found) = self.read_epoch(&*log).await?;
            let known = locked(&self.0.epoch).clone();
            if found == Record::Strange && known.is_none() && !self.hears_nobody() {
                // Whoever begins a new list here would decide beside those who go by the old one.
                let why =
                    "a stranger wrote over the list of the site's members; those who know it put it back, try again";
                return Err(Error::unavailable(why));
            }
            let found = found.believed();
            // A record that is older than what was known comes from a log that was put back.
            let newest = found.clone().into_iter().chain(known).max_by_key(|epoch| epoch.number);
            let mut members = newest.as_ref().map(|epoch| epoch.members.clone()).unwrap_or_default();
            change(&mut members);
            members.sort_unstable();
            members.dedup();
            if found.as_ref() == newest.as_ref() && found.as_ref().is_some_and(|found| found.members == members) {
                *locked(&self.0.epoch) = found;
                return Ok(());
            }
            // After a log that was lost with all who knew it, the clock keeps the numbers growing.
            let number = newest.map_or(0, |epoch| epoch.number).saturating_add(1).max(self.keeper().now_ms());
            let next = Epoch { number, members };
            let body = wire::write(&self.ring(), subject.as_str(), &next)?;
            match log.append_behind(place, Message::to(subject.clone(), body)).await {
                Ok(_) => {
                    tracing::info!(
                        epoch = next.number,
                        members = next.members.len(),
                        "the site's members have changed"
                    );
                    *locked(&self.0.epoch) = Some(next);
                    return Ok(());
                }
                Err(error) if error.kind() == Kind::PreconditionFailed => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::busy("the site's members change all the time; try again"))
    }

    /// The members as they are now, as far as this container can tell.
    pub(super) async fn refresh_epoch(&self) -> Result<Epoch> {
        let log = self.log().await?;
        let (_, found) = self.read_epoch(&*log).await?;
        if found == Record::Strange && locked(&self.0.epoch).is_some() {
            self.change_epoch(|_| ()).await?;
        }
        let newest = {
            let mut known = locked(&self.0.epoch);
            let newest = found.believed().into_iter().chain(known.take()).max_by_key(|epoch| epoch.number);
            known.clone_from(&newest);
            newest
        };
        newest.ok_or_else(|| Error::unavailable("the site has no list of its members yet; try again"))
    }

    /// Adds this container to the members.
    pub(super) async fn enter_epoch(&self) -> Result<()> {
        let me = self.0.me;
        self.change_epoch(move |members| members.push(me)).await
    }

    /// Takes this container from the members: another one decides from now on.
    pub(super) async fn leave_epoch(&self) -> Result<()> {
        let me = self.0.me;
        self.change_epoch(move |members| members.retain(|member| *member != me)).await
    }

    /// Whether this container was heard by itself not long ago: the others count it in as well, then.
    pub(super) fn has_lease(&self) -> bool {
        let echoed_ms = self.0.echoed_ms.load(std::sync::atomic::Ordering::Acquire);
        echoed_ms > 0 && self.now_ms().saturating_sub(echoed_ms) < LEASE_MS
    }

    /// Members that have been silent for so long that they decide nothing any more.
    fn struck(&self, epoch: &Epoch) -> Vec<ContainerId> {
        let now_ms = self.now_ms();
        // Who was never heard counts from when this container began to listen.
        let silence = |heard_ms: u64| now_ms.saturating_sub(heard_ms.max(self.0.joined_ms)) > STRIKE_MS;
        let members = locked(&self.0.members);
        let others = epoch.members.iter().copied().filter(|member| *member != self.0.me);
        others.filter(|member| silence(members.get(*member).map_or(0, |member| member.heard_ms))).collect()
    }

    /// Whether a member may still decide, or keep something that nobody else has heard of.
    pub(super) fn may_live(&self, member: ContainerId) -> bool {
        let now_ms = self.now_ms();
        let members = locked(&self.0.members);
        let heard_ms = members.get(member).map_or(0, |member| member.heard_ms).max(self.0.joined_ms);
        now_ms.saturating_sub(heard_ms) <= STRIKE_MS
    }
}

/// Keeps the record as it should be.
pub(super) async fn keep(site: Site) {
    let mut complained = false;
    loop {
        let kept = async {
            let retreating = || site.0.retreating.load(std::sync::atomic::Ordering::Acquire);
            let epoch = match site.refresh_epoch().await {
                // It could not leave the list when it retreated: who asks it meanwhile finds nobody who decides.
                Ok(epoch) if retreating() && epoch.members.contains(&site.0.me) && site.0.decisions.have_ended() => {
                    site.leave_epoch().await?;
                    epoch
                }
                Ok(epoch) if epoch.members.contains(&site.0.me) => epoch,
                outcome if retreating() => outcome?,
                Ok(_) | Err(_) => {
                    site.enter_epoch().await?;
                    site.refresh_epoch().await?
                }
            };
            let struck = site.struck(&epoch);
            // Who is cut off itself hears nobody, and strikes nobody.
            if !struck.is_empty() && site.has_lease() {
                site.change_epoch(|members| members.retain(|member| !struck.contains(member))).await?;
            }
            Ok::<_, Error>(())
        };
        match kept.await {
            Ok(()) => complained = false,
            Err(error) if !complained => {
                complained = true;
                site.forget_log();
                tracing::warn!(%error, "the list of the site's members cannot be kept; conditions may find no decision");
            }
            // It may have to be made again.
            Err(_) => site.forget_log(),
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

impl Site {
    /// The log is opened anew at its next use.
    pub(super) fn forget_log(&self) {
        *locked(&self.0.log) = None;
    }

    /// The site's log, opened where it is not yet.
    pub(super) async fn log(&self) -> Result<Arc<dyn Log>> {
        if let Some(log) = locked(&self.0.log).clone() {
            return Ok(log);
        }
        let site = &self.0.parts.site;
        let name = format!("MESH_LOG_{}", site.as_str().to_uppercase().replace('-', "_"));
        let log = self.0.parts.bus.log(&name, &format!("mesh.log.{site}.>").parse()?).await?;
        let log: Arc<dyn Log> = Arc::from(log);
        *locked(&self.0.log) = Some(Arc::clone(&log));
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_home_to_its_share_and_a_new_one_moves_few() {
        let epoch = |count: u64| Epoch { number: 1, members: (0..count).map(|id| ContainerId(id * 77)).collect() };
        let homes = |epoch: &Epoch| -> Vec<ContainerId> {
            (0..4000).map(|n| epoch.home(&format!("c/{n}").parse().unwrap()).unwrap()).collect()
        };
        let (four, five) = (homes(&epoch(4)), homes(&epoch(5)));
        for member in epoch(4).members {
            let share = four.iter().filter(|home| **home == member).count();
            assert!((800..1200).contains(&share), "{member:?}: {share}");
        }
        let moved = four.iter().zip(&five).filter(|(old, new)| old != new).count();
        assert!((600..1000).contains(&moved), "{moved}");
        assert_eq!(Epoch { number: 1, members: Vec::new() }.home(&"c/k".parse().unwrap()), None);
    }
}

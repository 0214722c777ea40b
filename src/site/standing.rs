//! How the site stands, as far as this container can say.

use super::{HEARD_MAX, Member, Site, locked};
use crate::bus::Described;
use crate::error::Result;
use crate::limits::OUTBOX_MAX;
use crate::model::ContainerId;

/// The site as a whole.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The record of who decides: its number, and how many share the decisions. Nothing where it was never read.
    pub epoch: Option<(u64, usize)>,
    /// What carries its messages.
    pub bus: Described,
}

/// How it stands with another container.
#[derive(Clone, Debug)]
pub struct PeerStanding {
    /// Who it is.
    pub member: Member,
    /// Whether it can be asked.
    pub alive: bool,
    /// Milliseconds since it was heard.
    pub heard_ago_ms: u64,
    /// Changes that it had when it was heard last, and this container lacks.
    pub ahead: u64,
    /// Changes that are here, and that it lacked then.
    pub behind: u64,
    /// Requests to it.
    pub asked: u64,
    /// Of those, how many it did not answer, or not as it should.
    pub failed: u64,
    /// Why the last of those failed.
    pub last_error: Option<String>,
    /// How long its last answer on the bus took.
    pub took_ns: Option<u64>,
}

/// A queue between this container and the others.
#[derive(Clone, Copy, Debug)]
pub struct SiteQueue {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// How many wait.
    pub used: u64,
    /// The most there can be.
    pub bound: u64,
    /// How many found no place since the start; nothing where they wait for one.
    pub lost: Option<u64>,
}

impl Site {
    /// Notes what came of a request over HTTP.
    pub(super) fn note<T>(&self, to: ContainerId, outcome: &Result<T>) {
        let name = locked(&self.0.members).get(to).map(|member| member.name.clone());
        if let Some(name) = name {
            self.0.books.note(&name, outcome, None);
        }
    }

    /// This container's identity.
    pub fn me(&self) -> ContainerId {
        self.0.me
    }

    /// Where others reach this container.
    pub fn url(&self) -> &str {
        &self.0.parts.url
    }

    /// How full this container is, and whether it takes changes, as the others are told.
    pub fn own_load(&self) -> (super::Load, bool) {
        (self.0.parts.load)()
    }

    /// The site as a whole.
    pub fn standing(&self) -> Standing {
        let epoch = locked(&self.0.epoch).as_ref().map(|epoch| (epoch.number, epoch.members.len()));
        Standing { epoch, bus: self.0.parts.bus.describe() }
    }

    /// How it stands with each of the others, by name.
    pub fn peers(&self) -> Vec<PeerStanding> {
        let (now_ms, vector, own) = (self.now_ms(), self.keeper().vector(), self.keeper().last_dot());
        let standing = |(member, alive): (Member, bool)| {
            let (ahead, behind) = self.0.books.apart(member.container, &vector, own);
            let tally = self.0.books.tally(&member.name);
            PeerStanding {
                alive,
                heard_ago_ms: now_ms.saturating_sub(member.heard_ms),
                ahead,
                behind,
                asked: tally.asked,
                failed: tally.failed,
                last_error: tally.last_error,
                took_ns: tally.took_ns,
                member,
            }
        };
        self.members().into_iter().map(standing).collect()
    }

    /// What waits between this container and the others.
    pub fn queues(&self) -> Vec<SiteQueue> {
        let (untold, lost) = self.keeper().untold();
        let heard = self.0.heard.max_capacity() - self.0.heard.capacity();
        let mut queues = vec![
            SiteQueue { name: "news", unit: "changes", used: untold, bound: OUTBOX_MAX as u64, lost: Some(lost) },
            SiteQueue { name: "heard", unit: "messages", used: heard as u64, bound: HEARD_MAX as u64, lost: None },
        ];
        queues.extend(locked(&self.0.gauges).iter().map(|(name, gauge)| SiteQueue {
            name,
            unit: "messages",
            used: gauge.waiting() as u64,
            bound: gauge.bound() as u64,
            lost: Some(gauge.lost()),
        }));
        queues
    }
}

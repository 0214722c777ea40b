//! Where a new object goes: to this container, unless it is much fuller than another one or takes nothing any more.
//!
//! A container's utilisation is what its disk would hold with the object, of what it should hold at most. Above a
//! handful of containers two are drawn and the emptier one is taken: as good as looking at all, and no two pushers
//! run to the same one.

use super::members::Member;
use super::{Load, Site, locked};
use crate::client::{Client, DeleteOptions, PushOptions, Upload};
use crate::error::{Error, Result};
use crate::limits::TICKET_MS;
use crate::model::{Address, Condition, ContainerId, Dot, Incarnation, Session, Version, mix};
use crate::nfr::Grant;
use crate::tiers::{Accepted, Handover, Sending};

/// Below this utilisation, in thousandths, a container keeps what it is brought: nearness is worth more.
const EASY: u64 = 700;

/// How much emptier, in thousandths, another one must be for a body to travel there.
const WORTH_IT: u64 = 100;

/// Up to so many are looked at all.
const HANDFUL: usize = 5;

impl Load {
    /// What the disk would hold with so many bytes more, in thousandths of what it should hold.
    pub(super) fn with(&self, size: u64) -> u64 {
        let held = u128::from(self.disk_bytes.saturating_add(size)) * 1000;
        u64::try_from(held / u128::from(self.disk_budget.max(1))).unwrap_or(u64::MAX)
    }
}

impl Site {
    /// Another container with more room for an object of this size, where that is worth the way.
    pub(super) fn roomier(&self, size: u64) -> Option<ContainerId> {
        let (load, takes_changes) = (self.0.parts.load)();
        let own = load.with(size);
        if takes_changes && own <= EASY {
            return None;
        }
        let now_ms = self.now_ms();
        let others: Vec<Member> =
            locked(&self.0.members).alive(now_ms).filter(|member| member.takes_changes).cloned().collect();
        let best = choose(&others, size, mix(self.0.parts.telemetry.ticks_ns()))?;
        let is_better = !takes_changes || best.load.with(size) + WORTH_IT <= own;
        is_better.then_some(best.container)
    }

    /// Stores an object at another container.
    pub(super) async fn push_at(&self, client: Client, push: Handover, body: Sending) -> Result<Accepted> {
        let Handover { address, durability, nfr, content_type, meta, expect, condition, ttl_s, size, after } = push;
        let options = PushOptions {
            durability,
            nfr: Some(nfr.to_string()).filter(|text| !text.is_empty()),
            content_type,
            meta,
            content_digest: expect,
            condition,
            ttl_s,
            session: session(&address, after),
            peer: Some(self.proof(&address)?),
        };
        let pushed = client.push(&address, Upload::stream(body, size), &options).await?;
        let strange = |what: &'static str| Error::internal("another container answers strangely").because(what);
        Ok(Accepted {
            version: pushed.version,
            dot: dot_of(pushed.session.as_deref(), &address).ok_or_else(|| strange("no dot"))?,
            size: pushed.size,
            digest: pushed.digest,
            durability: pushed.durability.parse()?,
            created: pushed.created,
        })
    }

    /// Deletes an object through another container.
    pub(super) async fn delete_through(
        &self,
        client: Client,
        address: &Address,
        (condition, after): (Condition, Option<Version>),
    ) -> Result<Option<(Version, Dot)>> {
        let session = session(address, after);
        let options = DeleteOptions { condition, session, peer: Some(self.proof(address)?) };
        let deleted = client.delete_with(address, &options).await?;
        let Some(version) = deleted.version else { return Ok(None) };
        let dot = dot_of(deleted.session.as_deref(), address);
        Ok(Some((version.parse()?, dot.ok_or_else(|| Error::internal("another container answers without a dot"))?)))
    }

    fn proof(&self, address: &Address) -> Result<String> {
        self.ring().ticket(address, Grant::Peer, self.keeper().now_ms().saturating_add(TICKET_MS))
    }
}

/// The emptiest of a handful, or of two that are drawn.
pub(super) fn choose(members: &[Member], size: u64, draw: u64) -> Option<&Member> {
    if members.len() <= HANDFUL {
        return members.iter().min_by_key(|member| member.load.with(size));
    }
    let count = members.len() as u64;
    let first = draw % count;
    let second = (first + 1 + (draw >> 32) % (count - 1)) % count;
    [first, second].into_iter().filter_map(|at| members.get(at as usize)).min_by_key(|member| member.load.with(size))
}

/// What tells another container which version the change comes after.
fn session(address: &Address, after: Option<Version>) -> Option<String> {
    let mut session = Session::default();
    session.note(address, after?, Dot { incarnation: Incarnation(0), seq: 0 });
    Some(session.to_string())
}

fn dot_of(session: Option<&str>, address: &Address) -> Option<Dot> {
    session?.parse::<Session>().ok()?.dot_of(address)
}

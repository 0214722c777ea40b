//! Deciding a change: what is known of an address, and a stamp that is given before anything else can
//! happen there. Objects of class `ram` are shown beside the commits, so a look alone decides nothing.

use std::time::Duration;

use super::{Keeper, Known};
use crate::error::{Error, Result};
use crate::limits::DECIDE_ATTEMPTS_MAX;
use crate::model::{Address, Condition, Entry, Head, Quota};
use crate::tiers::Decision;
use crate::tiers::rules::Rules;
use crate::tiers::sequencer::Stamp;

impl Keeper {
    /// Decides a change by what both levels know, and stamps it in the same moment. There is no stamp when
    /// `wanted` says that nothing is to be done. The caller holds `order`.
    pub(super) fn decide(
        &self,
        head: Option<&Head>,
        other: Option<&Entry>,
        address: &Address,
        wanted: impl Fn(&Known) -> Result<bool>,
    ) -> Result<(Known, Option<Stamp>)> {
        for _ in 0..DECIDE_ATTEMPTS_MAX {
            let ticket = self.memory.ticket(address);
            let known = self.known(head, other, address);
            if !wanted(&known)? {
                return Ok((known, None));
            }
            if let Some(stamp) = self.memory.if_unchanged(ticket, address, || self.stamp(known.version)) {
                return Ok((known, Some(stamp?)));
            }
        }
        Err(crowded(address))
    }

    /// Whether deciding must wait for the commit under way: what it stores counts for a condition and for a
    /// quota, and shows only when it is done.
    pub(super) fn must_wait(condition: &Condition, rules: &Rules) -> bool {
        *condition != Condition::Always || rules.quota != Quota::default()
    }

    /// Whether a push of this size would be refused as things are. The commit decides; but a body that would
    /// be refused anyway need not arrive first.
    pub fn foresee(&self, address: &Address, size: u64, condition: &Condition) -> Result<()> {
        let rules = self.rules(address)?;
        if !Self::must_wait(condition, &rules) {
            return Ok(());
        }
        let (head, other) = (self.disk.head(address)?, self.disk.entry(address)?);
        let known = self.known(head.as_ref(), other.as_ref(), address);
        condition.check(known.live)?;
        let now = self.usage_of(address.collection());
        rules.quota.check(now, known.after(now, size))
    }

    /// Whether [`Keeper::foresee`] has anything to look at.
    pub fn foresees(&self, address: &Address, condition: &Condition) -> bool {
        self.rulebook.rules(address.collection()).is_some_and(|rules| Self::must_wait(condition, &rules))
    }
}

/// Refuses to decide what another container may be deciding by now.
pub(super) fn still_decides(address: &Address, decision: Option<&Decision>) -> Result<()> {
    match decision {
        Some(decision) if !decision.holds() => {
            let why = "another container may decide here since a moment ago; try again";
            Err(Error::unavailable(why).with("address", address).retry_after(Duration::from_secs(1)))
        }
        _ => Ok(()),
    }
}

pub(super) fn crowded(address: &Address) -> Error {
    Error::busy("too many others change this object at the same time; try again").with("address", address)
}

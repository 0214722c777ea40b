//! Sealed bytes that more than one container has: read from the one that is expected to be done first, and from another
//! one where that fails, or is late.

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio::time::timeout;

use super::locked;
use super::route::is_of_the_way;
use super::run::{Kept, Parts};
use crate::error::{Error, Kind, Result};
use crate::model::Buffer;
use crate::tiers::Run;

/// How many times as long as another one would take is waited for a part; so long at least, and so long where that is not
/// known.
const LATE_TIMES: u32 = 4;
const LATE_LEAST: Duration = Duration::from_millis(250);
const LATE_UNKNOWN: Duration = Duration::from_secs(2);

/// After how long one is late with a part, where that is what another one is expected to take, and this one: both may have
/// one slow link in common.
fn late_after(other: Option<Duration>, own: Option<Duration>) -> Duration {
    let by_other = other.map_or(LATE_UNKNOWN, |other| other.saturating_mul(LATE_TIMES));
    by_other.max(own.unwrap_or_default().saturating_mul(2)).max(LATE_LEAST)
}

/// Those who have the same sealed bytes, in the order in which they are asked; others may be found later.
pub(super) struct Choice {
    kept: Mutex<Vec<Arc<Kept>>>,
    /// Whether somebody gave some of them who only has a copy.
    is_second_hand: AtomicBool,
}

impl Choice {
    pub(super) fn of(kept: Vec<Arc<Kept>>) -> Self {
        Choice { kept: Mutex::new(kept), is_second_hand: AtomicBool::new(false) }
    }

    /// Somebody else has them too.
    pub(super) fn add(&self, kept: Arc<Kept>) {
        locked(&self.kept).push(kept);
    }

    pub(super) fn is_second_hand(&self) -> bool {
        self.is_second_hand.load(Ordering::Acquire)
    }

    /// Who is read from at the moment.
    pub(super) fn current(&self) -> Result<Arc<Kept>> {
        let first = locked(&self.kept).first().cloned();
        first.ok_or_else(|| Error::unavailable("nobody who has the object's bytes can be read from any more"))
    }

    /// Who is asked where this one is late.
    fn other(&self, than: &Arc<Kept>) -> Option<Arc<Kept>> {
        locked(&self.kept).iter().find(|kept| !Arc::ptr_eq(kept, than)).cloned()
    }

    /// From now on this one is read from.
    fn prefer(&self, kept: &Arc<Kept>) {
        locked(&self.kept).sort_by_key(|one| !Arc::ptr_eq(one, kept));
    }

    /// This one failed: a copy is struck off, who keeps the object is asked last. Says whether there is anybody else.
    fn pass_over(&self, failed: &Arc<Kept>) -> bool {
        let mut kept = locked(&self.kept);
        let has_others = kept.iter().any(|one| !Arc::ptr_eq(one, failed));
        if has_others {
            kept.retain(|one| !one.is_copy || !Arc::ptr_eq(one, failed));
            kept.sort_by_key(|one| Arc::ptr_eq(one, failed));
        }
        has_others
    }

    /// Reads a range, part by part.
    pub(super) fn parts(self: &Arc<Self>, left: Range<u64>) -> Result<ChosenParts> {
        Ok(ChosenParts { parts: Parts::of(self.current()?, left), choice: Arc::clone(self) })
    }
}

/// A range of them, part by part.
pub(super) struct ChosenParts {
    choice: Arc<Choice>,
    parts: Parts,
}

impl ChosenParts {
    /// The next part, of whoever has it.
    pub(super) async fn part(&mut self, bytes: usize) -> Result<Buffer> {
        let mut failed = None;
        loop {
            let error = match self.part_of_one(bytes).await {
                Ok(part) => {
                    self.choice.is_second_hand.fetch_or(self.parts.kept().is_copy, Ordering::AcqRel);
                    return Ok(part);
                }
                Err(error) => error,
            };
            let of = Arc::clone(self.parts.kept());
            let has_others = self.choice.pass_over(&of);
            if of.is_copy {
                // Nobody said that it would stay where it is.
                if !has_others {
                    return Err(failed.unwrap_or_else(|| Error::unavailable("a copy of it is gone").because(error)));
                }
            } else if !has_others || failed.is_some() || !(is_of_the_way(&error) || error.kind() == Kind::Busy) {
                // Who keeps the object knows whether it is there.
                return Err(error);
            } else {
                failed = Some(error);
            }
            let next = self.choice.current()?;
            tracing::debug!(of = %of.way.name, next = %next.way.name, "an object is read from another container");
            self.parts = Parts::of(next, self.parts.left());
        }
    }

    /// The next part of whom it is read from; another one is asked as well where that is late.
    async fn part_of_one(&mut self, bytes: usize) -> Result<Buffer> {
        let Some(other) = self.choice.other(self.parts.kept()) else { return self.parts.part(bytes).await };
        let late = late_after(other.expects(bytes as u64), self.parts.kept().expects(bytes as u64));
        let (of, mut second) = (Arc::clone(self.parts.kept()), Parts::of(Arc::clone(&other), self.parts.left()));
        let arrived = {
            let mut first = pin!(self.parts.part(bytes));
            if let Ok(arrived) = timeout(late, &mut first).await {
                return arrived;
            }
            of.way.late();
            let Some(_place) = other.site.hedge() else { return first.await };
            match select(first, pin!(second.part(bytes))).await {
                Either::Left((arrived, _)) => return arrived,
                Either::Right((Ok(arrived), _)) => arrived,
                Either::Right((Err(_), first)) => {
                    if other.is_copy {
                        self.choice.pass_over(&other);
                    }
                    return first.await;
                }
            }
        };
        tracing::debug!(of = %of.way.name, next = %other.way.name, "a container is late; another one has the object as well");
        self.choice.prefer(&other);
        self.parts = second;
        Ok(arrived)
    }
}

impl Run for ChosenParts {
    fn next(&mut self, bytes: usize) -> BoxFuture<'_, Result<Buffer>> {
        self.part(bytes).boxed()
    }

    fn pause(&mut self) {
        self.parts.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_late_by_what_others_take_and_by_what_it_takes_itself() {
        const MS: fn(u64) -> Option<Duration> = |ms| Some(Duration::from_millis(ms));
        let late = |other, own| late_after(other, own).as_millis();
        assert_eq!((late(None, None), late(MS(10), None), late(MS(500), None)), (2000, 250, 2000));
        assert_eq!(late(MS(500), MS(1500)), 3000, "it is no slower than it was");
        assert_eq!(late_after(Some(Duration::MAX), None), Duration::MAX);
    }
}

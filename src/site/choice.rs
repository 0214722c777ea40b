//! Sealed bytes that more than one container has: read from the one that is expected to be done first, and from the next
//! one where that fails, or is late.

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio::time::timeout;

use super::locked;
use super::run::{Kept, Parts};
use crate::error::{Error, Kind, Result};
use crate::model::Buffer;
use crate::tiers::Run;

/// How many times as long as the next one would take is waited for a part, at least and at most.
const LATE_TIMES: u32 = 4;
const LATE_LEAST: Duration = Duration::from_millis(250);
const LATE_MOST: Duration = Duration::from_secs(3);

/// Those who have the same sealed bytes, in the order in which they are asked. Others may be found later.
pub(super) struct Choice {
    kept: Mutex<Vec<Arc<Kept>>>,
    /// Who is read from.
    at: AtomicUsize,
}

impl Choice {
    /// The first one is read from at first; there is one at least.
    pub(super) fn of(kept: Vec<Arc<Kept>>) -> Self {
        Choice { kept: Mutex::new(kept), at: AtomicUsize::new(0) }
    }

    /// Somebody else has them too.
    pub(super) fn add(&self, kept: Arc<Kept>) {
        locked(&self.kept).push(kept);
    }

    fn get(&self, at: usize) -> Option<Arc<Kept>> {
        locked(&self.kept).get(at).cloned()
    }

    fn len(&self) -> usize {
        locked(&self.kept).len()
    }

    /// Who is read from at the moment.
    pub(super) fn current(&self) -> Result<Arc<Kept>> {
        self.get(self.at.load(Ordering::Relaxed)).ok_or_else(|| Error::internal("nobody is there to be read from"))
    }

    /// Reads a range, part by part.
    pub(super) fn parts(self: &Arc<Self>, left: Range<u64>) -> Result<ChosenParts> {
        let at = self.at.load(Ordering::Relaxed);
        Ok(ChosenParts { choice: Arc::clone(self), at, parts: Parts::of(self.current()?, left) })
    }
}

/// A range of them, part by part.
pub(super) struct ChosenParts {
    choice: Arc<Choice>,
    /// Whose parts these are.
    at: usize,
    parts: Parts,
}

impl ChosenParts {
    /// The next part, of whoever has it.
    pub(super) async fn part(&mut self, bytes: usize) -> Result<Buffer> {
        let mut failed = None;
        for _ in 0..self.choice.len() {
            let error = match self.part_of_one(bytes).await {
                Ok(part) => return Ok(part),
                Err(error) => error,
            };
            match self.parts.is_copy() {
                // Nobody said that it would stay there.
                true => failed = failed.or_else(|| Some(Error::unavailable("a copy of it is gone").because(error))),
                false if matches!(error.kind(), Kind::Unavailable | Kind::Deadline | Kind::Busy) => {
                    failed = Some(error)
                }
                // Who keeps the object knows whether it is there.
                false => return Err(error),
            }
            self.turn();
        }
        Err(failed.unwrap_or_else(|| Error::internal("nobody is there to be read from")))
    }

    /// Who is asked where the one who is read from fails.
    fn other(&self) -> Option<(usize, Arc<Kept>)> {
        let next = (self.at + 1) % self.choice.len().max(1);
        self.choice.get(next).filter(|_| next != self.at).map(|kept| (next, kept))
    }

    fn turn(&mut self) {
        if let Some((next, kept)) = self.other() {
            self.go_on(next, Parts::of(kept, self.parts.left()));
        }
    }

    fn go_on(&mut self, at: usize, parts: Parts) {
        (self.at, self.parts) = (at, parts);
        self.choice.at.store(at, Ordering::Relaxed);
    }

    /// The next part of whom it is read from; the next one is asked as well where that is late.
    async fn part_of_one(&mut self, bytes: usize) -> Result<Buffer> {
        let Some((next, other)) = self.other() else { return self.parts.part(bytes).await };
        let mut second = Parts::of(Arc::clone(&other), self.parts.left());
        let arrived = {
            let mut first = pin!(self.parts.part(bytes));
            match timeout(other.expects(bytes as u64, LATE_TIMES).clamp(LATE_LEAST, LATE_MOST), &mut first).await {
                Ok(arrived) => return arrived,
                Err(_) => match other.site.hedge() {
                    None => return first.await,
                    Some(_place) => match select(first, pin!(second.part(bytes))).await {
                        Either::Left((Ok(arrived), _)) => return Ok(arrived),
                        Either::Left((Err(error), second)) => second.await.map_err(|_| error)?,
                        Either::Right((Ok(arrived), _)) => arrived,
                        Either::Right((Err(_), first)) => return first.await,
                    },
                },
            }
        };
        tracing::debug!(from = %other.way.name, "a container is late with an object; another one has it as well");
        self.go_on(next, second);
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

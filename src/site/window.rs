//! How much of one container's bytes is under way over the bus: the reader decides, so that no queue on the way
//! overflows, and control that takes the same way is not held up.
//!
//! What waits on the way shows in how much longer a piece takes than the quickest did. The window holds what bandwidth
//! times delay asks for, and little beyond it. It doubles with each round at first; once something has waited it grows by
//! an eighth a round, and gives back an eighth whenever pieces wait for too long, or half where they wait for much
//! longer.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::locked;
use crate::error::{Error, Result};
use crate::limits::PIECE_BYTES_MAX;

/// Pieces that a container gives at the same time.
pub(super) const PIECES_MAX: usize = 16;

/// How often it is looked anew what the quickest piece takes.
const LOOK_NS: u64 = 10_000_000_000;

/// The part of a window that one piece takes: a round then brings several, and none of them is long under way.
const PIECES_OF_WINDOW: usize = 8;

/// What a reader asks for at a time, of one kind of way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes that the window is counted in; no piece has less, unless it is the last one.
    unit: usize,
    /// Units of a piece at most.
    piece: usize,
    /// Units under way at first.
    first: usize,
    /// Units under way at most.
    most: usize,
    /// Pieces that one read has asked for at a time: what is held for it is bounded, whatever the window allows.
    pub ahead: usize,
    /// How long a piece may wait on the way before the window shrinks; up to half of that it grows.
    wait: Duration,
}

impl Step {
    /// Within a site.
    pub(super) const NEAR: Step =
        Step { unit: PIECE_BYTES_MAX, piece: 1, first: 4, most: 16, ahead: 8, wait: Duration::from_millis(100) };

    /// Between sites, whose link may take a second for a megabit: so one unit is asked for at first.
    pub(super) const FAR: Step =
        Step { unit: PIECE_BYTES_MAX / 16, piece: 16, first: 1, most: 256, ahead: 16, wait: Duration::from_millis(50) };
}

/// A window that grows while pieces come in time.
pub(super) struct Window {
    step: Step,
    places: Semaphore,
    pace: Mutex<Pace>,
}

struct Pace {
    size: usize,
    /// What the quickest piece took, since the last look and in the time before it: a way may have become longer.
    least: Duration,
    before: Duration,
    /// When that was looked at last.
    looked_ns: Option<u64>,
    /// Whether something has waited.
    has_waited: bool,
    /// Places that are gone, and still held by pieces under way.
    owed: usize,
    /// Units that came in time since the window grew last.
    in_time: usize,
    /// When the window shrank last: what was asked for before says nothing of what it is like since.
    shrank_ns: u64,
}

/// A place for a piece.
pub(super) struct Place<'a> {
    permit: SemaphorePermit<'a>,
    since_ns: u64,
}

impl Window {
    pub(super) fn of(step: Step) -> Self {
        let pace = Pace {
            size: step.first,
            least: Duration::MAX,
            before: Duration::MAX,
            looked_ns: None,
            has_waited: false,
            owed: 0,
            in_time: 0,
            shrank_ns: 0,
        };
        Window { step, places: Semaphore::new(step.first), pace: Mutex::new(pace) }
    }

    /// How long the next piece should be, in bytes.
    pub(super) fn piece_bytes(&self) -> u64 {
        let units = (locked(&self.pace).size / PIECES_OF_WINDOW).clamp(1, self.step.piece);
        (units * self.step.unit) as u64
    }

    /// Waits for a place for so many bytes.
    pub(super) async fn enter(&self, bytes: u64, now_ns: impl Fn() -> u64) -> Result<Place<'_>> {
        let units = (bytes as usize).div_ceil(self.step.unit).clamp(1, locked(&self.pace).size);
        let permit = self.places.acquire_many(units as u32).await;
        let permit = permit.map_err(|_| Error::internal("a window is closed"))?;
        Ok(Place { permit, since_ns: now_ns() })
    }

    /// A piece has come.
    pub(super) fn came(&self, place: Place<'_>, now_ns: u64) {
        let is_full = self.places.available_permits() < place.permit.num_permits();
        let took = Duration::from_nanos(now_ns.saturating_sub(place.since_ns));
        let units = place.permit.num_permits();
        drop(place.permit);
        let mut pace = locked(&self.pace);
        self.settle(&mut pace);
        pace.least = pace.least.min(took);
        if now_ns.saturating_sub(*pace.looked_ns.get_or_insert(now_ns)) > LOOK_NS {
            // With half a window for a round nothing waits that need not: so it shows what the way takes by itself.
            (pace.before, pace.least) = (pace.least, Duration::MAX);
            (pace.looked_ns, pace.shrank_ns, pace.has_waited) = (Some(now_ns), now_ns, false);
            return self.shrink(&mut pace, 2);
        }
        let waited = took.saturating_sub(pace.least.min(pace.before));
        pace.has_waited |= waited > self.step.wait / 2;
        if waited > self.step.wait {
            if place.since_ns >= pace.shrank_ns {
                pace.shrank_ns = now_ns;
                let part = if waited > 2 * self.step.wait { 2 } else { 8 };
                self.shrink(&mut pace, part);
            }
        } else if waited < self.step.wait / 2 && is_full {
            pace.in_time += units;
            let more = match pace.has_waited {
                false => units,
                true if pace.in_time >= pace.size => (pace.size / 8).max(1),
                true => return,
            };
            let more = more.min(self.step.most.saturating_sub(pace.size));
            pace.size += more;
            pace.in_time = 0;
            self.places.add_permits(more);
        }
    }

    /// Gives back this part of the window, at once as far as its places are free, and the rest as pieces come.
    fn shrink(&self, pace: &mut Pace, part: usize) {
        let less = (pace.size / part).max(1).min(pace.size - 1);
        pace.size -= less;
        pace.owed += less;
        self.settle(pace);
    }

    fn settle(&self, pace: &mut Pace) {
        pace.owed -= self.places.forget_permits(pace.owed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn size(window: &Window) -> usize {
        locked(&window.pace).size
    }

    /// Asks for a whole window, all of which comes after so long.
    async fn round(window: &Window, at: &mut u64, took_ms: u64) {
        let mut places = Vec::new();
        while window.places.available_permits() * window.step.unit >= window.piece_bytes() as usize {
            places.push(window.enter(window.piece_bytes(), || *at).await.unwrap());
        }
        *at += took_ms * MS;
        places.into_iter().for_each(|place| window.came(place, *at));
    }

    #[tokio::test]
    async fn it_grows_while_pieces_come_in_time_and_shrinks_when_they_wait() {
        for step in [Step::NEAR, Step::FAR] {
            let (window, mut at) = (Window::of(step), 0);
            for _ in 0..60 {
                round(&window, &mut at, 3).await;
            }
            assert_eq!(size(&window), step.most, "{step:?}");
            let before = size(&window);
            round(&window, &mut at, 500).await;
            assert_eq!(size(&window), before / 2, "once for a round");
            for _ in 0..12 {
                round(&window, &mut at, 500).await;
                at += MS;
            }
            assert_eq!(size(&window), 1, "{step:?}");
            assert_eq!(window.places.available_permits(), size(&window));
        }
    }

    #[tokio::test]
    async fn a_way_that_has_become_longer_is_learnt() {
        let (window, mut at) = (Window::of(Step::FAR), 0);
        for took_ms in [10, 200] {
            for _ in 0..2 * LOOK_NS / MS / took_ms {
                round(&window, &mut at, took_ms).await;
            }
            assert!(size(&window) > Step::FAR.most / 2, "{took_ms}");
        }
    }

    #[tokio::test]
    async fn pieces_grow_with_the_window() {
        let (window, mut at) = (Window::of(Step::FAR), 0);
        assert_eq!(window.piece_bytes(), PIECE_BYTES_MAX as u64 / 16);
        for _ in 0..60 {
            round(&window, &mut at, 100).await;
        }
        assert_eq!(window.piece_bytes(), PIECE_BYTES_MAX as u64);
    }

    #[tokio::test]
    async fn it_does_not_grow_beyond_what_is_asked_for() {
        let (window, mut at) = (Window::of(Step::NEAR), 0);
        for _ in 0..40 {
            let place = window.enter(1, || at).await.unwrap();
            at += 3 * MS;
            window.came(place, at);
        }
        assert_eq!(size(&window), Step::NEAR.first);
    }
}

//! How much of one container's bytes is under way over the bus: the reader decides, so that no queue on the way
//! overflows, and control that takes the same way is not held up.
//!
//! What waits on the way shows in how much longer a piece takes than the quickest did. The window holds what bandwidth
//! times delay asks for, and little beyond it. It doubles with each round at first; once something has waited it grows by
//! an eighth a round, and gives back an eighth whenever pieces wait for too long, and up to half where they wait for much
//! longer.

use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

use super::locked;
use crate::limits::PIECE_BYTES_MAX;

/// Pieces that a container gives at the same time.
pub(super) const PIECES_MAX: usize = 16;

/// How often it is looked anew what the quickest piece takes.
const LOOK_NS: u64 = 10_000_000_000;

/// Pieces are not held back for less than this.
const SPREAD_LEAST: Duration = Duration::from_millis(1);

/// The part of a window that one piece takes: a round then brings many, and the time that it takes by its length alone
/// is none that it waits.
const PIECES_OF_WINDOW: usize = 16;

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
    /// Pieces that one read has asked for at a time: what is held for it is bounded, whatever the window allows. More than
    /// twice those of a window, or it could not grow until pieces do.
    pub ahead: usize,
    /// How long a piece may wait on the way before the window shrinks; up to half of that it grows.
    wait: Duration,
    /// The part of a round, in percent, over which the pieces of a window are spread: all that are asked for at once would
    /// come as one burst, more than a router on the way has room for.
    spread: u32,
}

impl Step {
    /// Within a site.
    pub(super) const NEAR: Step = Step {
        unit: PIECE_BYTES_MAX,
        piece: 1,
        first: 4,
        most: 16,
        ahead: 8,
        wait: Duration::from_millis(100),
        spread: 0,
    };

    /// Between sites, whose link may take a second for a megabit: so one unit is asked for at first.
    pub(super) const FAR: Step = Step {
        unit: PIECE_BYTES_MAX / 16,
        piece: 8,
        first: 1,
        most: 256,
        ahead: 36,
        wait: Duration::from_millis(30),
        spread: 80,
    };
}

/// A window that grows while pieces come in time.
pub(super) struct Window {
    step: Step,
    pace: Mutex<Pace>,
    /// Rung when there is room again.
    freed: Notify,
}

struct Pace {
    /// Units that may be under way; the last piece may reach beyond it.
    size: usize,
    under_way: usize,
    /// What the quickest piece took, since the last look and in the time before it: a way may have become longer.
    least: Duration,
    before: Duration,
    /// When that was looked at last.
    looked_ns: Option<u64>,
    /// Whether something has waited.
    has_waited: bool,
    /// Units that came in time since the window grew last.
    in_time: usize,
    /// When the window shrank last: what was asked for before says nothing of what it is like since.
    shrank_ns: u64,
    /// When the next piece may be asked for.
    next_ns: u64,
}

impl Pace {
    fn has_room(&self) -> bool {
        self.under_way < self.size
    }

    /// Gives back this part of the window.
    fn shrink(&mut self, part: usize) {
        self.size -= (self.size / part).max(1).min(self.size - 1);
    }
}

/// A place for a piece; it is free again when this is dropped.
pub(super) struct Place<'a> {
    window: &'a Window,
    units: usize,
    /// Whether it is for as much as others are: what is shorter is quicker by itself.
    is_full: bool,
    since_ns: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.window.pace).under_way -= self.units;
        self.window.freed.notify_one();
    }
}

impl Window {
    pub(super) fn of(step: Step) -> Self {
        let pace = Pace {
            size: step.first,
            under_way: 0,
            least: Duration::MAX,
            before: Duration::MAX,
            looked_ns: None,
            has_waited: false,
            in_time: 0,
            shrank_ns: 0,
            next_ns: 0,
        };
        Window { step, pace: Mutex::new(pace), freed: Notify::new() }
    }

    /// How long the next piece should be, in bytes.
    pub(super) fn piece_bytes(&self) -> u64 {
        let units = (locked(&self.pace).size / PIECES_OF_WINDOW).clamp(1, self.step.piece);
        (units * self.step.unit) as u64
    }

    /// Waits for a place for so many bytes.
    pub(super) async fn enter(&self, bytes: u64, now_ns: impl Fn() -> u64) -> Place<'_> {
        let units = (bytes as usize).div_ceil(self.step.unit).max(1);
        let is_full = 4 * bytes >= 3 * self.step.unit as u64;
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.takes(units) {
                return Place { window: self, units, is_full, since_ns: now_ns() };
            }
            freed.await;
        }
    }

    fn takes(&self, units: usize) -> bool {
        let mut pace = locked(&self.pace);
        let has_room = pace.has_room();
        if has_room {
            pace.under_way += units;
            // Whoever waits behind this one may have room as well.
            if pace.has_room() {
                self.freed.notify_one();
            }
        }
        has_room
    }

    /// Waits until the piece of a place is to be asked for.
    pub(super) async fn spread(&self, place: &mut Place<'_>, now_ns: impl Fn() -> u64) {
        // What is short is no burst.
        let wait = if place.is_full { self.held_back(place.units, now_ns()) } else { Duration::ZERO };
        if wait >= SPREAD_LEAST {
            tokio::time::sleep(wait).await;
        }
        place.since_ns = now_ns();
    }

    fn held_back(&self, units: usize, now_ns: u64) -> Duration {
        let mut pace = locked(&self.pace);
        let round = pace.least.min(pace.before);
        if self.step.spread == 0 || round == Duration::MAX {
            return Duration::ZERO;
        }
        let most = round * self.step.spread / 100;
        let part = most * units as u32 / pace.size.max(units) as u32;
        // What was given up while it was held back holds nobody else back.
        let due_ns = pace.next_ns.clamp(now_ns, now_ns + most.as_nanos() as u64);
        pace.next_ns = due_ns + part.as_nanos() as u64;
        Duration::from_nanos(due_ns - now_ns)
    }

    /// A piece has not come.
    pub(super) fn lost(&self, place: &Place<'_>, now_ns: u64) {
        let mut pace = locked(&self.pace);
        pace.has_waited = true;
        if place.since_ns >= pace.shrank_ns {
            pace.shrank_ns = now_ns;
            pace.shrink(2);
        }
    }

    /// A piece has come.
    pub(super) fn came(&self, place: &Place<'_>, now_ns: u64) {
        let took = Duration::from_nanos(now_ns.saturating_sub(place.since_ns));
        let mut pace = locked(&self.pace);
        if place.is_full {
            pace.least = pace.least.min(took);
        }
        if now_ns.saturating_sub(*pace.looked_ns.get_or_insert(now_ns)) > LOOK_NS {
            // With half a window for a round nothing waits that need not: so it shows what the way takes by itself.
            (pace.before, pace.least) = (pace.least, Duration::MAX);
            (pace.looked_ns, pace.shrank_ns) = (Some(now_ns), now_ns);
            return pace.shrink(2);
        }
        // Until a full one has come nothing is known of what one takes.
        let waited = took.saturating_sub(pace.least.min(pace.before));
        pace.has_waited |= waited > self.step.wait / 2;
        if waited > self.step.wait {
            if place.since_ns >= pace.shrank_ns {
                pace.shrank_ns = now_ns;
                // What was lost on the way and sent again holds up a whole round, once: that need not be a slower link.
                let part = if waited > 4 * self.step.wait { 2 } else { 4 };
                pace.shrink(if waited > 2 * self.step.wait { part } else { 8 });
            }
        } else if waited < self.step.wait / 2 && !pace.has_room() {
            pace.in_time += place.units;
            let more = match pace.has_waited {
                false => place.units,
                true if pace.in_time >= pace.size => (pace.size / 8).max(1),
                true => return,
            };
            pace.size = (pace.size + more).min(self.step.most);
            pace.in_time = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MS: u64 = 1_000_000;

    fn size(window: &Window) -> usize {
        locked(&window.pace).size
    }

    /// Asks for a whole window, all of which comes after so long; where one has come the next ones are asked for.
    async fn round(window: &Window, at: &mut u64, took_ms: u64) {
        let mut places = VecDeque::new();
        while locked(&window.pace).has_room() {
            places.push_back(window.enter(window.piece_bytes(), || *at).await);
        }
        *at += took_ms * MS;
        let asked = places.len();
        for _ in 0..asked {
            window.came(&places.pop_front().unwrap(), *at);
            while locked(&window.pace).has_room() {
                places.push_back(window.enter(window.piece_bytes(), || *at).await);
            }
        }
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
            assert_eq!(locked(&window.pace).under_way, 0);
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
    async fn who_waits_is_woken_also_where_the_window_has_shrunk_meanwhile() {
        let window = std::sync::Arc::new(Window::of(Step::FAR));
        let mut at = 0;
        for _ in 0..60 {
            round(&window, &mut at, 3).await;
        }
        let bytes = window.piece_bytes();
        let mut held = Vec::new();
        while locked(&window.pace).has_room() {
            held.push(window.enter(bytes, || 0).await);
        }
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let window = std::sync::Arc::clone(&window);
                tokio::spawn(async move { drop(window.enter(bytes, || 0).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        locked(&window.pace).size = 1;
        drop(held);
        for waiting in waiting {
            tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        }
        assert_eq!(locked(&window.pace).under_way, 0);
    }

    #[tokio::test]
    async fn a_whole_window_is_spread_over_most_of_a_round() {
        let (window, mut at) = (Window::of(Step::FAR), 0);
        assert_eq!(window.held_back(1, at), Duration::ZERO, "nothing is known of a round yet");
        for _ in 0..60 {
            round(&window, &mut at, 100).await;
        }
        let units = size(&window) / 16;
        let waits: Vec<Duration> = (0..17).map(|_| window.held_back(units, at)).collect();
        assert_eq!((waits[0], waits[1], waits[16]), (Duration::ZERO, waits[16] / 16, Duration::from_millis(80)));
        (0..100).for_each(|_| assert!(window.held_back(units, at) <= Duration::from_millis(80)));
        assert_eq!(window.held_back(units, at), Duration::from_millis(80), "and never for longer");
        // What was asked for long ago holds nothing back.
        assert_eq!(window.held_back(units, at + 1000 * MS), Duration::ZERO);
        let mut place = window.enter(window.piece_bytes(), || at).await;
        window.spread(&mut place, || at + 7).await;
        assert_eq!(place.since_ns, at + 7, "what it was held back for is none that it waits on the way");
        let (near, mut at) = (Window::of(Step::NEAR), 0);
        round(&near, &mut at, 100).await;
        assert!((0..9).all(|_| near.held_back(1, at) == Duration::ZERO));
    }

    #[tokio::test]
    async fn pieces_grow_with_the_window() {
        let (window, mut at) = (Window::of(Step::FAR), 0);
        assert_eq!(window.piece_bytes(), PIECE_BYTES_MAX as u64 / 16);
        for _ in 0..60 {
            round(&window, &mut at, 100).await;
        }
        assert_eq!(window.piece_bytes(), PIECE_BYTES_MAX as u64 / 2);
    }

    #[tokio::test]
    async fn a_short_piece_says_nothing_of_what_others_take() {
        let (window, mut at) = (Window::of(Step::FAR), 0);
        let place = window.enter(5, || at).await;
        at += 100 * MS;
        window.came(&place, at);
        drop(place);
        // Longer by what it takes to be sent.
        for _ in 0..60 {
            round(&window, &mut at, 132).await;
        }
        assert_eq!(size(&window), Step::FAR.most);
    }

    #[tokio::test]
    async fn it_does_not_grow_beyond_what_is_asked_for() {
        let (window, mut at) = (Window::of(Step::NEAR), 0);
        for _ in 0..40 {
            let place = window.enter(1, || at).await;
            at += 3 * MS;
            window.came(&place, at);
        }
        assert_eq!(size(&window), Step::NEAR.first);
    }
}

//! How many pieces of one container's bytes are under way over the bus: the reader decides, so that no queue on the
//! way overflows, and control that takes the same way is not held up.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::locked;
use crate::error::{Error, Result};

/// Pieces under way at first.
const FIRST: usize = 4;

/// Pieces under way at most: more of them wait on the way, and come no sooner.
pub(super) const PIECES_MAX: usize = 16;

/// How much longer than the quickest a piece may take before fewer are asked for: what waits on the way is what comes
/// in so long. So the window holds what bandwidth times delay asks for, and this much beyond it.
const QUEUE_MAX: Duration = Duration::from_millis(100);

/// A window that grows while pieces come in time.
pub(super) struct Window {
    places: Semaphore,
    pace: Mutex<Pace>,
}

struct Pace {
    size: usize,
    /// What the quickest piece took. It rises slowly, so that a way that has become longer is learnt.
    least: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Window { places: Semaphore::new(FIRST), pace: Mutex::new(Pace { size: FIRST, least: Duration::MAX }) }
    }
}

impl Window {
    /// Waits for a place.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>> {
        self.places.acquire().await.map_err(|_| Error::internal("a window is closed"))
    }

    /// A piece has come after so long.
    pub(super) fn came(&self, place: SemaphorePermit<'_>, took: Duration) {
        let is_full = self.places.available_permits() == 0;
        let mut pace = locked(&self.pace);
        pace.least = took.min(pace.least.saturating_add(pace.least / 64));
        let waited = took.saturating_sub(pace.least);
        if waited > QUEUE_MAX && pace.size > 1 {
            pace.size -= 1;
            place.forget();
        } else if waited < QUEUE_MAX / 2 && is_full && pace.size < PIECES_MAX {
            pace.size += 1;
            self.places.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(window: &Window) -> usize {
        locked(&window.pace).size
    }

    async fn round(window: &Window, took: Duration) {
        let mut places = Vec::new();
        for _ in 0..size(window) {
            places.push(window.enter().await.unwrap());
        }
        places.into_iter().for_each(|place| window.came(place, took));
    }

    #[tokio::test]
    async fn it_grows_while_pieces_come_in_time_and_shrinks_when_they_wait() {
        let window = Window::default();
        for _ in 0..40 {
            round(&window, Duration::from_millis(3)).await;
        }
        assert_eq!(size(&window), PIECES_MAX);
        for _ in 0..3 {
            round(&window, Duration::from_millis(500)).await;
        }
        assert_eq!(size(&window), 1);
        assert_eq!(window.places.available_permits(), 1);
    }

    #[tokio::test]
    async fn it_does_not_grow_beyond_what_is_asked_for() {
        let window = Window::default();
        for _ in 0..40 {
            let place = window.enter().await.unwrap();
            window.came(place, Duration::from_millis(3));
        }
        assert_eq!(size(&window), FIRST);
    }
}

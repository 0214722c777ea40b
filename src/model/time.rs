//! Time as a trait, so that a simulation owns it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;

/// Where wall-clock time comes from.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Nanoseconds since some moment in the past, for measuring how long something took: never goes
    /// back, whatever is done to the wall clock.
    fn ticks_ns(&self) -> u64;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn ticks_ns(&self) -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed().as_nanos() as u64
    }
}

/// Another clock that is never seen to go back: set back, it goes on from where it was, at the pace of the ticks.
///
/// What is told of something that has ended must stay true, and what is to live for a while must end after it.
#[derive(Debug, Default)]
pub struct SteadyClock<C> {
    inner: C,
    /// The furthest that the wall clock ever was before the ticks, in milliseconds.
    lead_ms: AtomicU64,
}

impl<C> SteadyClock<C> {
    /// A clock that shows what `inner` shows until that goes back.
    pub fn new(inner: C) -> Self {
        SteadyClock { inner, lead_ms: AtomicU64::new(0) }
    }
}

impl<C: Clock> Clock for SteadyClock<C> {
    fn now_ms(&self) -> u64 {
        let ticks_ms = self.inner.ticks_ns() / 1_000_000;
        let lead_ms = self.inner.now_ms().saturating_sub(ticks_ms);
        ticks_ms + self.lead_ms.fetch_max(lead_ms, Ordering::Relaxed).max(lead_ms)
    }

    fn ticks_ns(&self) -> u64 {
        self.inner.ticks_ns()
    }
}

/// Where waiting comes from, for those who must give up or try again after a while.
pub trait Timer: Send + Sync {
    /// Is over when the delay is.
    fn after(&self, delay: Duration) -> BoxFuture<'static, ()>;
}

/// Waits as long as it is told, on the tokio runtime that polls it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer;

impl Timer for SystemTimer {
    fn after(&self, delay: Duration) -> BoxFuture<'static, ()> {
        // Made inside: a sleep can only be made where a runtime is entered.
        Box::pin(async move { tokio::time::sleep(delay).await })
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn at(now_ms: u64) -> Self {
        ManualClock(AtomicU64::new(now_ms))
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }

    /// Moves the clock on.
    pub fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn ticks_ns(&self) -> u64 {
        self.now_ms().saturating_mul(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows its first number, and counts ticks by its second.
    struct Set(ManualClock, ManualClock);

    impl Clock for Set {
        fn now_ms(&self) -> u64 {
            self.0.now_ms()
        }

        fn ticks_ns(&self) -> u64 {
            self.1.ticks_ns()
        }
    }

    #[test]
    fn a_steady_clock_goes_on_when_it_is_set_back_and_leaps_when_it_is_set_forward() {
        let clock = SteadyClock::new(Set(ManualClock::at(10_000), ManualClock::at(50)));
        let pass = |ms| [&clock.inner.0, &clock.inner.1].map(|clock| clock.advance(ms));
        assert_eq!(clock.now_ms(), 10_000);
        pass(10);
        assert_eq!(clock.now_ms(), 10_010);
        clock.inner.0.set(3_000);
        assert_eq!(clock.now_ms(), 10_010);
        pass(500);
        assert_eq!(clock.now_ms(), 10_510);
        clock.inner.0.set(90_000);
        assert_eq!(clock.now_ms(), 90_000);
    }
}

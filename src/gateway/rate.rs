//! How many requests one bearer or one peer may send a second: a bucket each, that refills steadily.
//!
//! A bucket holds one second's requests. It is kept as one number, the time at which it will be full
//! again, so whoever has been silent for a second needs no entry.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::limits::RATE_BUCKETS_MAX;
use crate::model::TokenId;

const SECOND_NS: u64 = 1_000_000_000;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// The bearer of a token, wherever it asks from.
    Token(TokenId),
    /// An address from which no good token came.
    Peer(Option<IpAddr>),
    /// All for whom there was no bucket left.
    Others,
}

/// The buckets of a door.
#[derive(Debug)]
pub(super) struct Rate {
    /// Nanoseconds that one request takes out of a bucket; 0 when nothing is counted.
    cost_ns: u64,
    start: Instant,
    /// When each bucket is full again, in nanoseconds since `start`.
    full_at: Mutex<HashMap<Who, u64>>,
}

impl Rate {
    /// So many requests a second each; 0 for as many as they like.
    pub(super) fn per_second(requests: u64) -> Self {
        let cost_ns = SECOND_NS.checked_div(requests).map_or(0, |cost| cost.max(1));
        Rate { cost_ns, start: Instant::now(), full_at: Mutex::default() }
    }

    /// Counts a request, or says when to come back.
    pub(super) fn take(&self, who: Who) -> Result<()> {
        if self.cost_ns == 0 {
            return Ok(());
        }
        self.take_at(who, u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, who: Who, now: u64) -> Result<()> {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= RATE_BUCKETS_MAX && !buckets.contains_key(&who) {
            buckets.retain(|_, full_at| *full_at > now);
        }
        // Strangers without number must not fill the memory: beyond the bound they share one bucket.
        let who = if buckets.len() < RATE_BUCKETS_MAX || buckets.contains_key(&who) { who } else { Who::Others };
        let full_at = buckets.entry(who).or_insert(now);
        let after = (*full_at).max(now) + self.cost_ns;
        let over = (after - now).saturating_sub(SECOND_NS.max(self.cost_ns));
        if over > 0 {
            let why = "too many requests from one bearer or address; send them more slowly";
            return Err(Error::busy(why).retry_after(Duration::from_nanos(over)));
        }
        *full_at = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Who = Who::Token(TokenId([1; 8]));

    fn peer(n: u32) -> Who {
        Who::Peer(Some(IpAddr::from(n.to_be_bytes())))
    }

    #[test]
    fn a_second_holds_its_number_and_then_refills_steadily() {
        let rate = Rate::per_second(10);
        assert!((0..10).all(|_| rate.take_at(ADA, 0).is_ok()));
        let busy = rate.take_at(ADA, 0).unwrap_err();
        assert_eq!((busy.kind(), busy.delay()), (crate::Kind::Busy, Some(Duration::from_millis(100))));
        assert!(rate.take_at(peer(1), 0).is_ok(), "one does not count for another");
        assert!(rate.take_at(ADA, SECOND_NS / 10).is_ok() && rate.take_at(ADA, SECOND_NS / 10).is_err());
        assert_eq!((0..20).filter(|_| rate.take_at(ADA, 5 * SECOND_NS).is_ok()).count(), 10);
    }

    #[test]
    fn one_a_second_is_one_a_second_and_none_is_no_limit() {
        let rate = Rate::per_second(1);
        assert!(rate.take_at(ADA, 7).is_ok() && rate.take_at(ADA, 8).is_err());
        assert!(rate.take_at(ADA, 7 + SECOND_NS).is_ok());
        let free = Rate::per_second(0);
        assert!((0..1000).all(|_| free.take(ADA).is_ok()));
    }

    #[test]
    fn buckets_are_bounded_and_full_ones_go() {
        let rate = Rate::per_second(1);
        for n in 0..RATE_BUCKETS_MAX as u32 {
            rate.take_at(peer(n), 0).unwrap();
        }
        assert!(rate.take_at(peer(u32::MAX), 1).is_ok(), "the bucket of all others");
        assert!(rate.take_at(peer(u32::MAX - 1), 1).is_err());
        assert!(rate.take_at(peer(5), 1).is_err(), "who has a bucket keeps it");
        assert!(rate.full_at.lock().unwrap().len() <= RATE_BUCKETS_MAX + 1);
        assert!(rate.take_at(peer(u32::MAX - 2), 3 * SECOND_NS).is_ok());
        assert_eq!(rate.full_at.lock().unwrap().len(), 1);
    }
}

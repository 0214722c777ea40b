//! How quickly a container answers and gives bytes, as far as that was measured here: what it is to be expected to take
//! to read from it.

use std::time::Duration;

/// For so long it counts at what rate bytes came: a link, and who uses it, change.
const RATE_MS: u64 = 60_000;

/// What came in a shorter time than this says nothing of a rate by itself: it may have waited here.
const RATED: Duration = Duration::from_millis(20);

/// So many requests at work at a container double what it is expected to take.
const DOUBLING_REQUESTS: u32 = 64;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    answers: Option<Duration>,
    /// Bytes a second, and when that was measured last.
    rate: Option<(f64, u64)>,
    /// What came since, and how long it was waited for.
    coming: (u64, Duration),
}

impl Pace {
    /// It answered a question after so long. Some take longer for what they ask, so the quick ones count for more.
    pub(super) fn answered(&mut self, took: Duration) {
        self.answers = Some(match self.answers {
            Some(before) if took > before => before + (took - before) / 16,
            _ => took,
        });
    }

    /// So many bytes came after so long.
    pub(super) fn gave(&mut self, bytes: u64, took: Duration, now_ms: u64) {
        self.coming = (self.coming.0 + bytes, self.coming.1 + took);
        // The way itself takes its time once, however much comes.
        let way = self.answers.unwrap_or_default();
        if self.coming.1 < RATED.max(2 * way) {
            return;
        }
        let (bytes, took) = std::mem::take(&mut self.coming);
        if bytes == 0 {
            return;
        }
        let rate = bytes as f64 / (took - way).as_secs_f64();
        let before = self.rate(now_ms);
        self.rate = Some((before.map_or(rate, |before| (3.0 * before + rate) / 4.0), now_ms));
    }

    /// It was late: it is taken for half as quick as it was.
    pub(super) fn late(&mut self) {
        self.rate = self.rate.map(|(rate, at_ms)| (rate / 2.0, at_ms));
    }

    /// Whether it was measured lately at what rate bytes come.
    pub(super) fn is_rated(&self, now_ms: u64) -> bool {
        self.rate(now_ms).is_some()
    }

    /// What it usually takes to answer, if that is known.
    pub(super) fn answers(&self) -> Option<Duration> {
        self.answers
    }

    fn rate(&self, now_ms: u64) -> Option<f64> {
        self.rate.filter(|(_, at_ms)| now_ms.saturating_sub(*at_ms) < RATE_MS).map(|(rate, _)| rate)
    }

    /// How long so many bytes are expected to take of who has so many requests at work. What was not measured counts for
    /// nothing, so that it is tried.
    pub(super) fn expects(&self, bytes: u64, requests: u64, now_ms: u64) -> Duration {
        let gives = self.rate(now_ms).map_or(0.0, |rate| bytes as f64 / rate);
        let load = 1.0 + requests as f64 / f64::from(DOUBLING_REQUESTS);
        self.answers.unwrap_or_default() + Duration::try_from_secs_f64(gives * load).unwrap_or(Duration::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn what_is_read_takes_longer_by_the_way_the_rate_and_the_load() {
        let mut pace = Pace::default();
        assert_eq!(pace.expects(1 << 30, 9, 1), Duration::ZERO, "what is not known is tried");
        pace.answered(MS(50));
        pace.gave(500_000, MS(99), 1_000);
        assert_eq!(pace.expects(10_000_000, 0, 1_000), MS(50), "so far it may be the way alone");
        pace.gave(500_000, MS(51), 1_000);
        assert_eq!(pace.expects(10_000_000, 0, 1_000), MS(1050));
        assert_eq!(pace.expects(10_000_000, 64, 1_000), MS(2050));
        let mut late = pace;
        late.late();
        assert_eq!(late.expects(10_000_000, 0, 1_000), MS(2050));
        late.gave(0, MS(500), 1_000);
        assert!(late.is_rated(1_000) && late.expects(u64::MAX, u64::MAX, 1_000) >= MS(50), "no number is too large");
        // What was here already was not waited for, and says nothing.
        pace.gave(1 << 30, MS(1), 1_000);
        assert_eq!(pace.expects(10_000_000, 0, 1_000 + RATE_MS - 1), MS(1050));
        assert_eq!(pace.expects(10_000_000, 0, 1_000 + RATE_MS), MS(50), "it is found out anew");
    }

    #[test]
    fn one_slow_answer_says_little_and_a_quick_one_all() {
        let mut pace = Pace::default();
        pace.answered(MS(50));
        pace.answered(MS(850));
        assert_eq!(pace.answers(), Some(MS(100)));
        pace.answered(MS(20));
        assert_eq!(pace.answers(), Some(MS(20)));
        // A way that became longer is believed after a while.
        (0..60).for_each(|_| pace.answered(MS(200)));
        assert!(pace.answers().is_some_and(|answers| answers > MS(190)));
    }
}

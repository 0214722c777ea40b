//! Versions: a hybrid logical clock and the container that gave them, totally ordered.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::VERSION_RESERVE_MS;

/// The identity of a container, drawn at random when its data folder is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId(pub u64);

/// One version of one object. A later one is greater, whatever the wall clock says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Hybrid logical time: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
    pub time: u64,
    /// The container that gave it; breaks ties.
    pub container: ContainerId,
}

impl Version {
    /// The 16 bytes that sort as versions do.
    pub fn to_be_bytes(self) -> [u8; 16] {
        ((u128::from(self.time) << 64) | u128::from(self.container.0)).to_be_bytes()
    }

    /// The version of those 16 bytes.
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Version { time: (both >> 64) as u64, container: ContainerId(both as u64) }
    }

    /// Wall-clock milliseconds since 1970, as far as the logical clock followed it.
    pub fn millis(self) -> u64 {
        self.time >> 16
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.time, self.container.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("a version is 16 hex digits, a hyphen and 16 hex digits, as in the ETag")
                .with("version", text.escape_default())
        };
        let field = |hex: &str| {
            let plain = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if plain { u64::from_str_radix(hex, 16).map_err(|_| bad()) } else { Err(bad()) }
        };
        let (time, container) = text.split_once('-').ok_or_else(bad)?;
        Ok(Version { time: field(time)?, container: ContainerId(field(container)?) })
    }
}

/// Gives versions: never the same twice, never backwards, not even over a restart.
///
/// A ceiling is made durable before any version beneath it is used; a restart goes on from there.
#[derive(Debug)]
pub struct VersionClock {
    container: ContainerId,
    /// The last time given or seen.
    last: u64,
    /// No version above this may be given until a higher ceiling is durable.
    ceiling: u64,
}

impl VersionClock {
    /// A clock that goes on from the ceiling its last life made durable (0 for a new container).
    pub fn resume(container: ContainerId, durable_ceiling: u64) -> Self {
        VersionClock { container, last: durable_ceiling, ceiling: durable_ceiling }
    }

    /// The ceiling that must be durable before `count` more versions can be given at `now_ms`;
    /// `None` when the present one suffices. Asked for while half of the reserve is left: the clock goes on
    /// between this question and the versions, and they must not find themselves above the ceiling.
    pub fn ceiling_needed(&self, now_ms: u64, count: u64) -> Option<u64> {
        let highest = self.last.max(now_ms << 16).saturating_add(count);
        let short = highest.saturating_add((VERSION_RESERVE_MS / 2) << 16) > self.ceiling;
        short.then(|| highest.saturating_add(VERSION_RESERVE_MS << 16))
    }

    /// Whether the next version can be given right now.
    pub fn can_give(&self, now_ms: u64) -> bool {
        (self.last + 1).max(now_ms << 16) <= self.ceiling
    }

    /// Takes note that `ceiling` is durable now.
    pub fn raise_ceiling(&mut self, ceiling: u64) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    /// No version above this has been given.
    pub fn last(&self) -> Version {
        Version { time: self.last, container: self.container }
    }

    /// The next version, greater than all before it; `None` until a higher ceiling is durable.
    pub fn next(&mut self, now_ms: u64) -> Option<Version> {
        let time = (self.last + 1).max(now_ms << 16);
        if time > self.ceiling {
            return None;
        }
        self.last = time;
        Some(Version { time, container: self.container })
    }

    /// A version greater than this one, which is so far ahead that it was not observed. It may lie above the
    /// ceiling: what it must exceed is in the store, so no later version at its address falls below it.
    pub fn beyond(&self, version: Version) -> Version {
        Version { time: version.time.saturating_add(1), container: self.container }
    }

    /// Takes note of a version seen in the store, so that the next one given is greater.
    pub fn observe(&mut self, version: Version) {
        self.last = self.last.max(version.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ContainerId = ContainerId(7);

    #[test]
    fn text_and_bytes_round_trip_and_sort() {
        let low = Version { time: 5, container: ContainerId(u64::MAX) };
        let high = Version { time: 6, container: ContainerId(0) };
        assert!(low < high && low.to_be_bytes() < high.to_be_bytes() && low.to_string() < high.to_string());
        assert_eq!(Version::from_be_bytes(low.to_be_bytes()), low);
        assert_eq!(low.to_string().parse::<Version>().unwrap(), low);
        for bad in ["", "1-2", "+000000000000005-ffffffffffffffff", "000000000000000G-0000000000000000"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_never_go_back_over_a_restart_or_a_clock_set_back() {
        let mut clock = VersionClock::resume(ME, 0);
        assert_eq!(clock.next(1_000), None, "no version before a durable ceiling");
        let ceiling = clock.ceiling_needed(1_000, 1).unwrap();
        clock.raise_ceiling(ceiling);
        let first = clock.next(1_000).unwrap();
        let second = clock.next(1).unwrap();
        assert!(second > first, "the wall clock went back, the version did not");

        // Time goes on between the question and the versions: at no instant is one refused.
        for now in (1_000..60_000).step_by(7) {
            if let Some(ceiling) = clock.ceiling_needed(now, 3) {
                clock.raise_ceiling(ceiling);
            }
            assert!((0..3).all(|n| clock.next(now + n * VERSION_RESERVE_MS / 8).is_some()), "at {now}");
        }

        let mut again = VersionClock::resume(ME, ceiling);
        again.raise_ceiling(again.ceiling_needed(1, 1).unwrap());
        assert!(again.next(1).unwrap() > second);
    }
}

//! Gives out versions and dots, in the order in which changes become visible.

use std::sync::{Arc, Mutex};

use super::locked;
use crate::limits::CLOCK_AHEAD_MS_MAX;
use crate::model::{Clock, ContainerId, Dot, Incarnation, Version, VersionClock};

/// The one source of versions and dots of a container.
pub struct Sequencer {
    clock: Arc<dyn Clock>,
    incarnation: Incarnation,
    state: Mutex<State>,
}

struct State {
    versions: VersionClock,
    seq: u64,
    /// Before each [`Window`] that is open, the last change that was made.
    open: Vec<u64>,
}

/// While it is open, changes may have a dot and not be visible yet.
pub struct Window<'a> {
    of: &'a Sequencer,
    before: u64,
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.of.state);
        let at = state.open.iter().position(|before| *before == self.before);
        at.map(|at| state.open.swap_remove(at));
    }
}

/// A version and the dot of the change that gets it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Greater than every version given before.
    pub version: Version,
    /// The change's name.
    pub dot: Dot,
    /// Wall-clock milliseconds since 1970.
    pub now_ms: u64,
}

impl Sequencer {
    /// Goes on from the version ceiling that the container's last life made durable.
    pub fn resume(container: ContainerId, ceiling: u64, incarnation: Incarnation, clock: Arc<dyn Clock>) -> Self {
        let versions = VersionClock::resume(container, ceiling);
        Sequencer { clock, incarnation, state: Mutex::new(State { versions, seq: 0, open: Vec::new() }) }
    }

    /// The ceiling to make durable before `count` more stamps can be given, if the present one is too low.
    pub fn ceiling_needed(&self, count: u64) -> Option<u64> {
        locked(&self.state).versions.ceiling_needed(self.clock.now_ms(), count)
    }

    /// Whether a stamp can be given right now.
    pub fn can_stamp(&self) -> bool {
        locked(&self.state).versions.can_give(self.clock.now_ms())
    }

    /// Takes note that the store holds this ceiling now.
    pub fn raise_ceiling(&self, ceiling: u64) {
        locked(&self.state).versions.raise_ceiling(ceiling);
    }

    /// Wall-clock milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The dot of the last change that got a version in this life.
    pub fn last(&self) -> Dot {
        Dot { incarnation: self.incarnation, seq: locked(&self.state).seq }
    }

    /// The greatest version given so far.
    pub fn last_version(&self) -> Version {
        locked(&self.state).versions.last()
    }

    /// Opened before stamps are taken, and dropped once their changes are visible or void.
    pub fn window(&self) -> Window<'_> {
        let mut state = locked(&self.state);
        let before = state.seq;
        state.open.push(before);
        Window { of: self, before }
    }

    /// Every change up to this one is visible or void.
    pub fn settled(&self) -> Dot {
        let state = locked(&self.state);
        let seq = state.open.iter().min().copied().unwrap_or(state.seq);
        Dot { incarnation: self.incarnation, seq }
    }

    /// Takes note of a version that another container gave, so that the next one given here is greater. One from
    /// too far ahead is not believed: a clock that is wrong must not carry the others along. Says whether it was.
    pub fn observe(&self, version: Version) -> bool {
        let believed = version.millis() <= self.clock.now_ms().saturating_add(CLOCK_AHEAD_MS_MAX);
        if believed {
            locked(&self.state).versions.observe(version);
        }
        believed
    }

    /// The next stamp, with a version greater than this one; `None` until a higher ceiling is durable.
    pub fn stamp_above(&self, known: Option<Version>) -> Option<Stamp> {
        let stamp = self.stamp()?;
        let version = match known {
            Some(known) if known >= stamp.version => locked(&self.state).versions.beyond(known),
            _ => stamp.version,
        };
        Some(Stamp { version, ..stamp })
    }

    /// The next stamp; `None` until a higher ceiling is durable.
    pub fn stamp(&self) -> Option<Stamp> {
        let now_ms = self.clock.now_ms();
        let mut state = locked(&self.state);
        let version = state.versions.next(now_ms)?;
        state.seq += 1;
        Some(Stamp { version, dot: Dot { incarnation: self.incarnation, seq: state.seq }, now_ms })
    }
}

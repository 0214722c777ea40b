//! The two threads behind one direction of a link: one takes packets from the device at the near end, one gives
//! them to the device at the far end when they are due. Both sleep while there is nothing to do.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lane::{Fate, Lane};
use super::quality::{Counts, Quality};

/// A packet of IP is no longer than this.
const PACKET_BYTES_MAX: usize = 64 << 10;

/// Of packets that follow each other closely, several are delivered at once, as much later than due at most: a
/// thread that wakes for each takes more than twice the processor time.
const TICK: Duration = Duration::from_micros(500);

/// One direction of a link, which may be changed at any time.
pub struct Direction {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lane: Lane,
    closed: bool,
}

impl Direction {
    pub(super) fn new(quality: Quality, seed: u64) -> Self {
        let lane = Lane::new(quality, seed, Instant::now());
        Direction { state: Mutex::new(State { lane, closed: false }), changed: Condvar::new() }
    }

    pub fn quality(&self) -> Quality {
        self.lock().lane.quality()
    }

    /// What is on the way arrives as it would have; what waits in the queue, and all that comes, goes by this.
    #[track_caller]
    pub fn set(&self, quality: Quality) {
        quality.check();
        self.lock().lane.set(quality, Instant::now());
        self.changed.notify_one();
    }

    /// Loses what is on the way and all that comes, without a word to either end: as where a cable is cut far away.
    pub fn cut(&self) {
        self.lock().lane.cut(Instant::now());
    }

    pub fn heal(&self) {
        self.lock().lane.heal();
    }

    pub fn counts(&self) -> Counts {
        self.lock().lane.counts()
    }

    /// Takes packets from the near end, until that device is gone.
    pub(super) fn take(&self, mut near: &File, far: &File) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let packet = match near.read(&mut buffer) {
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let mut state = self.lock();
            if state.closed {
                return;
            }
            let fate = state.lane.offer(packet, Instant::now());
            drop(state);
            match fate {
                Fate::Passes => deliver(far, packet),
                Fate::Flies { next: true } => self.changed.notify_one(),
                Fate::Flies { next: false } | Fate::Dropped => {}
            }
        }
    }

    /// Gives packets to the far end when they are due, until the direction is closed.
    pub(super) fn give(&self, far: &File) {
        let (mut arrived, mut last) = (Vec::new(), Instant::now());
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            state.lane.take(now, &mut arrived);
            state = if !arrived.is_empty() {
                drop(state);
                arrived.drain(..).for_each(|packet| deliver(far, &packet));
                last = now;
                self.lock()
            } else if let Some(due) = state.lane.next_due() {
                let waited = self.changed.wait_timeout(state, due.max(last + TICK) - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Also after a panic: a bed is taken down then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the far end does not take is lost, as on any network.
fn deliver(mut far: &File, packet: &[u8]) {
    let _ = far.write(packet);
}

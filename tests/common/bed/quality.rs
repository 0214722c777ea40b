//! How good a link is, and what has passed it.

use std::time::Duration;

/// What one direction of a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// One way, after a packet has left the queue.
    pub delay: Duration,
    /// Bits a second, headers of IP included; as fast as the machine can where there is none.
    pub rate_bits: Option<u64>,
    /// The share of packets that get lost on the way: from 0 to 1. They take their part of the rate all the same.
    pub loss: f64,
    /// What waits for its turn at most; of no effect without a rate.
    pub queue: Queue,
}

/// The bound of a queue. What comes while it is full is dropped, as a router does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Queue {
    /// So many bytes wait at most.
    Bytes(u64),
    /// No packet waits longer than this for its turn.
    Time(Duration),
}

impl Default for Quality {
    /// No delay, no loss, as fast as it gets. The queue, once there is a rate, is a usual one for an access line:
    /// long enough for one TCP stream to use all of the rate at a round trip of 100 ms.
    fn default() -> Self {
        Quality { delay: Duration::ZERO, rate_bits: None, loss: 0.0, queue: Queue::Time(Duration::from_millis(100)) }
    }
}

impl Quality {
    /// A link with this delay each way, and nothing else to it.
    pub fn delayed(delay: Duration) -> Self {
        Quality { delay, ..Quality::default() }
    }

    /// The same link at so many bits a second.
    pub fn rated(self, bits: u64) -> Self {
        Quality { rate_bits: Some(bits), ..self }
    }

    /// The same link with this share of packets lost.
    pub fn losing(self, loss: f64) -> Self {
        Quality { loss, ..self }
    }

    #[track_caller]
    pub(super) fn check(&self) {
        assert!((0.0..=1.0).contains(&self.loss), "a share of lost packets is from 0 to 1, not {}", self.loss);
        assert_ne!(self.rate_bits, Some(0), "a link on which nothing passes is a cut one");
    }
}

impl Queue {
    /// Whether a packet of so many bytes may join a queue that takes so long to empty at this rate.
    pub(super) fn takes(self, wait: Duration, bytes: usize, rate_bits: u64) -> bool {
        match self {
            Queue::Time(bound) => wait <= bound,
            Queue::Bytes(bound) => {
                let waiting = wait.as_nanos() * u128::from(rate_bits) / 8_000_000_000;
                waiting + bytes as u128 <= u128::from(bound)
            }
        }
    }
}

/// What has passed one direction of a link since it was laid, and what has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that arrived.
    pub packets: u64,
    /// Their bytes, headers of IP included.
    pub bytes: u64,
    /// Packets that the quality of the link says are lost.
    pub lost: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// Packets that were on the way when the link was cut, or came while it was.
    pub cut: u64,
}

impl Counts {
    pub fn dropped(&self) -> u64 {
        self.lost + self.overflowed + self.cut
    }
}

//! What one direction of a link decides: which packet arrives, and when. It has no threads and no clock of its
//! own, so the same packets at the same times with the same seed always fare the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::quality::{Counts, Quality};

/// What is on the way in one direction at most: half a gigabit a second for a second.
const FLYING_BYTES_MAX: usize = 64 << 20;

pub struct Lane {
    quality: Quality,
    up: bool,
    dice: u64,
    /// When the last packet of the queue has been sent.
    free_at: Instant,
    /// What is queued or on the way, ordered by when it arrives.
    flying: VecDeque<Packet>,
    flying_bytes: usize,
    /// Whether packets have been taken that are not delivered yet: none may overtake them.
    delivering: bool,
    counts: Counts,
}

struct Packet {
    /// When its last bit leaves the queue.
    sent: Instant,
    due: Instant,
    bytes: Box<[u8]>,
}

/// What becomes of a packet that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to be delivered at once, by who offered it.
    Passes,
    /// It is kept until it is due; `next` tells that nothing else is due before.
    Flies {
        next: bool,
    },
    Dropped,
}

impl Lane {
    pub fn new(quality: Quality, seed: u64, now: Instant) -> Self {
        quality.check();
        let (flying, counts) = (VecDeque::new(), Counts::default());
        Lane { quality, up: true, dice: seed, free_at: now, flying, flying_bytes: 0, delivering: false, counts }
    }

    pub fn offer(&mut self, bytes: &[u8], now: Instant) -> Fate {
        if !self.up {
            self.counts.cut += 1;
            return Fate::Dropped;
        }
        let Some(sent) = self.enqueue(bytes.len(), now) else {
            self.counts.overflowed += 1;
            return Fate::Dropped;
        };
        if self.quality.loss > 0.0 && self.roll() < self.quality.loss {
            self.counts.lost += 1;
            return Fate::Dropped;
        }
        let due = sent + self.quality.delay;
        if due <= now && self.flying.is_empty() && !self.delivering {
            self.count(bytes.len());
            return Fate::Passes;
        }
        if self.flying_bytes + bytes.len() > FLYING_BYTES_MAX {
            self.counts.overflowed += 1;
            return Fate::Dropped;
        }
        self.flying_bytes += bytes.len();
        // Only where the delay has become shorter is a packet due before those that left earlier.
        let place = match self.flying.back() {
            Some(last) if last.due > due => self.flying.partition_point(|packet| packet.due <= due),
            _ => self.flying.len(),
        };
        self.flying.insert(place, Packet { sent, due, bytes: bytes.into() });
        Fate::Flies { next: place == 0 }
    }

    /// When a packet that comes now will have been sent; nothing where the queue is full.
    fn enqueue(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(rate_bits) = self.quality.rate_bits else { return Some(now) };
        let start = self.free_at.max(now);
        let wait = start - now;
        // A queue has room for one packet, however small it is.
        if !wait.is_zero() && !self.quality.queue.takes(wait, bytes, rate_bits) {
            return None;
        }
        self.free_at = start + time_to_send(bytes, rate_bits);
        Some(self.free_at)
    }

    /// When the next packet arrives.
    pub fn next_due(&self) -> Option<Instant> {
        self.flying.front().map(|packet| packet.due)
    }

    /// Takes what has arrived, for delivery. Who takes it comes back when that is done.
    pub fn take(&mut self, now: Instant, arrived: &mut Vec<Box<[u8]>>) {
        while self.flying.front().is_some_and(|packet| packet.due <= now)
            && let Some(packet) = self.flying.pop_front()
        {
            self.flying_bytes -= packet.bytes.len();
            self.count(packet.bytes.len());
            arrived.push(packet.bytes);
        }
        self.delivering = !arrived.is_empty();
    }

    /// What is on the way stays so; what waits in the queue goes as the new quality has it.
    pub fn set(&mut self, quality: Quality, now: Instant) {
        self.quality = quality;
        self.free_at = now;
        for packet in self.flying.iter_mut().filter(|packet| packet.sent > now) {
            let lasts = quality.rate_bits.map(|rate_bits| time_to_send(packet.bytes.len(), rate_bits));
            self.free_at += lasts.unwrap_or_default();
            packet.sent = self.free_at;
            packet.due = packet.sent + quality.delay;
        }
        self.flying.make_contiguous().sort_by_key(|packet| packet.due);
    }

    /// Loses what is on the way, and all that comes until it is healed.
    pub fn cut(&mut self, now: Instant) {
        self.up = false;
        self.counts.cut += self.flying.len() as u64;
        self.flying.clear();
        self.flying_bytes = 0;
        self.free_at = now;
    }

    pub fn heal(&mut self) {
        self.up = true;
    }

    pub fn quality(&self) -> Quality {
        self.quality
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn count(&mut self, bytes: usize) {
        self.counts.packets += 1;
        self.counts.bytes += bytes as u64;
    }

    /// From 0 to 1, by SplitMix64.
    fn roll(&mut self) -> f64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn time_to_send(bytes: usize, rate_bits: u64) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(8_000_000_000) / rate_bits)
}

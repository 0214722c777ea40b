//! How often keys were used lately, in a few bits a key: a count-min sketch with 4-bit counters.
//!
//! A doorkeeper (one bit in a Bloom filter) holds a key's first use, so that what is seen once takes no
//! counter. After sixteen uses per entry every count is halved and the doorkeeper emptied: old fame fades.
//! The tables' sizes are powers of two, so they grow by being copied twice, and no count is lost.

/// Sixteen counters a word, four of them to each key: a word an entry keeps errors rare.
const ROWS: u32 = 4;

/// Uses per entry before counts are halved: an entry of mean fame just fills its counter. With ten, as is
/// usual, small levels remember too little (0.5 points fewer hits on Zipf); with twenty and more a hot set
/// that moves on is mourned too long. `benches/eviction` measures both.
const SAMPLE: usize = 16;

/// The smallest number of entries a sketch is made for.
const ENTRIES_MIN: usize = 64;

const NIBBLES_LOW: u64 = 0x7777_7777_7777_7777;

/// Use counts of hashed keys.
pub(super) struct Sketch {
    /// One word an entry.
    counters: Vec<u64>,
    /// A word for four entries: sixteen bits each.
    door: Vec<u64>,
    /// Uses since the last halving.
    uses: usize,
}

impl Sketch {
    pub fn new() -> Self {
        Sketch { counters: vec![0; ENTRIES_MIN], door: vec![0; ENTRIES_MIN / 4], uses: 0 }
    }

    /// Makes room for this many entries.
    pub fn grow_for(&mut self, entries: usize) {
        while self.counters.len() < entries {
            self.counters.extend_from_within(..);
            self.door.extend_from_within(..);
        }
    }

    /// Notes one use.
    pub fn record(&mut self, hash: u64) {
        if self.open_door(hash) {
            self.count(hash);
        }
        self.uses += 1;
        if self.uses >= SAMPLE * self.counters.len() {
            self.halve();
        }
    }

    /// How often it was used lately.
    pub fn estimate(&self, hash: u64) -> u8 {
        let door =
            u8::from(self.door_bits(hash).into_iter().all(|(at, bit)| self.door.get(at).is_some_and(|w| w & bit != 0)));
        door + self.lowest(hash)
    }

    fn lowest(&self, hash: u64) -> u8 {
        let count = |(at, shift): (usize, u32)| self.counters.get(at).map_or(0, |word| (word >> shift) as u8 & 15);
        (0..ROWS).map(|row| count(self.place(hash, row))).min().unwrap_or(0)
    }

    /// Raises only the lowest of a key's counters: the others are already too high through strangers.
    fn count(&mut self, hash: u64) {
        let lowest = self.lowest(hash);
        if lowest == 15 {
            return;
        }
        for row in 0..ROWS {
            let (at, shift) = self.place(hash, row);
            if let Some(word) = self.counters.get_mut(at)
                && (*word >> shift) as u8 & 15 == lowest
            {
                *word += 1 << shift;
            }
        }
    }

    /// Sets the doorkeeper's bits and says whether they were set before.
    fn open_door(&mut self, hash: u64) -> bool {
        let mut known = true;
        for (at, bit) in self.door_bits(hash) {
            if let Some(word) = self.door.get_mut(at) {
                known &= *word & bit != 0;
                *word |= bit;
            }
        }
        known
    }

    fn halve(&mut self) {
        self.counters.iter_mut().for_each(|word| *word = (*word >> 1) & NIBBLES_LOW);
        self.door.fill(0);
        self.uses /= 2;
    }

    /// A row's word and the counter's shift in it; each row has four of the word's counters to itself.
    fn place(&self, hash: u64, row: u32) -> (usize, u32) {
        let mixed = mix(hash, u64::from(row));
        let nibble = row * 4 + (mixed >> 62) as u32;
        (mixed as usize & (self.counters.len() - 1), nibble * 4)
    }

    fn door_bits(&self, hash: u64) -> [(usize, u64); 2] {
        [4, 5].map(|row| {
            let mixed = mix(hash, row);
            (mixed as usize & (self.door.len() - 1), 1 << (mixed >> 58))
        })
    }
}

/// Another hash of the same key for each row.
fn mix(hash: u64, row: u64) -> u64 {
    let z = (hash ^ (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (z >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(key: u64) -> u64 {
        mix(key, 77)
    }

    #[test]
    fn counts_are_never_too_low_and_seldom_too_high() {
        let mut sketch = Sketch::new();
        sketch.grow_for(1000);
        for key in 0..1000 {
            (0..key % 8).for_each(|_| sketch.record(spread(key)));
        }
        let errors = |key: &u64| u64::from(sketch.estimate(spread(*key))) - key % 8;
        assert!((0..1000).filter(|key| errors(key) > 0).count() < 100);
    }

    #[test]
    fn counts_stop_at_the_highest() {
        let mut sketch = Sketch::new();
        (0..100).for_each(|_| sketch.record(1));
        assert_eq!(sketch.estimate(1), 16, "a full counter and the doorkeeper's bit");
        assert_eq!(sketch.estimate(2), 0);
    }

    #[test]
    fn growing_loses_no_count() {
        let mut sketch = Sketch::new();
        for key in 0..60 {
            (0..key % 5).for_each(|_| sketch.record(spread(key)));
        }
        let before: Vec<_> = (0..200).map(|key| sketch.estimate(spread(key))).collect();
        sketch.grow_for(5000);
        assert_eq!(sketch.counters.len(), 8192);
        assert_eq!(before, (0..200).map(|key| sketch.estimate(spread(key))).collect::<Vec<_>>());
    }

    #[test]
    fn old_fame_fades() {
        let mut sketch = Sketch::new();
        (0..15).for_each(|_| sketch.record(1));
        (0..5000).for_each(|key| sketch.record(spread(key)));
        assert!(sketch.estimate(1) < 8);
    }

    #[test]
    fn halving_forgets_what_was_seen_once() {
        let mut sketch = Sketch::new();
        sketch.record(1);
        (1..SAMPLE * ENTRIES_MIN).for_each(|_| sketch.record(2));
        assert_eq!((sketch.estimate(1), sketch.estimate(2)), (0, 7));
    }
}

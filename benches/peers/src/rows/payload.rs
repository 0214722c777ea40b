//! The bytes that are stored: the same in each run.

use bytes::Bytes;
use meshstore::model::{Rng, SeededRng};

/// Bytes that nothing makes smaller.
pub fn random(size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    SeededRng::new(size as u64).fill(&mut bytes);
    bytes.into()
}

/// What sensors write down: text that zstd makes four or five times smaller.
pub fn text(size: usize) -> Bytes {
    let rng = SeededRng::new(42);
    let mut out = String::with_capacity(size + 128);
    let (mut seconds, mut temperature) = (1_700_000_000u64, 20_000i64);
    while out.len() < size {
        seconds += 5;
        temperature += rng.below(200) as i64 - 99;
        let (humidity, station) = (40 + rng.below(30), rng.below(64));
        let (whole, rest) = (temperature / 1000, (temperature % 1000).abs());
        out.push_str(&format!("{seconds},station-{station:03},{whole}.{rest:03},{humidity},OK,edge-{}\n", station % 4));
    }
    let mut bytes = out.into_bytes();
    bytes.truncate(size);
    bytes.into()
}

//! What one direction of a link decides, without threads and at times of the test's own.

use std::time::{Duration, Instant};

use super::DELAY;
use super::bed::lane::{Fate, Lane};
use super::bed::{Quality, Queue};

#[test]
fn the_same_seed_loses_the_same_packets() {
    let now = Instant::now();
    let lost = |seed| {
        let mut lane = Lane::new(Quality::default().losing(0.2), seed, now);
        (0..1000).map(|_| lane.offer(b"packet", now) == Fate::Dropped).collect::<Vec<_>>()
    };
    assert_eq!(lost(1), lost(1));
    assert_ne!(lost(1), lost(2));
    let count = lost(3).iter().filter(|lost| **lost).count();
    assert!((150..250).contains(&count), "{count}");
}

#[test]
fn a_full_queue_drops_what_comes_last() {
    let now = Instant::now();
    // A packet of 1000 bytes takes a millisecond.
    let quality = Quality { queue: Queue::Bytes(4000), ..Quality::delayed(DELAY).rated(8_000_000) };
    let at = |ms: u64| now + Duration::from_millis(ms);
    let mut lane = Lane::new(quality, 0, now);
    for _ in 0..4 {
        assert_ne!(lane.offer(&[0; 1000], now), Fate::Dropped);
    }
    assert_eq!(lane.offer(&[0; 1000], now), Fate::Dropped);
    assert_eq!((lane.counts().overflowed, lane.next_due()), (1, Some(at(26))));
    let arrivals = |lane: &mut Lane, at| {
        let mut arrived = Vec::new();
        lane.take(at, &mut arrived);
        arrived.len()
    };
    assert_eq!((arrivals(&mut lane, at(25)), arrivals(&mut lane, at(27))), (0, 2));

    // What is on the way stays so; what waits goes as it is set meanwhile.
    let mut lane = Lane::new(Quality { queue: Queue::Time(Duration::from_millis(3)), ..quality }, 0, now);
    for _ in 0..4 {
        assert_ne!(lane.offer(&[0; 1000], now), Fate::Dropped);
    }
    assert_eq!(lane.offer(&[0; 1], now), Fate::Dropped);
    lane.set(quality.rated(800_000), at(2));
    assert_eq!((arrivals(&mut lane, at(36)), arrivals(&mut lane, at(37)), arrivals(&mut lane, at(47))), (2, 1, 1));
    lane.offer(b"on the way", at(50));
    lane.cut(at(51));
    assert_eq!((lane.offer(b"lost", at(52)), lane.counts().cut, lane.next_due()), (Fate::Dropped, 2, None));
}

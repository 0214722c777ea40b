//! A level and its policies under many threads: the budget holds at all times, and in the end the books, the
//! index and the sum of bytes agree, whatever the policy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Choice, Choices, Policy, Sections};
use crate::model::{
    Address, Chunks, ContainerId, Digest, DigestKind, Dot, Durability, EvictionKind, Incarnation, Manifest, NfrSpec,
    Rng, SeededRng, Usage, Version,
};
use crate::tiers::{MemoryTier, Note, Reservation};

const BUDGET: u64 = 200_000;
const SIZE_MAX: u64 = 3000;
const THREADS: u64 = 4;
const STEPS: usize = 4000;

/// A level, its books, and versions.
struct Level {
    memory: Arc<MemoryTier>,
    books: Mutex<Sections<Address>>,
    time: AtomicU64,
    over: AtomicBool,
}

impl Level {
    fn learn(&self, books: &mut Sections<Address>) {
        let books = std::cell::RefCell::new(books);
        let note = |note| match note {
            Note::Inserted(address, cost) => books.borrow_mut().insert(address, cost),
            Note::Removed(address) => books.borrow_mut().remove(&address),
        };
        self.memory.drain_notes(note, |address| books.borrow_mut().touch(&address));
        let pins = books.borrow().pins();
        self.memory.note_pins(pins);
    }

    /// Room for this many bytes, as the actors make it; none if others are quicker all the time.
    fn room(&self, bytes: u64) -> Option<Reservation> {
        for _ in 0..100 {
            if let Some(room) = self.memory.try_reserve(bytes) {
                return Some(room);
            }
            let short = self.memory.shortage(bytes)?;
            let mut books = self.books.lock().unwrap();
            self.learn(&mut books);
            for victim in books.victims(short.max(1), &|_| false) {
                if self.memory.evict_clean(&victim).is_none() {
                    // Dirty: the actors write it to disk first, and only then is it let go.
                    if let Some(dirty) = self.memory.peek(&victim).filter(|resident| resident.dirty) {
                        self.memory.settle(&victim, dirty.manifest.version);
                    }
                }
            }
        }
        None
    }

    fn manifest(&self, size: u64) -> Arc<Manifest> {
        let time = self.time.fetch_add(1, Ordering::Relaxed);
        Arc::new(Manifest {
            version: Version { time, container: ContainerId(1) },
            dot: Dot { incarnation: Incarnation(1), seq: time },
            replaces: None,
            size,
            digest: Digest { kind: DigestKind::Blake3, bytes: [0; 32] },
            content_type: None,
            meta: Default::default(),
            modified_ms: time,
            expires_ms: None,
            nfr: NfrSpec::default(),
            durability: Durability::Disk,
            seal: None,
            moves: 0,
        })
    }

    fn step(&self, rng: &SeededRng) {
        let collection = ["kept", "lru", "lfu", "w-tinylfu", "other"][rng.below(5) as usize];
        let address: Address = format!("{collection}/{}", rng.below(100)).parse().unwrap();
        match rng.below(10) {
            0 => self.memory.supersede(&address, self.manifest(0).version),
            1..4 => drop(self.memory.get(&address)),
            what => {
                let size = rng.below(SIZE_MAX);
                let Some(mut room) = self.room(MemoryTier::cost(&address, size)) else { return };
                let chunks = Chunks::from(Bytes::from(vec![7; size as usize]));
                let manifest = self.manifest(size);
                let ticket = self.memory.ticket(&address);
                match what {
                    4 => drop(
                        self.memory
                            .publish_dirty(ticket, &address, chunks, &mut room, Usage::default(), || Some(manifest)),
                    ),
                    5 => drop(self.memory.promote(ticket, &address, manifest, chunks, &mut room)),
                    _ => drop(self.memory.publish(&address, manifest, chunks, &mut room)),
                }
            }
        }
        self.over.fetch_or(self.memory.usage().bytes > BUDGET, Ordering::Relaxed);
    }
}

fn choices() -> Choices {
    Arc::new(|name| Choice { kind: name.parse().ok(), pinned: name == "kept" })
}

#[test]
fn the_budget_holds_and_no_entry_is_lost_or_counted_twice() {
    for kind in EvictionKind::ALL {
        let level = Level {
            memory: MemoryTier::new(BUDGET),
            books: Mutex::new(Sections::new(kind, BUDGET, 7, choices()).pin_at_most(25)),
            time: AtomicU64::new(1),
            over: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            for seed in 0..THREADS {
                let level = &level;
                scope.spawn(move || {
                    let rng = SeededRng::new(seed);
                    (0..STEPS).for_each(|_| level.step(&rng));
                });
            }
        });
        assert!(!level.over.load(Ordering::Relaxed), "{kind:?}: the budget was exceeded");
        let (mut books, mut here, mut known) = (level.books.lock().unwrap(), BTreeMap::new(), BTreeMap::new());
        level.learn(&mut books);
        level.memory.each(|address, cost| assert!(here.insert(address.clone(), cost).is_none()));
        books.each(&mut |address, cost| assert!(known.insert(address.clone(), cost).is_none()));
        assert_eq!(here, known, "{kind:?}: the books are those of the level");
        let bytes: u64 = here.values().sum();
        let usage = level.memory.usage();
        assert_eq!((usage.objects, usage.bytes), (here.len() as u64, bytes), "{kind:?}");
        assert_eq!((books.len(), books.cost()), (here.len(), bytes), "{kind:?}");
        assert!(usage.pins.bytes > BUDGET / 8 && usage.pins.bytes <= BUDGET / 4, "{:?}", usage.pins);
        assert!(bytes > BUDGET / 2, "{kind:?}: it was full");
        let kept = here.iter().filter(|(address, _)| address.collection() == "kept").map(|(_, cost)| cost);
        assert_eq!(kept.sum::<u64>(), usage.pins.bytes + usage.pins.spilled, "{kind:?}");
    }
}

//! The eviction actor of a level: decides which entries leave.
//!
//! Owns: the policies of its level and their books. Asked by: memory (`MakeRoom`, `Reinstate`), container
//! (`Consider`), the clockwork (`Learn`). Bound: `ACTOR_QUEUE_MAX`; callers wait. A new life starts with books
//! made from what the level holds. It knows its level by a trait alone, so every level that entries leave can
//! have an actor of this type.

use std::sync::Arc;

use super::runtime::{Answer, Ask, Serves};
use crate::model::{Address, EvictionKind};
use crate::tiers::Note;
use crate::tiers::eviction::{Choices, Evictable, Policy, Sections};

/// The actor.
pub struct EvictionActor {
    policy: Sections<Address>,
    level: Arc<dyn Evictable>,
    /// Whether it was said that more is pinned than may be.
    warned: bool,
}

/// How a level is kept.
#[derive(Clone, Copy, Debug)]
pub struct EvictionOptions {
    /// The policy of collections that choose none.
    pub kind: EvictionKind,
    /// Percent of the level that pinned collections may hold.
    pub pinned_percent_max: u64,
}

/// Choose entries whose leaving frees at least this many bytes; none when everything else is on its way in
/// or pinned.
pub struct MakeRoom {
    /// How many.
    pub bytes: u64,
}

impl Ask for MakeRoom {
    type Reply = Vec<Address>;
}

/// These were chosen but could not leave.
pub struct Reinstate {
    /// Which.
    pub addresses: Vec<Address>,
}

impl Ask for Reinstate {
    type Reply = ();
}

/// Say whether an object that was read from a slower level is worth a place in this one.
pub struct Consider {
    /// Which object.
    pub address: Address,
    /// What it would cost.
    pub cost: u64,
}

impl Ask for Consider {
    type Reply = bool;
}

/// Read what the level noted and what collections ask for: asked now and then, so that notes do not pile
/// up and a changed policy is in force.
pub struct Learn;

impl Ask for Learn {
    type Reply = ();
}

impl EvictionActor {
    /// Policies over the entries that the level holds.
    ///
    /// The seed is drawn at each start, so that strangers cannot choose keys that collide in the sketch.
    pub fn new(options: EvictionOptions, level: Arc<dyn Evictable>, choices: Choices, seed: u64) -> Self {
        let policy = Sections::new(options.kind, level.budget(), seed, choices);
        let mut policy = policy.pin_at_most(options.pinned_percent_max);
        // Notes of a former life are gone with its books; what is here now counts.
        level.drain_notes(&mut |_| {}, &mut |_| {});
        level.each(&mut |address, cost| policy.insert(address.clone(), cost));
        EvictionActor { policy, level, warned: false }
    }

    fn learn(&mut self) {
        let policy = std::cell::RefCell::new(&mut self.policy);
        let mut note = |note| match note {
            Note::Inserted(address, cost) => policy.borrow_mut().insert(address, cost),
            Note::Removed(address) => policy.borrow_mut().remove(&address),
        };
        self.level.drain_notes(&mut note, &mut |address| policy.borrow_mut().touch(&address));
    }

    /// Tells the level what is pinned, and whoever reads the log when that is more than may be.
    fn report(&mut self) {
        let pins = self.policy.pins();
        self.level.note_pins(pins);
        if pins.spilled > 0 && !self.warned {
            tracing::warn!(
                pinned_bytes = pins.bytes,
                pinned_bytes_max = pins.bytes_max,
                spilled_bytes = pins.spilled,
                "pinned collections hold more than may be pinned; the rest leaves like any other object: unpin a collection, or raise memory.level1_bytes or memory.pinned_percent_max"
            );
        }
        self.warned = pins.spilled > 0 || (self.warned && pins.bytes > pins.bytes_max / 2);
    }
}

impl Serves<MakeRoom> for EvictionActor {
    fn serve(&mut self, MakeRoom { bytes }: MakeRoom) -> Answer<Vec<Address>> {
        self.learn();
        let victims = self.policy.victims(bytes, &|_| false);
        self.report();
        Answer::Ready(Ok(victims))
    }
}

impl Serves<Reinstate> for EvictionActor {
    fn serve(&mut self, Reinstate { addresses }: Reinstate) -> Answer<()> {
        self.learn();
        for address in addresses {
            if let Some(cost) = self.level.cost(&address) {
                self.policy.insert(address, cost);
            }
        }
        Answer::Ready(Ok(()))
    }
}

impl Serves<Consider> for EvictionActor {
    fn serve(&mut self, Consider { address, cost }: Consider) -> Answer<bool> {
        self.learn();
        self.policy.miss(&address);
        Answer::Ready(Ok(self.policy.admits(&address, cost, self.level.free())))
    }
}

impl Serves<Learn> for EvictionActor {
    fn serve(&mut self, Learn: Learn) -> Answer<()> {
        self.learn();
        self.policy.refresh();
        self.report();
        Answer::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::error::Result;
    use crate::tiers::eviction::{Choice, Pins, no_choices};

    const BUDGET: u64 = 100;

    /// A level that is a map.
    #[derive(Default)]
    struct Shelf {
        entries: Mutex<BTreeMap<Address, u64>>,
        notes: Mutex<Vec<Note>>,
        touches: Mutex<Vec<Address>>,
        pins: Mutex<Pins>,
    }

    impl Shelf {
        fn put(&self, text: &str, cost: u64) {
            self.entries.lock().unwrap().insert(address(text), cost);
            self.notes.lock().unwrap().push(Note::Inserted(address(text), cost));
        }

        fn lose(&self, victims: &[Address]) {
            for address in victims {
                self.entries.lock().unwrap().remove(address).unwrap();
                self.notes.lock().unwrap().push(Note::Removed(address.clone()));
            }
        }
    }

    impl Evictable for Shelf {
        fn drain_notes(&self, note: &mut dyn FnMut(Note), touch: &mut dyn FnMut(Address)) {
            self.notes.lock().unwrap().drain(..).for_each(note);
            self.touches.lock().unwrap().drain(..).for_each(touch);
        }

        fn each(&self, visit: &mut dyn FnMut(&Address, u64)) {
            self.entries.lock().unwrap().iter().for_each(|(address, cost)| visit(address, *cost));
        }

        fn cost(&self, address: &Address) -> Option<u64> {
            self.entries.lock().unwrap().get(address).copied()
        }

        fn free(&self) -> u64 {
            BUDGET - self.entries.lock().unwrap().values().sum::<u64>()
        }

        fn budget(&self) -> u64 {
            BUDGET
        }

        fn note_pins(&self, pins: Pins) {
            *self.pins.lock().unwrap() = pins;
        }
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn ready<T>(answer: Answer<T>) -> Result<T> {
        match answer {
            Answer::Ready(ready) => ready,
            Answer::Later(_) => panic!("it must not take time"),
        }
    }

    /// An actor over a shelf, and whether the collection `kept` is pinned.
    fn actor(kind: EvictionKind) -> (EvictionActor, Arc<Shelf>, Arc<AtomicBool>) {
        let (shelf, pinned) = (Arc::new(Shelf::default()), Arc::new(AtomicBool::new(true)));
        let says = Arc::clone(&pinned);
        let choices: Choices = Arc::new(move |name| match name {
            "kept" => Choice { kind: None, pinned: says.load(Ordering::Relaxed) },
            name => Choice { kind: name.parse().ok(), pinned: false },
        });
        let level: Arc<dyn Evictable> = shelf.clone();
        (EvictionActor::new(options(kind), level, choices, 1), shelf, pinned)
    }

    fn options(kind: EvictionKind) -> EvictionOptions {
        EvictionOptions { kind, pinned_percent_max: 50 }
    }

    fn room(actor: &mut EvictionActor, bytes: u64) -> Result<Vec<Address>> {
        ready(actor.serve(MakeRoom { bytes }))
    }

    #[test]
    fn a_new_life_knows_what_the_level_holds() {
        let shelf = Arc::new(Shelf::default());
        shelf.put("a/1", 10);
        shelf.put("b/1", 10);
        let level: Arc<dyn Evictable> = shelf.clone();
        let mut actor = EvictionActor::new(options(EvictionKind::Lru), level, no_choices(), 1);
        assert_eq!(room(&mut actor, 100).unwrap(), [address("a/1"), address("b/1")]);
        shelf.lose(&[address("a/1")]);
        let addresses = vec![address("a/1"), address("b/1")];
        ready(actor.serve(Reinstate { addresses })).unwrap();
        assert_eq!(room(&mut actor, 100).unwrap(), [address("b/1")], "what left is not brought back");
    }

    #[test]
    fn pinned_objects_stay_up_to_their_share_and_everybody_can_see_it() {
        let (mut actor, shelf, pinned) = actor(EvictionKind::WTinyLfu);
        (0..7).for_each(|nth| shelf.put(&format!("kept/{nth}"), 10));
        shelf.put("other/1", 30);
        let mut gone = room(&mut actor, 100).unwrap();
        assert_eq!(*shelf.pins.lock().unwrap(), Pins { bytes: 50, bytes_max: 50, spilled: 0 });
        gone.sort_unstable();
        assert_eq!(gone, [address("kept/5"), address("kept/6"), address("other/1")], "what came too late leaves");
        shelf.lose(&gone);
        assert!(room(&mut actor, 50).unwrap().is_empty());
        shelf.put("kept/8", 10);
        ready(actor.serve(Learn)).unwrap();
        assert_eq!(*shelf.pins.lock().unwrap(), Pins { bytes: 50, bytes_max: 50, spilled: 10 });
        assert!(actor.warned);
        pinned.store(false, Ordering::Relaxed);
        ready(actor.serve(Learn)).unwrap();
        assert_eq!(*shelf.pins.lock().unwrap(), Pins { bytes: 0, bytes_max: 50, spilled: 0 });
        assert_eq!(room(&mut actor, 100).unwrap().len(), 6, "unpinned, they leave like any other");
    }

    #[test]
    fn a_promotion_is_judged_by_the_policy_of_its_collection() {
        let (mut actor, shelf, _) = actor(EvictionKind::Lru);
        for nth in 0..50 {
            shelf.put(&format!("w-tinylfu/{nth}"), 1);
            shelf.put(&format!("other/{nth}"), 1);
        }
        ready(actor.serve(Learn)).unwrap();
        for _ in 0..20 {
            shelf.touches.lock().unwrap().extend((0..50).map(|nth| address(&format!("w-tinylfu/{nth}"))));
            ready(actor.serve(Learn)).unwrap();
        }
        let mut consider = |text: &str, cost| {
            let address = address(text);
            ready(actor.serve(Consider { address, cost })).unwrap()
        };
        assert!(!consider("w-tinylfu/new", 20), "a large stranger among what is used often");
        assert!(consider("other/new", 20), "who was used last is all that counts here");
    }
}

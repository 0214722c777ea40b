//! Several keepers that tell each other: whatever is told, in whatever order, all come to the same end.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::model::{
    Clock, ContainerId, CopyState, Digest, DigestKind, Dot, Entry, FrameId, Level, ManualClock, NfrSpec, Rng, Seal,
    SeededRng,
};
use crate::store::{Fs, KnownPlace, SimFs, Store, StoreOptions};

struct Node {
    keeper: Keeper,
    clock: Arc<ManualClock>,
    frames: u64,
}

fn address(key: u64) -> Address {
    format!("c/{key}").parse().unwrap()
}

impl Node {
    fn new(id: u64, at_ms: u64) -> Self {
        let clock = Arc::new(ManualClock::at(at_ms));
        let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(0));
        let file = fs.create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(id)).unwrap();
        let (disk, _) = DiskTier::open(fs, Path::new("/data"), Arc::new(store), Arc::clone(&as_clock)).unwrap();
        let sequencer = Sequencer::resume(ContainerId(id), 0, Incarnation(id * 10), as_clock);
        let rules = Rules { retention_ms: 60_000, ..Rules::default() };
        let keeper = Keeper::open(MemoryTier::new(64 << 20), disk, sequencer, Arc::new(rules)).unwrap();
        keeper.open_outbox();
        Node { keeper, clock, frames: id << 32 }
    }

    fn draft() -> Draft {
        let digest = Digest { kind: DigestKind::Blake3, bytes: [0; 32] };
        Draft { size: 3, digest, content_type: None, meta: BTreeMap::new(), nfr: NfrSpec::default(), ttl_ms: None }
    }

    fn store(&mut self, key: u64) -> Version {
        self.store_sealed(key, b"abc")
    }

    fn store_sealed(&mut self, key: u64, sealed: &[u8]) -> Version {
        self.frames += 1;
        let frame = FrameId(u128::from(self.frames).to_be_bytes());
        let mut staging = self.keeper.disk().stage(frame);
        staging.write(sealed).unwrap();
        let staged = staging.finish().unwrap();
        let rest = crate::model::Rest::Disk;
        let seal = Seal { frame, bytes: sealed.len() as u64, footer: [0; 32], key: None, inline: false, rest };
        let bind: Binding = Box::new(|_, _, _, _| Ok(None));
        let change = Change::Store { draft: Self::draft(), seal, frame: staged, bind, condition: Condition::Always };
        let job = Job { address: address(key), change, show: None, decision: None };
        match self.keeper.commit(vec![job]).pop().unwrap().unwrap() {
            Outcome::Stored { manifest, .. } => manifest.version,
            other => panic!("{other:?}"),
        }
    }

    fn hold(&self, key: u64) -> Version {
        let room = self.keeper.memory().try_reserve(MemoryTier::cost(&address(key), 3)).unwrap();
        let chunks = Chunks::from(Bytes::from_static(b"abc"));
        self.keeper.hold(&address(key), &Self::draft(), &chunks, room, &Condition::Always, None).unwrap().0.version
    }

    fn delete(&self, key: u64) {
        let change = Change::Delete { condition: Condition::Always, unseen: false };
        let job = Job { address: address(key), change, show: None, decision: None };
        self.keeper.commit(vec![job]).pop().unwrap().unwrap();
    }

    /// Keeps from now on what another one is known to keep. Says whether it is so.
    fn take_over(&self, key: u64) -> bool {
        let Some(entry) = self.keeper.disk().entry(&address(key)).unwrap() else { return false };
        let Some(manifest) = entry.object().filter(|manifest| manifest.seal.is_some()).cloned() else { return false };
        let mut staging = self.keeper.disk().stage(manifest.seal.as_ref().unwrap().frame);
        staging.write(b"abc").unwrap();
        let frame = staging.finish().unwrap();
        let change = Change::TakeOver { from: entry.keeper, manifest: Box::new(manifest), frame };
        let job = Job { address: address(key), change, show: None, decision: None };
        matches!(self.keeper.commit(vec![job]).pop().unwrap().unwrap(), Outcome::Stored { .. })
    }

    /// Asks another for all that is lacking here.
    fn catch_up(&self, other: &Node) {
        let (seen, vector) = (self.keeper.vector(), other.keeper.vector());
        let has = |dot: Dot| seen.iter().any(|seen| seen.incarnation == dot.incarnation && dot.seq <= seen.seq);
        let (mut lessons, me) = (Vec::new(), other.keeper.me());
        for (address, head) in other.keeper.lacking_in_memory(None, 1000, has) {
            lessons.push((address, Entry { keeper: me, head }));
        }
        let mut place = Some(KnownPlace::default());
        while let Some(at) = place {
            let stretch = other.keeper.lacking(None, at, 3, has).unwrap();
            let found = stretch.found.into_iter();
            lessons
                .extend(found.map(|(address, keeper, head)| (address, Entry { keeper: keeper.unwrap_or(me), head })));
            place = stretch.next;
        }
        let own = self.keeper.last_dot().incarnation;
        let reached: Vec<Dot> = vector.into_iter().filter(|dot| dot.incarnation != own).collect();
        self.keeper.learn(&lessons, &reached).unwrap();
    }

    /// What anybody would be told of an address here.
    fn known(&self, key: u64) -> Option<(Version, bool)> {
        let entry = self.keeper.newest_entry(&address(key)).unwrap()?;
        Some((entry.version(), entry.object().is_some()))
    }
}

#[test]
fn all_come_to_the_same_end_whatever_they_hear_first() {
    let mut taken = 0;
    for seed in 0..60 {
        let rng = SeededRng::new(seed);
        let roll = |bound: u64| rng.u64() % bound;
        let mut nodes: Vec<Node> = (1..=3).map(|id| Node::new(id, 1000 + id * roll(2000))).collect();
        let mut told: Vec<(usize, Vec<(Address, Entry)>)> = Vec::new();
        for _ in 0..120 {
            let (at, key) = (roll(3) as usize, roll(8));
            match roll(13) {
                0..4 => {
                    nodes[at].store(key);
                }
                4..6 => {
                    nodes[at].hold(key);
                }
                6 => nodes[at].delete(key),
                7 => nodes[at].clock.advance(roll(500)),
                8 => told.push((at, nodes[at].keeper.news().unwrap().entries)),
                9 | 10 => taken += u32::from(nodes[at].take_over(key)),
                // Somebody hears something, now or late, once or again; how far that comes is not said.
                _ if !told.is_empty() => {
                    let (from, entries) = &told[roll(told.len() as u64) as usize];
                    if *from != at {
                        nodes[at].keeper.learn(entries, &[]).unwrap();
                    }
                }
                _ => {}
            }
        }
        // Two rounds bring everything to everybody, through others as well.
        for _ in 0..2 {
            for (one, other) in [(0, 1), (1, 2), (2, 0)] {
                nodes[one].catch_up(&nodes[other]);
                nodes[other].catch_up(&nodes[one]);
            }
        }
        for key in 0..8 {
            let known: Vec<_> = nodes.iter().map(|node| node.known(key)).collect();
            assert!(known.iter().all(|of| *of == known[0]), "seed {seed}, key {key}: {known:?}");
            let live = known[0].is_some_and(|(_, live)| live);
            let held = nodes.iter().filter(|node| {
                matches!(node.keeper.find(&address(key), None).unwrap(), Some(Located::Ram(_) | Located::Disk(_)))
            });
            assert_eq!(held.count(), usize::from(live), "seed {seed}, key {key}: one keeper for each object");
        }
        let objects: u64 = nodes.iter().map(|node| node.keeper.usage_of("c").objects).sum();
        let live = (0..8).filter(|key| nodes[0].known(*key).is_some_and(|(_, live)| live)).count();
        assert_eq!(objects, live as u64, "seed {seed}: the books count what is here");
    }
    assert!(taken > 40, "objects changed their keeper: {taken}");
}

#[test]
fn who_takes_an_object_over_keeps_the_same_version_and_the_former_keeper_lets_it_go() {
    let (mut one, two, three) = (Node::new(1, 1_000), Node::new(2, 2_000), Node::new(3, 3_000));
    let version = one.store(1);
    two.catch_up(&one);
    three.catch_up(&one);
    let before = one.keeper.newest_entry(&address(1)).unwrap().unwrap();
    assert!(two.take_over(1) && !two.take_over(1), "once");
    let after = two.keeper.newest_entry(&address(1)).unwrap().unwrap();
    assert_eq!((after.version(), after.keeper), (version, ContainerId(2)));
    assert!(after.head.dot() != before.head.dot(), "the others hear of it by its dot");
    let learnt = one.keeper.learn(&[(address(1), after.clone())], &[]).unwrap();
    assert_eq!((learnt.taken, learnt.conflicts.len()), (1, 0));
    assert!(matches!(one.keeper.find(&address(1), None).unwrap(), Some(Located::Peer(_, ContainerId(2)))));
    assert_eq!((one.keeper.usage_of("c").objects, two.keeper.usage_of("c").objects), (0, 1));
    // What is told late does not bring the former keeper back, and a third one may go on.
    three.keeper.learn(&[(address(1), after), (address(1), before)], &[]).unwrap();
    assert!(three.take_over(1));
    two.catch_up(&three);
    one.catch_up(&three);
    assert!(matches!(one.keeper.find(&address(1), None).unwrap(), Some(Located::Peer(_, ContainerId(3)))));
    assert_eq!(two.keeper.usage_of("c").objects, 0);
    // What was replaced meanwhile is nobody's to take over.
    let newer = one.store(1);
    assert!(!two.take_over(1) || two.known(1).unwrap().0 == version);
    two.catch_up(&one);
    assert_eq!(two.known(1), Some((newer, true)));
}

#[test]
fn a_frame_that_is_copied_here_again_in_vain_leaves_the_one_that_is_kept() {
    let mut one = Node::new(1, 1_000);
    let sealed = vec![7; 40_000];
    let version = one.store_sealed(1, &sealed);
    let manifest = one.keeper.durable(&address(1), None).unwrap().unwrap();
    let seal = manifest.seal.as_ref().unwrap();
    assert!(!seal.inline);
    let mut again = one.keeper.disk().stage(seal.frame);
    again.write(&sealed).unwrap();
    drop(again.finish().unwrap());
    let kept = one.keeper.disk().reader(&address(1), version, seal).unwrap();
    assert_eq!(crate::tiers::Source::read(&kept, 0..40_000).unwrap(), sealed);
}

#[test]
fn a_new_version_is_above_those_of_others_and_replaces_them() {
    let (mut one, mut two) = (Node::new(1, 1_000), Node::new(2, 50_000));
    let theirs = two.store(1);
    one.catch_up(&two);
    assert!(matches!(one.keeper.find(&address(1), None).unwrap(), Some(Located::Peer(_, ContainerId(2)))));
    let ours = one.store(1);
    assert!(ours > theirs);
    let entry = one.keeper.newest_entry(&address(1)).unwrap().unwrap();
    assert_eq!((entry.head.replaces(), entry.keeper), (Some(theirs), ContainerId(1)));
    // Its keeper lets the old one go, and keeps it readable for the retention.
    let learnt = two.keeper.learn(&[(address(1), entry)], &[]).unwrap();
    assert_eq!((learnt.taken, learnt.conflicts.len()), (1, 0));
    assert!(matches!(two.keeper.find(&address(1), Some(theirs)).unwrap(), Some(Located::Disk(_))));
    assert_eq!(two.keeper.usage_of("c").objects, 0);
}

#[test]
fn a_clock_that_is_far_ahead_is_not_followed_and_still_overwritten() {
    let (mut one, mut two) = (Node::new(1, 1_000), Node::new(2, 900_000));
    let theirs = two.store(1);
    let entry = two.keeper.newest_entry(&address(1)).unwrap().unwrap();
    let learnt = one.keeper.learn(&[(address(1), entry)], &[]).unwrap();
    assert_eq!(learnt.ahead, [ContainerId(2)]);
    let other = one.store(2);
    assert!(other.millis() < 100_000, "the clock stays where it was");
    assert!(one.store(1) > theirs && one.hold(1) > theirs);
}

#[test]
fn two_who_replace_one_version_without_knowing_are_told_of() {
    let (mut one, mut two) = (Node::new(1, 1_000), Node::new(2, 1_000));
    one.store(1);
    two.catch_up(&one);
    let (a, b) = (one.store(1), two.store(1));
    let (loser, winner) = (a.min(b), a.max(b));
    let entries = |node: &Node| vec![(address(1), node.keeper.newest_entry(&address(1)).unwrap().unwrap())];
    let (of_one, of_two) = (entries(&one), entries(&two));
    let conflicts: Vec<Version> = [one.keeper.learn(&of_two, &[]).unwrap(), two.keeper.learn(&of_one, &[]).unwrap()]
        .into_iter()
        .flat_map(|learnt| learnt.conflicts)
        .map(|(_, version)| version)
        .collect();
    assert_eq!(conflicts, [loser, loser]);
    let keeper = if loser == a { &one.keeper } else { &two.keeper };
    assert!(keeper.find(&address(1), Some(loser)).unwrap().is_some(), "the loser stays readable");
    assert_eq!((one.known(1).unwrap().0, two.known(1).unwrap().0), (winner, winner));
}

#[test]
fn news_leave_nothing_out_while_changes_are_made() {
    let node = Arc::new(Node::new(1, 1_000));
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let node = Arc::clone(&node);
            std::thread::spawn(move || {
                (0..2000).for_each(|n| {
                    node.hold(writer * 10_000 + n);
                })
            })
        })
        .collect();
    let hearing = {
        let (node, done) = (Arc::clone(&node), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut heard = std::collections::BTreeSet::new();
            loop {
                let last = done.load(Ordering::SeqCst);
                let news = node.keeper.news().unwrap();
                assert!(!news.lost);
                heard.extend(news.entries.iter().map(|(_, entry)| entry.head.dot().seq));
                let missing = (1..=news.upto.seq).find(|seq| !heard.contains(seq));
                assert_eq!(missing, None, "all up to {} was to be told", news.upto.seq);
                if last {
                    return heard.len();
                }
            }
        })
    };
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    done.store(true, Ordering::SeqCst);
    assert_eq!(hearing.join().unwrap(), 4000);
}

#[test]
fn each_copy_is_told_of_with_what_it_is_good_for() {
    let (mut one, mut two) = (Node::new(1, 1_000), Node::new(2, 2_000));
    let told = |node: &Node| {
        let holds = node.keeper.holds(&address(1)).unwrap();
        let copies: Vec<_> = holds.copies.iter().map(|held| (held.version, held.level, held.state)).collect();
        (copies, holds.newest.map(|newest| (newest.version, newest.keeper.0, newest.level)))
    };
    assert_eq!(told(&one), (vec![], None));
    let first = one.store(1);
    let kept = (first, Level::Disk, CopyState::Kept);
    assert_eq!(told(&one), (vec![kept], Some((first, 1, Some(Level::Disk)))));
    two.catch_up(&one);
    assert_eq!(told(&two), (vec![], Some((first, 1, Some(Level::Disk)))), "known, and not here");
    // Another one keeps the next version, first in memory alone.
    let second = two.hold(1);
    let dirty = (second, Level::Ram, CopyState::Dirty);
    assert_eq!(told(&two), (vec![dirty], Some((second, 2, Some(Level::Ram)))));
    one.catch_up(&two);
    assert_eq!(told(&one).0, vec![(first, Level::Disk, CopyState::Old)]);
    two.delete(1);
    assert_eq!(told(&two).1.map(|(_, keeper, level)| (keeper, level)), Some((2, None)));
    // Bytes that fail their check are named as such.
    let third = two.store(1);
    let manifest = two.keeper.durable(&address(1), None).unwrap().unwrap();
    let frame = manifest.seal.as_ref().unwrap().frame;
    two.keeper.disk().quarantine(&address(1), third, frame, &Error::corrupt("bad")).unwrap();
    assert_eq!(told(&two).0.first(), Some(&(third, Level::Disk, CopyState::Quarantined)));
}

use bytes::Bytes;

use super::*;
use crate::model::{ContainerId, Digest, DigestKind, Dot, Durability, Incarnation, NfrSpec};

fn address(key: &str) -> Address {
    format!("memory/{key}").parse().unwrap()
}

fn manifest(time: u64) -> Arc<Manifest> {
    Arc::new(Manifest {
        version: Version { time, container: ContainerId(1) },
        dot: Dot { incarnation: Incarnation(1), seq: time },
        replaces: None,
        size: 4,
        digest: Digest { kind: DigestKind::Blake3, bytes: [0; 32] },
        content_type: None,
        meta: Default::default(),
        modified_ms: time,
        expires_ms: None,
        nfr: NfrSpec::default(),
        durability: Durability::Ram,
        seal: None,
        moves: 0,
    })
}

fn chunks() -> Chunks {
    Chunks::from(Bytes::from_static(b"four"))
}

fn room(memory: &Arc<MemoryTier>) -> Reservation {
    memory.try_reserve(MemoryTier::cost(&address("a"), 4)).unwrap()
}

fn shown(memory: &MemoryTier, key: &str) -> Option<u64> {
    memory.peek(&address(key)).map(|resident| resident.manifest.version.time)
}

#[test]
fn a_slow_read_does_not_bring_back_what_was_deleted_meanwhile() {
    let memory = MemoryTier::new(1 << 20);
    let ticket = memory.ticket(&address("a"));
    memory.supersede(&address("a"), manifest(2).version);
    assert!(!memory.promote(ticket, &address("a"), manifest(1), chunks(), &mut room(&memory)));
    let ticket = memory.ticket(&address("a"));
    assert!(memory.promote(ticket, &address("a"), manifest(3), chunks(), &mut room(&memory)));
    assert_eq!(shown(&memory, "a"), Some(3));
}

#[test]
fn a_version_of_class_ram_is_not_given_when_the_address_changed_since_it_was_looked_up() {
    let memory = MemoryTier::new(1 << 20);
    let ticket = memory.ticket(&address("a"));
    assert!(memory.publish(&address("a"), manifest(1), chunks(), &mut room(&memory)));
    let stamp = || -> Option<Arc<Manifest>> { panic!("a version was given") };
    let mut kept = room(&memory);
    assert!(memory.publish_dirty(ticket, &address("a"), chunks(), &mut kept, Usage::default(), stamp).is_none());
    assert!(kept.bytes() > 0, "the room is still there for the next attempt");
    let ticket = memory.ticket(&address("a"));
    assert!(
        memory
            .publish_dirty(ticket, &address("a"), chunks(), &mut kept, Usage::default(), || Some(manifest(2)))
            .is_some()
    );
    assert_eq!((shown(&memory, "a"), kept.bytes()), (Some(2), 0));
}

#[test]
fn what_memory_alone_holds_does_not_leave_by_eviction() {
    let memory = MemoryTier::new(1 << 20);
    let ticket = memory.ticket(&address("a"));
    memory.publish_dirty(ticket, &address("a"), chunks(), &mut room(&memory), Usage::default(), || Some(manifest(1)));
    assert_eq!(memory.evict_clean(&address("a")), None);
    assert_eq!(memory.dirty(), [address("a")]);
    assert!(!memory.settle(&address("a"), manifest(2).version), "another version was written");
    assert_eq!((memory.usage().dirty_bytes, memory.usage().evictions), (4, 0));
    assert!(memory.settle(&address("a"), manifest(1).version));
    assert_eq!((memory.usage().bytes, memory.usage().dirty), (0, 0));
    assert_eq!((memory.usage().dirty_bytes, memory.usage().evictions), (0, 1));
}

#[test]
fn the_budget_is_never_passed_and_comes_back() {
    let memory = MemoryTier::new(1000);
    let first = memory.try_reserve(600).unwrap();
    assert!(memory.try_reserve(401).is_none());
    assert_eq!((memory.shortage(500), memory.shortage(1001)), (Some(100), None));
    drop(first);
    assert!(memory.try_reserve(1000).is_some());
    assert_eq!(memory.usage().bytes, 0);
}

#[test]
fn a_page_of_dirty_entries_is_sorted_cut_and_bounded() {
    let memory = MemoryTier::new(1 << 20);
    for key in ["b/2", "a", "b/1", "b/3", "c"] {
        let ticket = memory.ticket(&address(key));
        memory
            .publish_dirty(ticket, &address(key), chunks(), &mut room(&memory), Usage::default(), || Some(manifest(1)));
    }
    let keys = |prefix, after, limit| -> Vec<String> {
        let page = memory.dirty_page("memory", prefix, after, limit);
        page.into_iter().map(|(address, _)| address.key().to_owned()).collect()
    };
    assert_eq!(keys("", None, 9), ["a", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(keys("b/", Some("b/1"), 9), ["b/2", "b/3"]);
    assert_eq!(keys("b/", Some("a"), 1), ["b/1"]);
    assert!(memory.dirty_page("mem", "", None, 9).is_empty());
}

#[test]
fn the_policy_hears_of_every_change_in_order() {
    let memory = MemoryTier::new(1 << 20);
    memory.publish(&address("a"), manifest(1), chunks(), &mut room(&memory));
    memory.get(&address("a"));
    memory.supersede(&address("a"), manifest(2).version);
    let (mut notes, mut touched) = (Vec::new(), Vec::new());
    memory.drain_notes(|note| notes.push(matches!(note, Note::Inserted(..))), |address| touched.push(address));
    assert_eq!((notes, touched), (vec![true, false], vec![address("a")]));
}

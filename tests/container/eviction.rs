//! What stays in a small level 1, what leaves it, and that nothing is lost by leaving.

use std::time::{Duration, Instant};

use crate::harness::{Process, object};

const SIZE: usize = 20_000;

/// Far above the tenth of a second in which the container looks at what collections ask for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pinned collection must have a quota; this one is no limit here.
const PINNED: &str = r#"{"pinned": true, "quota_bytes": "64MiB"}"#;

/// A container whose level 1 takes about fifty objects of this test.
fn start() -> Process {
    Process::start(&["--set", "memory.level1_bytes=1MiB"])
}

fn collection(process: &Process, name: &str, policy: &str) {
    let json = [("Content-Type", "application/json")];
    let done = process.request("PUT", &format!("/v1/collections/{name}"), &json, policy.as_bytes());
    assert!(matches!(done.status, 200 | 201), "{}", done.text());
}

/// Bytes that only this object has, and that do not compress to nothing.
fn body(address: &str) -> Vec<u8> {
    address.bytes().cycle().zip(0u32..).map(|(byte, at)| byte ^ (at.wrapping_mul(31) >> 3) as u8).take(SIZE).collect()
}

fn push(process: &Process, address: &str) {
    process.put(address, &body(address)).expect(201);
}

/// Reads an object whole, checks it, and says which level it came from.
#[track_caller]
fn pull(process: &Process, address: &str) -> String {
    let got = process.get(address).expect(200);
    assert!(got.body == body(address), "{address} came back changed");
    got.header("mesh-level").unwrap().to_owned()
}

/// How many of the first objects of a collection are in memory; asking is no use of them.
fn in_ram(process: &Process, collection: &str, count: usize) -> usize {
    let level =
        |nth: &usize| process.head(&format!("{collection}/{nth}")).expect(200).header("mesh-level").unwrap().to_owned();
    (0..count).filter(|nth| level(nth) == "ram").count()
}

fn push_all(process: &Process, collection: &str, range: std::ops::Range<usize>) {
    range.for_each(|nth| push(process, &format!("{collection}/{nth}")));
}

#[test]
fn pinned_and_often_used_objects_stay_while_a_load_passes_through() {
    let process = start();
    collection(&process, "kept", PINNED);
    collection(&process, "busy", r#"{"eviction": "lfu"}"#);
    push_all(&process, "kept", 0..15);
    push_all(&process, "busy", 0..10);
    for _ in 0..5 {
        assert!((0..10).all(|nth| pull(&process, &format!("busy/{nth}")) == "ram"));
    }
    // Pushes, and then reads, of far more than there is room for; now and then what is used often is used.
    push_all(&process, "busy", 100..160);
    push_all(&process, "other", 0..60);
    for nth in 0..60 {
        pull(&process, &format!("busy/{}", 100 + nth));
        pull(&process, &format!("other/{nth}"));
        pull(&process, &format!("busy/{}", nth % 10));
    }
    assert_eq!(in_ram(&process, "kept", 15), 15, "nothing read them, and all are there");
    assert_eq!(in_ram(&process, "busy", 10), 10, "a scan does not drive out what is hotter");
    let others = in_ram(&process, "other", 60);
    assert!(others < 30, "there is no room for all of them: {others}");
}

#[test]
fn a_changed_policy_takes_effect_without_a_restart() {
    let process = start();
    push_all(&process, "plain", 0..15);
    collection(&process, "plain", PINNED);
    // Pinned from the next look on: until then a load may drive them out, and a read brings them back.
    let deadline = Instant::now() + PATIENCE;
    let mut next = 0;
    while (0..15).filter(|nth| pull(&process, &format!("plain/{nth}")) != "ram").count() > 0 || next < 120 {
        push_all(&process, "load", next..next + 60);
        next += 60;
        assert!(Instant::now() < deadline, "pinned objects still leave");
    }
    collection(&process, "plain", r#"{"pinned": false, "eviction": "lru"}"#);
    while in_ram(&process, "plain", 15) == 15 {
        push_all(&process, "load", next..next + 60);
        next += 60;
        assert!(Instant::now() < deadline, "they stay although nobody asks for it");
    }
}

#[test]
fn pinned_objects_beyond_their_share_leave_like_any_other_and_the_log_says_so() {
    let process = Process::start(&["--set", "memory.level1_bytes=1MiB", "--set", "memory.pinned_percent_max=25"]);
    collection(&process, "kept", PINNED);
    push_all(&process, "kept", 0..40);
    let deadline = Instant::now() + PATIENCE;
    while !process.said().contains("pinned collections hold more than may be pinned") {
        assert!(Instant::now() < deadline, "{}", process.said());
        process.head("kept/0");
    }
    // The policy hears of the pushes a little later than the log did of the first that were too many.
    let told = || process.request("GET", "/v1/admin/tiers", &[], b"").expect(200).json();
    let mut tiers = told();
    while tiers["tiers"][0]["spilled_bytes"].as_u64().unwrap() <= 400_000 && Instant::now() < deadline {
        tiers = told();
    }
    let ram = &tiers["tiers"][0];
    let bytes = |name: &str| ram[name].as_u64().unwrap();
    assert_eq!(bytes("pinned_bytes_max"), 1 << 18);
    assert!(bytes("pinned_bytes") <= 1 << 18 && bytes("pinned_bytes") > (1 << 18) - 22_000, "{ram}");
    assert!(bytes("spilled_bytes") > 400_000 && bytes("evictions") == 0, "{ram}");
    let mut next = 0;
    while in_ram(&process, "kept", 40) >= 36 {
        push_all(&process, "load", next..next + 100);
        next += 100;
        assert!(Instant::now() < deadline, "what may not be pinned stays, whatever comes");
    }
    assert!(in_ram(&process, "kept", 12) == 12, "first come, first pinned");
    // Whatever is pinned, a new object finds a place and everything can be read.
    assert!((0..40).all(|nth| !pull(&process, &format!("kept/{nth}")).is_empty()));
}

#[test]
fn objects_of_class_ram_are_still_served_after_they_left_memory() {
    let process = start();
    let ram = [("Mesh-Durability", "ram")];
    for nth in 0..120 {
        let address = format!("fleeting/{nth}");
        let done = process.request("PUT", &object(&address), &ram, &body(&address)).expect(201);
        assert_eq!(done.header("mesh-durability"), Some("ram"));
    }
    let left = 120 - in_ram(&process, "fleeting", 120);
    assert!(left >= 60, "level 1 holds about fifty, and only {left} left it");
    let from_disk = (0..120).filter(|nth| pull(&process, &format!("fleeting/{nth}")) == "disk").count();
    assert!(from_disk > 0);
}

#[test]
fn a_share_of_pinned_objects_that_leaves_no_room_for_others_is_refused() {
    let refused = Process::refused(&["--set", "memory.pinned_percent_max=91"], &[]);
    assert!(refused.stderr.contains("memory.pinned_percent_max") && refused.stderr.contains("90"), "{refused:?}");
}

/// Objects of level 1, those that memory alone holds, and how many have left it so far.
fn level1(process: &Process) -> (u64, u64, u64) {
    let tiers = process.request("GET", "/v1/admin/tiers", &[], b"").json();
    let number = |name: &str| tiers["tiers"][0][name].as_u64().unwrap();
    (number("objects"), number("dirty_objects"), number("evictions"))
}

/// Pushes small objects until one had to leave; says how many it pushed.
fn fill(process: &Process, class: &str) -> usize {
    let mut pushed = 0;
    while level1(process).2 == 0 {
        push_small(process, class, pushed);
        pushed += 1;
        assert!(pushed < 20_000, "nothing leaves");
    }
    pushed
}

fn push_small(process: &Process, class: &str, nth: usize) {
    let class = [("Mesh-Durability", class)];
    process.request("PUT", &object(&format!("small/{nth}")), &class, &[7; 1_000]).expect(201);
}

#[test]
fn who_finds_no_room_makes_some_for_those_who_come_next() {
    let process = Process::start(&["--set", "memory.level1_bytes=4MiB"]);
    let first = fill(&process, "disk");
    assert!(level1(&process).2 > 4, "a part of the level leaves at once: {:?}", level1(&process));
    let (mut makers, mut before) = (0, level1(&process).2);
    for nth in first..first + 100 {
        push_small(&process, "disk", nth);
        let now = level1(&process).2;
        makers += usize::from(now > before);
        before = now;
    }
    assert!((5..40).contains(&makers), "{makers} of 100 had to make room");
}

#[test]
fn what_memory_alone_holds_is_not_written_out_for_those_who_may_come() {
    let process = Process::start(&["--set", "memory.level1_bytes=4MiB"]);
    let pushed = fill(&process, "ram") as u64;
    let (objects, dirty, left) = level1(&process);
    assert_eq!((objects, dirty + left), (dirty, pushed));
    assert!(left <= 2, "{left} were written out for the room of one");
    assert!((0..pushed).all(|nth| process.get(&format!("small/{nth}")).expect(200).body == [7; 1_000]));
}

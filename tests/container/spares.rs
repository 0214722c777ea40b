//! Copies at a third site: read where the site that keeps an object is silent, slow or lost half-way, and never believed
//! for what is in them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::bed::{Bed, Host, Link, Quality};
use super::far::{There, random};
use super::harness::*;
use super::mesh::{Mesh, collections_seen, keys};
use super::misuse::{counted, nothing_is_held};
use super::site::until;

/// No copy is left where it is read.
const DIRECT: [(&str, &str); 1] = [("Mesh-Mode", "direct")];

/// One is, whatever its size.
const COPY: [(&str, &str); 1] = [("Mesh-Mode", "storage")];

fn copies_read(process: &Process) -> u64 {
    let page = String::from_utf8(process.request("GET", "/metrics", &[], b"").body).unwrap();
    counted(&page, "meshstore_peer_copies_total ")
}

/// The sealed copies of a container.
fn copies_of(process: &Process) -> Vec<PathBuf> {
    let entries = fs::read_dir(process.data().join("copies")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_none_or(|end| end != "part")).collect()
}

/// Three sites; the first one keeps these, the second one has read them, and the third one knows of them.
fn three(mesh: &Mesh, objects: &[(&str, &[u8], &str)]) -> [Process; 3] {
    let [cloud, fog, edge] = ["cloud", "fog", "edge"].map(|site| mesh.container(site, "c1"));
    for (key, body, nfr) in objects {
        cloud.request("PUT", &object(&format!("meteo/{key}")), &[("Mesh-Nfr", nfr)], body).expect(201);
    }
    for (key, body, _) in objects {
        let path = object(&format!("meteo/{key}"));
        until("the fog", || fog.request("GET", &path, &COPY, b"").status == 200);
        assert!(fog.request("GET", &path, &COPY, b"").body == *body);
    }
    until("the edge", || keys(&edge, "meteo").len() == objects.len());
    // The cloud may have told of its objects before it told of the fog, whose copies would not be asked for yet.
    until("the fog at the edge", || collections_seen(&edge, "fog") == 1);
    assert_eq!(copies_of(&fog).len(), objects.len());
    [cloud, fog, edge]
}

fn range(process: &Process, address: &str) -> Response {
    process.request("GET", &object(address), &[("Range", "bytes=1000000-1000099")], b"")
}

#[test]
fn a_copy_at_a_third_site_stands_in_for_a_site_that_is_silent() {
    let mesh = Mesh::of(&["cloud", "fog", "edge"]);
    let (large, other, plain) = (random(3_500_000, 1), random(2_500_000, 2), random(3_000_000, 3));
    let none = "encrypt=none; compress=none";
    let objects: [(&str, &[u8], &str); 5] = [
        ("large", &large, "encrypt=aes256gcm"),
        ("other", &other, "encrypt=aes256gcm"),
        ("small", b"small", "encrypt=aes256gcm"),
        ("plain", &plain, none),
        ("empty", b"", "encrypt=aes256gcm"),
    ];
    let [mut cloud, mut fog, mut edge] = three(&mesh, &objects);
    let direct = |key: &str| edge.request("GET", &object(key), &DIRECT, b"").expect(200).body;
    assert!(direct("meteo/other") == other);
    cloud.kill9();
    // A part is read with a key that the keeper gave: anybody could make one that has none, or another one.
    assert!(range(&edge, "meteo/other").expect(206).body == other[1_000_000..1_000_100]);
    range(&edge, "meteo/plain").expect_problem(503, "unavailable");
    range(&edge, "meteo/large").expect_problem(503, "unavailable");
    assert!(edge.get("meteo/plain").expect(200).body == plain);
    assert!(range(&edge, "meteo/plain").expect(206).body == plain[1_000_000..1_000_100], "there is a copy here now");
    assert!(edge.get("meteo/large").expect(200).body == large);
    assert_eq!(edge.get("meteo/small").expect(200).body, b"small");
    assert_eq!(edge.get("meteo/empty").expect(200).body, b"");
    assert!(copies_read(&edge) >= 4);
    edge.request("POST", "/v1/admin/evict", &[], br#"{"level":"ram"}"#).expect(200);
    assert!(edge.get("meteo/other").expect(200).body == other);
    // Nobody is left to ask.
    fog.kill9();
    edge.terminate();
    edge.restart();
    assert!(edge.get("meteo/other").expect(200).body == other);
    assert!(range(&edge, "meteo/other").expect(206).body == other[1_000_000..1_000_100]);
    edge.get("meteo/large").expect_problem(503, "unavailable");
    nothing_is_held(&edge);
}

#[test]
fn a_policy_keeps_a_copy_where_it_is() {
    let mesh = Mesh::of(&["cloud", "fog", "edge"]);
    let large = random(3_500_000, 1);
    let [mut cloud, fog, edge] = three(&mesh, &[("large", &large, "encrypt=aes256gcm")]);
    let rules = mesh.folder.path().join("rules.toml");
    fs::write(&rules, "[policy.near]\ncollections = [\"meteo\"]\nopen = [\"cloud\", \"fog\"]\n").unwrap();
    let applied = fog.cli(&["policy", "apply", rules.to_str().unwrap()], b"");
    assert!(applied.status.success(), "{applied:?}");
    cloud.kill9();
    // The site that has it refuses, and this one itself once it has heard of the policy.
    until("the policy", || {
        let refused = edge.get("meteo/large");
        assert!([403, 503].contains(&refused.status), "{}", refused.text());
        refused.status == 403
    });
    assert_eq!(copies_read(&edge), 0);
}

/// Makes a copy one of other bytes: of what is not encrypted all checks within its chunks still hold.
fn forge(copy: &PathBuf) {
    let mut frame = fs::read(copy).unwrap();
    let (header, chunks) = frame.split_at_mut(32);
    let stored = u32::from_le_bytes(chunks[4..8].try_into().unwrap()) as usize;
    let (prefix, payload) = chunks.split_at_mut(12);
    let (bytes, check) = payload[..stored].split_at_mut(stored - 32);
    bytes[5] ^= 1;
    check.copy_from_slice(blake3::Hasher::new().update(header).update(prefix).update(bytes).finalize().as_bytes());
    fs::write(copy, frame).unwrap();
}

#[test]
fn a_copy_that_somebody_made_is_found_out_and_the_keeper_is_asked() {
    let mesh = Mesh::of(&["cloud", "fog", "edge"]);
    let none = "encrypt=none; compress=none";
    let bodies: Vec<Vec<u8>> = [3_500_000, 2_200_000, 900_000, 5000].map(|bytes| random(bytes, bytes as u32)).into();
    let names = ["a", "b", "c", "d"];
    let objects: Vec<(&str, &[u8], &str)> =
        names.iter().zip(&bodies).map(|(name, body)| (*name, body.as_slice(), none)).collect();
    let [mut cloud, fog, edge] = three(&mesh, &objects);
    copies_of(&fog).iter().for_each(forge);
    cloud.kill9();
    for (name, mode) in names.iter().zip([&DIRECT, &DIRECT, &COPY, &COPY]) {
        let mut connection = edge.connect();
        // A long body is ended before it is whole; a short one never begins, and no copy is left of what is not proven.
        match connection.request("GET", &object(&format!("meteo/{name}")), mode, b"") {
            Ok(answer) => drop(answer.expect_problem(503, "unavailable")),
            Err(error) => println!("{name}: {error}"),
        }
    }
    assert!(copies_read(&edge) > 0 && copies_of(&edge).is_empty());
    cloud.restart();
    for (name, body) in names.iter().zip(&bodies) {
        until("the cloud", || edge.get(&format!("meteo/{name}")).status == 200);
        assert!(edge.get(&format!("meteo/{name}")).body == *body);
    }
}

#[test]
fn a_copy_that_is_damaged_is_found_out_while_both_are_there() {
    let mesh = Mesh::of(&["cloud", "fog", "edge"]);
    let flat = vec![7; 3_000_000];
    let bodies: Vec<Vec<u8>> = (0..8).map(|n| random(1_500_000 + 200_000 * n, n as u32)).collect();
    let names: Vec<String> = (0..8).map(|n| format!("{n}")).collect();
    let objects: Vec<(&str, &[u8], &str)> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), body.as_slice(), "encrypt=aes256gcm")).collect();
    // Much that takes little: all of its frame comes with what opens it.
    let [_cloud, fog, edge] = three(&mesh, &[&objects[..], &[("flat", &flat, "encrypt=aes256gcm")]].concat());
    for (nth, copy) in copies_of(&fog).into_iter().enumerate() {
        let mut frame = fs::read(&copy).unwrap();
        // In the first chunk, or behind it.
        let at = [frame.len() / 20, frame.len() * 3 / 4][nth % 2];
        frame[at] ^= 1;
        fs::write(copy, frame).unwrap();
    }
    let direct = |name: &str| edge.connect().request("GET", &object(&format!("meteo/{name}")), &DIRECT, b"");
    let mut broken = 0;
    for (nth, (name, body)) in names.iter().zip(&bodies).enumerate() {
        // A copy here is made of what is proven; what is passed through may break off once.
        if nth < 4 {
            assert!(edge.get(&format!("meteo/{name}")).expect(200).body == *body, "{name}");
        } else if let Ok(answer) = direct(name) {
            assert!(answer.expect(200).body == *body, "{name}");
        } else {
            broken += 1;
            assert!(direct(name).unwrap().expect(200).body == *body, "{name}");
        }
    }
    let flat_again = (0..2).map(|_| direct("flat")).find_map(Result::ok).unwrap();
    assert!(flat_again.expect(200).body == flat, "a copy that is no good is read once at most");
    println!("{} read from a copy, {broken} broken off", copies_read(&edge));
}

/// A hub, and sites at the ends of links to it.
fn star<'a>(hosts: &'a [Host; 4], links: &[Link]) -> (Mesh, Process, [There<'a>; 3]) {
    assert_eq!(links.len(), 3);
    let [hub, keeps, copies, reads] = hosts;
    let mesh = Mesh::on(&[hub, keeps, copies, reads]);
    let there = [("keeps", keeps), ("copies", copies), ("reads", reads)]
        .map(|(name, host)| There(host, mesh.container(name, "c1")));
    let hub = mesh.container("cloud", "c1");
    (mesh, hub, there)
}

fn hosts(bed: &Bed) -> [Host; 4] {
    ["cloud", "keeps", "copies", "reads"].map(|name| bed.host(name).unwrap())
}

fn copied(there: &There, address: &str) {
    let pull = || there.0.enter(|| there.1.request("GET", &object(address), &COPY, b""));
    until("a copy", || pull().status == 200);
}

/// Waits until a site knows so many objects, and of the site whose copies it may read.
fn knows(there: &There, objects: usize) {
    until("its news", || there.keys("meteo").len() == objects);
    until("who has copies", || there.0.enter(|| collections_seen(&there.1, "copies")) == 1);
}

/// What a host has sent over its links.
fn sent_bytes(host: &Host) -> u64 {
    let told = host.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap();
    let links = told.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    links.map(|(_, counts)| counts.split_whitespace().nth(8).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn the_copy_that_is_nearer_is_read() {
    let bed = Bed::new().unwrap();
    let hosts = hosts(&bed);
    let near = Quality::delayed(Duration::from_millis(2)).rated(200_000_000);
    let slow = Quality::delayed(Duration::from_millis(60)).rated(10_000_000);
    let links =
        [(1, slow), (2, near), (3, near)].map(|(at, quality)| bed.link(&hosts[at], &hosts[0], quality).unwrap());
    let (_mesh, _hub, [keeps, copies, reads]) = star(&hosts, &links);
    let large = random(4_000_000, 1);
    keeps.put("meteo/near", &large).expect(201);
    keeps.put("meteo/only", &large[..1_500_000]).expect(201);
    copied(&copies, "meteo/near");
    knows(&reads, 2);
    let (began, before) = (Instant::now(), sent_bytes(keeps.0));
    assert!(reads.get("meteo/near").expect(200).body == large);
    let slowly = sent_bytes(keeps.0) - before;
    println!("4 MB from a copy in {:?}, {slowly} bytes of them over the slow link", began.elapsed());
    assert!(slowly < 400_000, "{slowly} bytes came over the slow link");
    assert_eq!(reads.0.enter(|| copies_read(&reads.1)), 1);
    // What nobody has a copy of comes from who keeps it.
    assert!(reads.get("meteo/only").expect(200).body == large[..1_500_000]);
    assert!(sent_bytes(keeps.0) - before > 1_500_000);
    assert_eq!(reads.0.enter(|| copies_read(&reads.1)), 1);
}

/// A read whose keeper is lost after a second, although it was the nearer one.
fn goes_on(lose: impl FnOnce(&mut There, &Link)) {
    let bed = Bed::new().unwrap();
    let hosts = hosts(&bed);
    let near = Quality::delayed(Duration::from_millis(2)).rated(20_000_000);
    let further = Quality::delayed(Duration::from_millis(40)).rated(100_000_000);
    let links =
        [(1, near), (2, further), (3, near)].map(|(at, quality)| bed.link(&hosts[at], &hosts[0], quality).unwrap());
    let (_mesh, _hub, [mut keeps, copies, reads]) = star(&hosts, &links);
    let large = random(8_000_000, 1);
    keeps.put("meteo/large", &large).expect(201);
    copied(&copies, "meteo/large");
    knows(&reads, 1);
    let (lost, body) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| reads.get("meteo/large").expect(200).body);
        std::thread::sleep(Duration::from_millis(1000));
        assert!(!reading.is_finished());
        lose(&mut keeps, &links[0]);
        (Instant::now(), reading.join().unwrap())
    });
    println!("all of it {:?} after its keeper was lost", lost.elapsed());
    assert!(body == large);
    assert_eq!(reads.0.enter(|| copies_read(&reads.1)), 0, "it was begun at the keeper");
}

#[test]
fn a_read_goes_on_from_a_copy_when_its_keeper_is_cut_off_half_way() {
    goes_on(|_, link| link.cut());
}

#[test]
fn a_read_goes_on_from_a_copy_when_its_keeper_is_killed_half_way() {
    goes_on(|keeps, _| keeps.1.kill9());
}

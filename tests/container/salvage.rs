//! A container whose store was damaged while it was down: it starts, says what is missing, serves the rest,
//! and tells nobody that an object does not exist which it may have lost.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::{Dice, Process, body_of, object};

fn fill(process: &Process) -> BTreeMap<String, Vec<u8>> {
    let mut connection = process.connect();
    let mut held = BTreeMap::new();
    for n in 0..150u64 {
        let address = format!("salvage/{n:03}");
        let body = body_of(&address, n, if n % 30 == 0 { 90_000 } else { 400 + n as usize * 20 });
        connection.request("PUT", &object(&address), &[], &body).unwrap().expect(201);
        held.insert(address, body);
    }
    for n in 0..10 {
        let address = format!("salvage/{n:03}");
        connection.request("DELETE", &object(&address), &[], b"").unwrap().expect(204);
        held.remove(&address);
    }
    held
}

/// Every object is whole or says that it is not; returns how many are whole.
fn judge(process: &Process, held: &BTreeMap<String, Vec<u8>>) -> usize {
    let mut connection = process.connect();
    let mut whole = 0;
    for (address, body) in held {
        let answer = connection.request("GET", &object(address), &[], b"").unwrap();
        match answer.status {
            200 => {
                assert!(answer.body == *body, "{address} has wrong bytes");
                whole += 1;
            }
            _ => drop(answer.expect_problem(500, "corrupt")),
        }
    }
    for n in 0..10 {
        let answer = connection.request("GET", &object(&format!("salvage/{n:03}")), &[], b"").unwrap();
        assert!(matches!(answer.status, 404 | 500), "what was deleted came back: {}", answer.status);
    }
    whole
}

/// Stops the container, zeroes the header of its store and starts it again. Returns the damaged store.
fn restart_without_header(process: &mut Process) -> Vec<u8> {
    process.terminate();
    let path = process.data().join("store.redb");
    let mut bytes = fs::read(&path).unwrap();
    bytes[..4096].fill(0);
    fs::write(&path, &bytes).unwrap();
    process.restart();
    bytes
}

#[test]
fn a_store_with_a_zeroed_header_is_salvaged_whole() {
    let mut process = Process::start(&[]);
    let held = fill(&process);
    let bytes = restart_without_header(&mut process);
    assert!(process.said().contains("the store was damaged"), "{}", process.said());
    assert_eq!(judge(&process, &held), held.len());
    assert_eq!(fs::read(process.data().join("store.damaged-1")).unwrap(), bytes);
    process.put("salvage/000", b"again").expect(201);
    process.put("salvage/101", b"over").expect(200);
}

#[test]
fn a_store_with_holes_serves_the_rest_and_never_a_silent_not_found() {
    let mut process = Process::start(&[]);
    let held = fill(&process);
    let mut dice = Dice::new(3);
    process.terminate();
    let path = process.data().join("store.redb");
    let mut bytes = fs::read(&path).unwrap();
    for _ in 0..25 {
        let at = 4096 + dice.below(bytes.len() as u64 - 4096) as usize;
        bytes[at] ^= 16;
    }
    let hole = bytes.len() / 2;
    bytes[hole..hole + 20_000].fill(0);
    fs::write(&path, &bytes).unwrap();
    process.restart();
    let whole = judge(&process, &held);
    assert!(whole > held.len() / 3, "only {whole} of {} are left", held.len());
    assert!(whole < held.len(), "the damage hit nothing");

    // What was never there cannot be told from what is lost.
    let unknown = "salvage/never";
    let problem = process.get(unknown).expect_problem(500, "corrupt");
    assert!(problem["detail"].as_str().unwrap().contains("meshstore admin repair"), "{problem}");
    assert_eq!(process.head(unknown).status, 500);
    let fresh = [("If-None-Match", "*")];
    process.request("PUT", &object(unknown), &fresh, b"x").expect_problem(500, "corrupt");
    process.delete("salvage/deleted").expect(204);
    process.get("salvage/deleted").expect_problem(404, "not_found");
    let list = process.request("GET", "/v1/objects/salvage", &[], b"").expect(200);
    assert_eq!(list.header("mesh-incomplete"), Some("salvaged"));
    let said = process.cli(&["ls", "salvage"], b"");
    assert!(String::from_utf8_lossy(&said.stderr).contains("keys may be missing"));
    // What HEAD cannot say is asked once more.
    let said = process.cli(&["stat", unknown], b"");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(21) && text.contains("admin repair"), "{text}");
    let losses = process.request("GET", "/v1/admin/repair", &[], b"").expect(200).json();
    assert!(losses["incomplete"] == true && losses["lost_pages"].as_u64().unwrap() > 0, "{losses}");
    assert_eq!(losses["kept"], "store.damaged-1");

    // Pushed again, an object is well; the mark stays over a restart until the losses are accepted.
    let (address, body) = held.first_key_value().unwrap();
    assert!(matches!(process.put(address, body).status, 200 | 201));
    process.terminate();
    process.restart();
    assert!(process.get(address).expect(200).body == *body);
    process.get(unknown).expect_problem(500, "corrupt");
    let said = process.cli(&["admin", "repair"], b"");
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("the losses are accepted"));
    process.get(unknown).expect_problem(404, "not_found");
    assert_eq!(process.request("GET", "/v1/objects/salvage", &[], b"").header("mesh-incomplete"), None);
    process.request("PUT", &object(unknown), &fresh, b"x").expect(201);
    process.terminate();
    process.restart();
    process.get("salvage/nobody").expect_problem(404, "not_found");
    assert_eq!(process.get(unknown).expect(200).body, b"x");
}

#[test]
fn a_store_that_is_gone_says_so() {
    let mut process = Process::start(&[]);
    let held = fill(&process);
    process.terminate();
    let (place, good) = (process.data().join("store.redb"), process.data().join("store.good"));
    fs::rename(&place, &good).unwrap();
    process.restart();
    assert!(process.said().contains("sealed files without a record are left"), "{}", process.said());
    assert_eq!(judge(&process, &held), 0);
    let doctor = process.cli(&["doctor"], b"");
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!doctor.status.success() && told.contains("admin repair"), "{told}");
    assert!(frames(&process) >= 4, "frames without a record stay in their place");
    process.put("salvage/100", b"again").expect(201);
    assert_eq!(process.get("salvage/100").expect(200).body, b"again");

    // The good store put back serves everything again, whatever was started without it, and however.
    for nonsense in [&b""[..], b"nonsense"] {
        process.terminate();
        fs::write(&place, nonsense).unwrap();
        process.restart();
        assert_eq!(judge(&process, &held), 0);
    }
    process.terminate();
    fs::copy(&good, &place).unwrap();
    process.restart();
    assert_eq!(judge(&process, &held), held.len());
    let all = frames(&process);

    // Accepted, the losses leave nothing behind.
    process.terminate();
    fs::remove_file(&place).unwrap();
    process.restart();
    assert_eq!(frames(&process), all);
    process.put("salvage/large", &body_of("salvage/large", 1, 90_000)).expect(201);
    assert!(process.cli(&["admin", "repair"], b"").status.success());
    assert_eq!(frames(&process), 1, "what was pushed since is kept");
    assert!(process.get("salvage/large").expect(200).body == body_of("salvage/large", 1, 90_000));
}

fn frames(process: &Process) -> usize {
    let shelves = fs::read_dir(process.data().join("frames")).unwrap();
    shelves.map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn a_collection_that_was_removed_before_the_damage_is_unknown_after_it() {
    let mut process = Process::start(&[]);
    let held = fill(&process);
    process.put("removed/a", b"first").expect(201);
    process.put("removed/a", b"second").expect(200);
    assert!(process.cli(&["collection", "rm", "-r", "removed"], b"").status.success());
    restart_without_header(&mut process);
    assert_eq!(judge(&process, &held), held.len());
    process.request("GET", "/v1/collections/removed", &[], b"").expect_problem(404, "not_found");
    process.put("removed/a", b"third").expect(201);
    assert_eq!(process.get("removed/a").expect(200).body, b"third");
}

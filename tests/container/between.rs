//! What goes wrong between sites: whatever of it is killed, damaged, forged or given up half-way, nothing that was
//! acknowledged is lost or wrong, and the sites agree again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::faulty::Machine;
use super::harness::*;
use super::mesh::{Mesh, keys};
use super::misuse::{counted, nothing_is_held};
use super::nats_client::NatsClient;
use super::site::{level, until};

const HOUR_MS: i64 = 3_600_000;

pub fn unbelieved(process: &Process) -> u64 {
    let page = String::from_utf8(process.request("GET", "/metrics", &[], b"").body).unwrap();
    counted(&page, "meshstore_bus_unbelieved_messages_total ")
}

fn evict_memory(process: &Process) {
    process.request("POST", "/v1/admin/evict", &[], br#"{"level":"ram"}"#).expect(200);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

fn sites(process: &Process) -> Vec<Value> {
    process.request("GET", "/v1/admin/sites", &[], b"").expect(200).json()["sites"].as_array().unwrap().clone()
}

/// What is pushed and deleted at sites, and what of it was acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// The last version of each key, or that it is gone; who may have changed it without an answer is not in here.
    known: BTreeMap<String, Option<Vec<u8>>>,
    count: u64,
}

impl Acknowledged {
    /// Changes something at a site, under keys of its own, so that the last one is the one that counts.
    fn change(&mut self, site: &str, process: &Process, dice: &mut Dice) {
        self.count += 1;
        let key = format!("{site}-{}", dice.below(12));
        let size = [10, 3000, 60_000][dice.below(3) as usize];
        let body = body_of(&key, self.count, size);
        let mut connection = process.connect();
        let path = object(&format!("meteo/{key}"));
        let deletes = dice.below(5) == 0;
        let answer = match deletes {
            true => connection.request("DELETE", &path, &[], b""),
            false => connection.request("PUT", &path, &[], &body),
        };
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 201 | 204) => {
                self.known.insert(key, (!deletes).then_some(body));
            }
            _ => drop(self.known.remove(&key)),
        }
    }

    /// The first key of which another state is told than the one that was acknowledged.
    fn wrong_at(&self, process: &Process) -> Option<&str> {
        let is_wrong = |(key, body): &(&String, &Option<Vec<u8>>)| {
            let got = process.get(&format!("meteo/{key}"));
            match body {
                Some(body) => got.status != 200 || got.body != *body,
                None => got.status != 404,
            }
        };
        self.known.iter().find(is_wrong).map(|(key, _)| key.as_str())
    }
}

#[test]
fn each_process_of_a_mesh_is_killed_in_turn_and_nothing_is_lost() {
    let mut mesh = Mesh::of(&["cloud", "edge", "fog"]);
    let mut dice = Dice::new(seed());
    let mut containers: BTreeMap<&str, Process> =
        ["cloud", "edge", "fog"].map(|site| (site, mesh.container(site, "c1"))).into();
    let mut done = Acknowledged::default();
    containers["edge"].put("meteo/first", b"first").expect(201);
    until("the edge", || ["cloud", "fog"].iter().all(|site| containers[site].get("meteo/first").status == 200));
    let mut load = |containers: &BTreeMap<&str, Process>, done: &mut Acknowledged, but: &str, times: usize| {
        for _ in 0..times {
            for (site, process) in containers.iter().filter(|(site, _)| **site != but) {
                done.change(site, process, &mut dice);
            }
        }
    };
    for site in ["cloud", "edge", "fog"] {
        load(&containers, &mut done, "", 10);
        // The server of the hub is what the others reach each other by.
        mesh.stop(site);
        load(&containers, &mut done, "", 20);
        mesh.start(site);
        load(&containers, &mut done, "", 10);
        containers.get_mut(site).unwrap().kill9();
        load(&containers, &mut done, site, 20);
        containers.get_mut(site).unwrap().restart();
        load(&containers, &mut done, "", 10);
    }
    let all = |site: &str| keys(&containers[site], "meteo");
    until("agreement", || {
        let edge = all("edge");
        edge.len() > 12 && all("cloud") == edge && all("fog") == edge
    });
    // A replacement may still be on its way.
    for (site, process) in &containers {
        until(site, || done.wrong_at(process).is_none());
    }
}

#[test]
fn a_copy_that_is_damaged_is_read_anew_and_made_anew() {
    let mut mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    let body = body_of("meteo/large", 1, 1_500_000);
    edge.put("meteo/large", &body).expect(201);
    until("the edge", || cloud.get("meteo/large").status == 200);
    let copies = cloud.data().join("copies");
    let copy = || files(&copies).pop();
    until("the copy", || copy().is_some());
    let path = copy().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    evict_memory(&cloud);
    assert!(cloud.get("meteo/large").expect(200).body == body);
    // Read from its keeper sealed, it has left a good copy: that serves also without the keeper.
    mesh.stop("edge");
    evict_memory(&cloud);
    let read = cloud.get("meteo/large").expect(200);
    assert!(read.body == body && level(&read) == "disk", "{}", level(&read));
}

#[test]
fn a_site_that_may_not_see_a_collection_does_not_learn_of_it() {
    let mesh = Mesh::of(&["cloud", "edge", "fog"]);
    let (cloud, edge, fog) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"), mesh.container("fog", "c1"));
    let seen_by = |sites: Value| {
        let policy = json!({ "visibility": sites }).to_string();
        edge.request("PUT", "/v1/collections/secret", &[], policy.as_bytes())
    };
    seen_by(json!(["edge", "fog"])).expect(201);
    edge.put("secret/a", b"for the fog").expect(201);
    edge.put("open/a", b"for all").expect(201);
    until("the edge", || fog.get("secret/a").body == b"for the fog" && cloud.get("open/a").status == 200);
    cloud.get("secret/a").expect_problem(404, "not_found");
    assert!(keys(&cloud, "secret").is_empty());
    let listed =
        |process: &Process| sites(process).iter().find(|site| site["name"] == "edge").unwrap()["collections"].clone();
    until("the directories", || listed(&cloud) == 1 && listed(&fog) == 2);
    // A policy of its own makes no site one that is admitted.
    cloud.put("secret/b", b"the cloud's own").expect(201);
    std::thread::sleep(Duration::from_secs(2));
    cloud.get("secret/a").expect_problem(404, "not_found");
    fog.get("secret/b").expect_problem(404, "not_found");
    seen_by(json!("all")).expect(200);
    until("the change", || cloud.get("secret/a").body == b"for the fog");
}

#[test]
fn a_clock_that_is_an_hour_off_at_one_site_loses_no_write_of_another_one() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let machine = Machine::new(0);
    machine.shift_clock(HOUR_MS);
    let args = mesh.args("edge", "c1");
    let edge = machine.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let cloud = mesh.container("cloud", "c1");
    edge.put("meteo/a", b"an hour ahead").expect(201);
    until("the edge", || cloud.get("meteo/a").status == 200);
    for n in 0..5 {
        // What is written later wins, whichever clock it was written by.
        let body = format!("of the cloud {n}");
        cloud.put("meteo/a", body.as_bytes()).expect(200);
        until("the cloud", || edge.get("meteo/a").body == body.as_bytes());
        let body = format!("of the edge {n}");
        edge.put("meteo/a", body.as_bytes()).expect(200);
        until("the edge", || cloud.get("meteo/a").body == body.as_bytes());
    }
    // The other clock is not followed: an object of this site has this site's time.
    let version = cloud.put("meteo/b", b"b").expect(201).header("mesh-version").unwrap().to_owned();
    let ahead = edge.put("meteo/c", b"c").expect(201).header("mesh-version").unwrap().to_owned();
    let millis = |version: &str| (u64::from_str_radix(&version[..16], 16).unwrap() >> 16) as i64;
    assert!(millis(&ahead) - millis(&version) > HOUR_MS / 2, "{version} {ahead}");
    cloud.delete("meteo/a").expect(204);
    until("the delete", || edge.get("meteo/a").status == 404);
}

#[test]
fn what_strangers_say_between_sites_changes_nothing_and_is_counted() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    edge.put("meteo/a", b"a").expect(201);
    until("the edge", || cloud.get("meteo/a").status == 200);
    let mut client = NatsClient::connect(mesh.url("cloud"));
    let mut overheard = NatsClient::connect(mesh.url("cloud"));
    overheard.subscribe("mesh.voice.edge");
    let voice = overheard.next().body;
    overheard.subscribe("mesh.news.edge.meteo");
    edge.put("meteo/b", b"b").expect(201);
    let news = loop {
        let heard = overheard.next();
        if heard.subject.starts_with("mesh.news") {
            break heard.body;
        }
    };
    let mut forged: Vec<(&str, Vec<u8>)> = Vec::new();
    let subjects = [
        "mesh.voice.edge",
        "mesh.voice.nobody",
        "mesh.news.edge.meteo",
        "mesh.news.nobody.meteo",
        "mesh.ask.cloud",
        "mesh.ask.cloud.c1",
        "mesh.piece.cloud.c1",
        "mesh.enter.cloud",
    ];
    for subject in subjects {
        // Of each subject what nobody of the mesh says is counted.
        let before = unbelieved(&cloud);
        client.publish(subject, "_INBOX.nobody", &[], &body_of(subject, 1, 100));
        until(subject, || unbelieved(&cloud) > before);
        for length in [0, 1, 2, 63, 64, 65, 200, 3000] {
            forged.push((subject, body_of(subject, length as u64, length)));
        }
    }
    // What one site has said, as another one's, and with each part changed.
    forged.push(("mesh.voice.fog", voice.clone()));
    forged.push(("mesh.news.cloud.meteo", news.clone()));
    for at in [0, 1, 40, 70, 100] {
        for (subject, said) in [("mesh.voice.edge", &voice), ("mesh.news.edge.meteo", &news)] {
            let mut said = said.clone();
            said[at] ^= 1;
            forged.push((subject, said));
        }
    }
    // A name that is on the roster, before what its key did not seal.
    let named = [&[4u8][..], b"edge", &body_of("sealed", 1, 80)].concat();
    for subject in ["mesh.ask.cloud", "mesh.ask.cloud.c1", "mesh.piece.cloud.c1"] {
        forged.push((subject, named.clone()));
    }
    for (subject, body) in &forged {
        client.publish(subject, "_INBOX.nobody", &[], body);
        client.publish(subject, "", &[], body);
    }
    // The edge was said to speak another version: that is told, until it is heard again.
    until("the edge", || sites(&cloud).iter().all(|site| site["speaks"].is_null()));
    assert!(cloud.said().contains("run one version at both"));
    edge.put("meteo/c", b"c").expect(201);
    until("the edge", || cloud.get("meteo/c").body == b"c");
    assert_eq!(sites(&cloud).len(), 2);
    nothing_is_held(&cloud);
}

#[test]
fn a_site_of_another_version_is_not_heard_and_told_of() {
    let mut mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    edge.put("meteo/a", b"a").expect(201);
    until("the edge", || cloud.get("meteo/a").status == 200);
    drop(edge);
    mesh.stop("edge");
    let mut client = NatsClient::connect(mesh.url("cloud"));
    until("what it speaks", || {
        client.publish("mesh.voice.edge", "", &[], &[1; 300]);
        sites(&cloud).iter().any(|site| site["name"] == "edge" && site["speaks"] == 1)
    });
    assert!(cloud.said().contains("speaks another version of the mesh"));
}

#[test]
fn pulls_from_another_site_that_are_given_up_leave_nothing_behind() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let cloud = mesh.container("cloud", "c1");
    // Its door is out of reach, so that bytes come over the bus.
    let edge = mesh.container_with("edge", "c1", &["--set", "http.public_url=http://127.0.0.1:9"]);
    let large = body_of("bulk/large", 1, 20_000_000);
    edge.put("bulk/large", &large).expect(201);
    let other = body_of("bulk/other", 1, 60_000_000);
    edge.put("bulk/other", &other).expect(201);
    edge.put("bulk/small", b"small").expect(201);
    until("the edge", || cloud.get("bulk/small").status == 200);
    for n in 0..30 {
        let mut reader = cloud.connect();
        reader.begin("GET", &object("bulk/large"), &[], 0).unwrap();
        if n % 3 > 0 {
            let answer = reader.answer().unwrap().expect(200);
            assert_eq!(answer.header("mesh-level"), Some("peer"));
            reader.read_exact(&mut vec![0; 100_000 * (n % 3)]).unwrap();
        }
    }
    nothing_is_held(&cloud);
    nothing_is_held(&edge);
    assert!(cloud.get("bulk/large").expect(200).body == large);
    // The keeper goes while its bytes are on their way: a body that is not whole does not end as if it were.
    let mut edge = edge;
    let mut reader = cloud.connect();
    reader.begin("GET", &object("bulk/other"), &[], 0).unwrap();
    reader.answer().unwrap().expect(200);
    edge.kill9();
    let (mut got, mut piece) = (0, vec![0; 100_000]);
    while got < other.len() && reader.read_exact(&mut piece).is_ok() {
        assert!(other[got..].starts_with(&piece));
        got += piece.len();
    }
    assert!(got < other.len(), "all of it was under way already");
    nothing_is_held(&cloud);
}

/// Everything of a container that rests.
fn copy_folder(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_container_that_comes_back_from_an_older_copy_of_its_folder_is_heard_and_tells_what_it_has() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, mut edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    edge.put("meteo/kept", b"kept").expect(201);
    edge.put("meteo/changed", b"1").expect(201);
    until("the edge", || cloud.get("meteo/kept").status == 200);
    until("its news", || keys(&cloud, "meteo").len() == 2);
    edge.terminate();
    let (data, older) = (edge.data(), edge.folder().join("older"));
    copy_folder(&data, &older);
    edge.restart();
    for n in 0..50 {
        edge.put(&format!("meteo/lost-{n:02}"), b"lost").expect(201);
    }
    edge.put("meteo/changed", b"2").expect(200);
    until("the news", || keys(&cloud, "meteo").len() == 52);
    edge.kill9();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&older, &data).unwrap();
    edge.restart();
    for n in 0..5 {
        edge.put(&format!("meteo/new-{n}"), b"new").expect(201);
        until("what is new", || cloud.get(&format!("meteo/new-{n}")).status == 200);
    }
    // What it does not have any more is listed at the other site until somebody asks for it.
    assert_eq!(cloud.get("meteo/changed").expect(200).body, b"1");
    for n in 0..50 {
        cloud.get(&format!("meteo/lost-{n:02}")).expect_problem(404, "not_found");
    }
    until("agreement", || keys(&cloud, "meteo") == keys(&edge, "meteo") && keys(&edge, "meteo").len() == 7);
}

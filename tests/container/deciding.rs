//! Conditions of a collection that names a home site: that one decides them for all sites of the mesh.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::between::unbelieved;
use super::harness::*;
use super::mesh::{Mesh, keys, locate};
use super::misuse::{held, nothing_is_held};
use super::nats_client::NatsClient;
use super::site::until;

const ABSENT: &[(&str, &str)] = &[("If-None-Match", "*")];

fn put(process: &Process, address: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    process.request("PUT", &object(address), headers, body)
}

/// A collection whose conditions this site decides, known to both.
fn decided_at(home: &str, all: &[&Process]) {
    let (first, others) = all.split_first().unwrap();
    let policy = json!({ "home_site": home }).to_string();
    first.request("PUT", "/v1/collections/locks", &[], policy.as_bytes()).expect(201);
    first.put("locks/first", b"1").expect(201);
    for other in others {
        until("the first", || other.get("locks/first").status == 200);
        let home_of = |process: &Process| process.request("GET", "/v1/collections/locks", &[], b"").json();
        until("the policy", || home_of(other)["policy"]["home_site"] == home);
    }
    // Whoever knows who decides may not have heard it yet.
    for (at, site) in all.iter().enumerate() {
        until("who decides", || put(site, &format!("locks/warm-{at}"), ABSENT, b"1").status == 201);
    }
}

#[test]
fn of_all_sites_that_want_to_be_the_first_one_is() {
    let mesh = Mesh::of(&["cloud", "edge", "fog"]);
    let all = ["cloud", "edge", "fog"].map(|site| mesh.container(site, "c1"));
    decided_at("fog", &all.each_ref());
    let mut won = BTreeSet::new();
    for n in 0..20 {
        let address = format!("locks/{n}");
        let answers: Vec<Response> = thread::scope(|scope| {
            let tries: Vec<_> = all
                .iter()
                .enumerate()
                .map(|(at, site)| {
                    scope.spawn({
                        let address = &address;
                        move || put(site, address, ABSENT, format!("of {at}").as_bytes())
                    })
                })
                .collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..3).filter(|at| answers[*at].status == 201).collect();
        let told: Vec<String> = answers.iter().map(Response::text).collect();
        let is_told = answers.iter().all(|answer| matches!(answer.status, 201 | 412));
        assert!(winners.len() == 1 && is_told, "{told:?}");
        won.insert(winners[0]);
        let body = format!("of {}", winners[0]).into_bytes();
        for site in &all {
            until("the winner", || site.get(&address).body == body);
        }
        assert!(locate(&all[0], &address).iter().any(|copy| copy.starts_with("fog/c1")));
    }
    println!("who came first: {won:?}");
}

#[test]
fn another_site_replaces_and_deletes_what_it_has_read_and_nothing_else() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    decided_at("cloud", &[&cloud, &edge]);
    // Longer than a message of the bus, and one that is just about as long.
    for (n, size) in [(0, 5_000_000), (1, 523_000), (2, 524_288), (3, 0)] {
        let (address, body) = (format!("locks/large-{n}"), body_of("large", n, size));
        let pushed = put(&edge, &address, &[("If-None-Match", "*"), ("Mesh-Meta-From", "edge")], &body).expect(201);
        let read = cloud.get(&address).expect(200);
        assert!(read.body == body && read.header("mesh-meta-from") == Some("edge"), "{size}");
        assert_eq!(pushed.header("mesh-version"), read.header("mesh-version"));
        let session = pushed.header("mesh-session").unwrap();
        let here = edge.request("GET", &object(&address), &[("Mesh-Session", session)], b"").expect(200);
        assert!(here.body == body, "{size}");
    }
    let etag = edge.get("locks/large-3").expect(200).header("etag").unwrap().to_owned();
    let replaced = put(&edge, "locks/large-3", &[("If-Match", &etag)], b"2").expect(200);
    assert_eq!(cloud.get("locks/large-3").body, b"2");
    // What was read is not what is there any more.
    let refused = put(&edge, "locks/large-3", &[("If-Match", &etag)], b"3").expect_problem(412, "precondition_failed");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(replaced.header("mesh-version").unwrap()), "{detail}");
    let delete = |etag: &str| edge.request("DELETE", &object("locks/large-3"), &[("If-Match", etag)], b"");
    delete(&etag).expect_problem(412, "precondition_failed");
    delete(replaced.header("etag").unwrap()).expect(204);
    cloud.get("locks/large-3").expect_problem(404, "not_found");
    // From the other doors of the edge, and what is refused there.
    let typed = |words: &[&str]| edge.cli(words, b"typed").status.code().unwrap();
    assert_eq!(typed(&["push", "-", "locks/typed", "--if-none-match"]), 0);
    assert_eq!(typed(&["push", "-", "locks/typed", "--if-none-match"]), 14);
    let mut client = NatsClient::connect(mesh.url("edge"));
    let headers = [("Mesh-Address", "locks/said"), ("If-None-Match", "*")];
    assert_eq!(client.ask("mesh.edge.push", &headers, b"said").header("Mesh-Status"), Some("201"));
    assert_eq!(client.ask("mesh.edge.push", &headers, b"again").header("Mesh-Status"), Some("412"));
    for address in ["locks/typed", "locks/said"] {
        assert!(locate(&edge, address).iter().any(|copy| copy.starts_with("cloud/c1")), "{address}");
    }
    // A body that is cut off half-way is none, and neither site holds anything for it.
    for _ in 0..5 {
        let mut half = edge.connect();
        half.begin("PUT", &object("locks/half"), ABSENT, 3_000_000).unwrap();
        half.send(&vec![7; 2_000_000]).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    let began = Instant::now();
    nothing_is_held(&edge);
    nothing_is_held(&cloud);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    cloud.get("locks/half").expect_problem(404, "not_found");
    put(&edge, "locks/half", ABSENT, b"whole").expect(201);
}

#[test]
fn a_push_that_is_given_up_while_the_site_that_decides_is_at_a_part_of_it_ends_there() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let cloud = mesh.container_with("cloud", "c1", &["--set", "limits.requests_max=1"]);
    let edge = mesh.container("edge", "c1");
    decided_at("cloud", &[&cloud, &edge]);
    // Whose body stands still has the only place.
    let body = body_of("own", 1, 1_000_000);
    let mut own = cloud.connect();
    own.begin("PUT", &object("own/first"), &[], body.len() as u64).unwrap();
    own.send(&body[..500_000]).unwrap();
    until("a request at work", || !held(&cloud).is_empty());
    let mut half = edge.connect();
    half.begin("PUT", &object("locks/half"), ABSENT, 3_000_000).unwrap();
    half.send(&vec![7; 2_000_000]).unwrap();
    // Its second part waits until the first one is taken.
    thread::sleep(Duration::from_secs(1));
    drop(half);
    thread::sleep(Duration::from_millis(500));
    own.send(&body[500_000..]).unwrap();
    own.answer().unwrap().expect(201);
    let began = Instant::now();
    nothing_is_held(&cloud);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn who_decides_knows_what_other_sites_have_and_makes_no_change_twice() {
    let mesh = Mesh::of(&["cloud", "edge", "fog"]);
    let [cloud, edge, fog] = ["cloud", "edge", "fog"].map(|site| mesh.container(site, "c1"));
    let all = [&cloud, &edge, &fog];
    decided_at("fog", &all);
    // In a collection that the one who decides has never used.
    edge.request("PUT", "/v1/collections/old", &[], br#"{"home_site":"fog"}"#).expect(201);
    edge.put("old/a", b"of the edge").expect(201);
    until("the edge", || cloud.get("old/a").status == 200);
    put(&cloud, "old/a", ABSENT, b"2").expect_problem(412, "already_exists");
    let etag = cloud.get("old/a").expect(200).header("etag").unwrap().to_owned();
    put(&cloud, "old/a", &[("If-Match", &etag)], b"of the cloud").expect(200);
    until("all", || all.iter().all(|site| site.get("old/a").body == b"of the cloud"));
    // Pushed a moment ago at one site without a condition: whoever decides asks for it.
    for n in 0..30 {
        let address = format!("locks/fresh-{n}");
        let etag = edge.put(&address, b"1").expect(201).header("etag").unwrap().to_owned();
        put(&cloud, &address, ABSENT, b"2").expect_problem(412, "already_exists");
        put(&edge, &address, &[("If-Match", &etag)], b"3").expect(200);
    }
    // What was overheard on the way is said again, as it was.
    let mut overheard = NatsClient::connect(mesh.url("fog"));
    overheard.subscribe("mesh.change.fog.c1");
    let pushed = put(&edge, "locks/once", ABSENT, b"1").expect(201);
    let push = overheard.next();
    let matched = [("If-Match", pushed.header("etag").unwrap())];
    edge.request("DELETE", &object("locks/once"), &matched, b"").expect(204);
    let delete = overheard.next();
    let before = unbelieved(&fog);
    for (again, said) in [&push, &delete, &push].into_iter().enumerate() {
        overheard.publish(&said.subject, "_INBOX.nobody", &[], &said.body);
        until("the count", || unbelieved(&fog) == before + again as u64 + 1);
        fog.get("locks/once").expect_problem(404, "not_found");
    }
    nothing_is_held(&fog);
}

#[test]
fn what_a_policy_lets_be_read_at_one_site_alone_is_not_sent_to_the_one_that_decides() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    decided_at("cloud", &[&cloud, &edge]);
    let rule = br#"{"collections":["locks"],"open":["edge"]}"#;
    edge.request("PUT", "/v1/policies/here", &[], rule).expect(201);
    let told = put(&edge, "locks/a", ABSENT, b"1").expect_problem(403, "forbidden");
    assert!(told["detail"].as_str().unwrap().contains("policy: here, point: leave"), "{told}");
}

#[test]
fn a_site_that_does_not_reach_the_one_that_decides_says_so() {
    let mut mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    decided_at("cloud", &[&cloud, &edge]);
    mesh.stop("edge");
    until("the silence", || {
        let told = put(&edge, "locks/a", ABSENT, b"1").expect_problem(503, "unavailable");
        let detail = told["detail"].as_str().unwrap();
        // What is sent before the silence is noticed may still arrive.
        assert!(detail.contains("home_site: cloud"), "{detail}");
        !detail.contains("outcome: unknown")
    });
    edge.put("locks/b", b"no condition").expect(201);
    mesh.start("edge");
    until("the cloud", || matches!(put(&edge, "locks/a", ABSENT, b"1").status, 201 | 412));
    assert_eq!(cloud.get("locks/a").expect(200).body, b"1");
    until("both", || keys(&cloud, "locks") == keys(&edge, "locks") && keys(&cloud, "locks").len() == 5);
    // Two that take each other for the one who decides end it. Where one has heard of what the other has set before it is
    // asked, it decides: then there was no circle.
    let mut circles = (0..).map(|number| format!("circle-{number}"));
    until("a circle", || {
        let circle = circles.next().unwrap();
        for (site, home) in [(&cloud, "edge"), (&edge, "cloud")] {
            let policy = json!({ "home_site": home, "visibility": [home] }).to_string();
            let set = site.request("PUT", &format!("/v1/collections/{circle}"), &[], policy.as_bytes());
            assert!(matches!(set.status, 200 | 201), "{set:?}");
        }
        let told = put(&cloud, &format!("{circle}/a"), ABSENT, b"1");
        if told.status == 201 {
            return false;
        }
        let told = told.expect_problem(503, "unavailable");
        assert!(told["detail"].as_str().unwrap().contains("another one at the site that is asked"), "{told}");
        true
    });
    // One that has never heard of a collection decides in it as well.
    edge.request("PUT", "/v1/collections/new", &[], br#"{"home_site":"cloud"}"#).expect(201);
    put(&edge, "new/a", ABSENT, b"1").expect(201);
    put(&cloud, "new/a", ABSENT, b"2").expect_problem(412, "already_exists");
    // A site that there is not decides nothing.
    cloud.request("PUT", "/v1/collections/lost", &[], br#"{"home_site":"mars"}"#).expect(201);
    let told = put(&cloud, "lost/a", ABSENT, b"1").expect_problem(503, "unavailable");
    assert!(told["detail"].as_str().unwrap().contains("no site of the mesh"), "{told}");
    cloud.put("lost/a", b"1").expect(201);
}

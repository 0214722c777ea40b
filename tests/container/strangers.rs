//! Messages between containers that none of the site has sent: forged, cut, replayed, or of a site with the same name
//! and another keyring. They change nothing, and are counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshstore::nfr::{Keyring, SystemRng};
use serde_json::json;

use super::harness::*;
use super::misuse::{counted, nothing_is_held};
use super::nats_client::NatsClient;
use super::site::{Site, until};

fn metric(process: &Process, series: &str) -> u64 {
    counted(&String::from_utf8(process.request("GET", "/metrics", &[], b"").body).unwrap(), series)
}

fn unbelieved(process: &Process) -> u64 {
    metric(process, "meshstore_bus_unbelieved_messages_total ")
}

fn of_sites(process: &Process, field: &str) -> serde_json::Value {
    process.request("GET", "/v1/admin/sites", &[], b"").expect(200).json()["sites"][0][field].clone()
}

/// The next message of this subject that a site says, as it is on the wire.
fn overheard(site: &Site, subject: &str, make: impl FnOnce()) -> Vec<u8> {
    let mut client = site.client();
    client.subscribe(subject);
    make();
    client.next().body
}

#[test]
fn what_strangers_say_changes_nothing_and_is_counted() {
    let (site, foreign) = (Site::new(), Site::new());
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let z = foreign.container("z", &[]);
    let _y = foreign.container("y", &[]);
    a.put("c/k", b"ours").expect(201);
    until("the news", || b.get("c/k").body == b"ours");
    let (beat, log) = ("mesh.edge.peer.beat", "mesh.log.edge.catalog");
    let their_beat = overheard(&foreign, beat, || ());
    let their_change = overheard(&foreign, log, || drop(z.put("c/planted", b"theirs").expect(201)));
    let their_question = overheard(&foreign, "mesh.edge.y.peer.ask", || drop(z.get("c/nowhere")));
    let our_beat = overheard(&site, beat, || ());
    let our_change = overheard(&site, log, || drop(a.put("c/k", b"newer").expect(200)));
    until("the news", || b.get("c/k").body == b"newer");
    let resigned = |kind: &str, subject: &str, signed: &[u8]| {
        Keyring::generate(&SystemRng).sign(&format!("{kind} {subject}"), &signed[32..]).unwrap()
    };
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let mut forged = vec![
        (beat, their_beat.clone()),
        (log, their_change.clone()),
        (beat, resigned("beat", beat, &our_beat)),
        (log, resigned("batch", log, &our_change)),
        // Ours, but for another subject, or not whole.
        ("mesh.edge.peer.hello", our_beat.clone()),
        (beat, our_change.clone()),
        (log, our_beat.clone()),
        (beat, our_beat[..our_beat.len() - 1].to_vec()),
        (log, flipped(&our_change, 40)),
        (beat, Vec::new()),
        (log, vec![0; 31]),
        (log, vec![7; 1_000_000]),
    ];
    forged.extend((0..our_beat.len()).step_by(7).map(|at| (beat, flipped(&our_beat, at))));
    let before = [unbelieved(&a), unbelieved(&b)];
    let mut client = site.client();
    for (subject, body) in &forged {
        client.publish(subject, "", &[], body);
    }
    // What was ours once, and is said again as it was: older than what is known.
    client.publish(beat, "", &[], &our_beat);
    client.publish(log, "", &[], &our_change);
    for (process, before) in [&a, &b].into_iter().zip(before) {
        until("the count of them", || unbelieved(process) >= before + forged.len() as u64);
        assert_eq!(unbelieved(process), before + forged.len() as u64);
        let told = process.said().lines().filter(|line| line.contains("no container of this site")).count();
        assert_eq!(told, 1, "one line a minute, however many there are: {}", process.said());
    }

    // Who asks without the keyring hears nothing.
    let ask = "mesh.edge.a.peer.ask";
    client.subscribe("_INBOX.stranger.>");
    let questions = [their_question.clone(), resigned("question", ask, &their_question), Vec::new(), vec![9; 500_000]];
    for body in &questions {
        client.publish(ask, "_INBOX.stranger.1", &[], body);
        client.publish("mesh.edge.a.peer.piece", "_INBOX.stranger.2", &[], body);
    }
    let all = before[0] + forged.len() as u64 + 2 * questions.len() as u64;
    until("the count of them", || unbelieved(&a) == all);
    client.publish("mesh.edge.a.head", "_INBOX.stranger.3", &[("Mesh-Address", "c/k")], b"");
    assert_eq!(client.next().subject, "_INBOX.stranger.3", "nothing else was answered");

    for process in [&a, &b] {
        assert_eq!(process.get("c/k").body, b"newer");
        process.get("c/planted").expect(404);
        assert_eq!((of_sites(process, "alive"), of_sites(process, "silent")), (json!(2), json!(0)));
        nothing_is_held(process);
    }
}

/// Ends what goes on beside a test, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_list_of_members_that_a_stranger_writes_over_is_put_back_and_nobody_decides_twice() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    until("both are members", || of_sites(&a, "members") == 2 && of_sites(&b, "members") == 2);
    let over = AtomicBool::new(false);
    let c = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client: NatsClient = site.client();
            while !over.load(Ordering::SeqCst) {
                client.publish("mesh.log.edge.epoch", "", &[], b"nobody decides here but me");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let _ends = Ends(&over);
        let c = site.container("c", &[]);
        for round in 0..8 {
            let address = object(&format!("c/first-{round}"));
            let first = |process: &Process| {
                let headers = [("If-None-Match", "*"), ("Mesh-Deadline-Ms", "2000")];
                process.request("PUT", &address, &headers, b"x").status
            };
            let statuses = std::thread::scope(|scope| {
                let tries = [&a, &b, &c].map(|process| scope.spawn(|| first(process)));
                tries.map(|one| one.join().unwrap())
            });
            assert!(statuses.iter().filter(|status| **status == 201).count() <= 1, "{statuses:?}");
            assert!(statuses.iter().all(|status| matches!(status, 201 | 412 | 503 | 504)), "{statuses:?}");
        }
        c
    });
    until("all are members", || [&a, &b, &c].iter().all(|process| of_sites(process, "members") == 3));
    // Who was last in putting it back is heard by the others with their next look.
    until("one list", || of_sites(&a, "epoch") == of_sites(&c, "epoch"));
    until("a decision", || c.request("PUT", &object("c/after"), &[("If-None-Match", "*")], b"x").status == 201);
    assert_eq!(a.request("PUT", &object("c/after"), &[("If-None-Match", "*")], b"x").status, 412);
}

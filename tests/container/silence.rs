//! Answers that nobody waits for, and answers that never come: transfers that are abandoned, a requester that goes
//! away, a container that stands still.

use std::time::{Duration, Instant};

use super::faulty::Machine;
use super::harness::*;
use super::misuse::{held, nothing_is_held, resident_bytes};
use super::nats_client::{Heard, NatsClient};
use super::nats_server::NatsServer;
use super::site::{Site, until};

fn status(answer: &Heard) -> Option<&str> {
    answer.header("Mesh-Status")
}

/// Files of pushes that have not ended.
fn staged(process: &Process) -> usize {
    std::fs::read_dir(process.data().join("staging")).unwrap().count()
}

#[test]
fn a_transfer_that_is_abandoned_half_way_holds_nothing_and_goes_on_later() {
    let server = NatsServer::start();
    let process = Process::start(&["--site", "edge", "--bus", server.url()]);
    let mut client = NatsClient::connect(server.url());
    let (at, body) = (("Mesh-Address", "c/large"), body_of("c/large", 1, 3_000_000));
    let bring = client.ask("mesh.edge.push", &[at, ("Mesh-Size", "3000000")], b"").json();
    let bring = ("Mesh-Ticket", bring["token"].as_str().unwrap());
    for sent in (0..20).map(|n| n * 150_000) {
        let mut broken = process.connect();
        broken.begin("PUT", &object("c/large"), &[bring], 3_000_000).unwrap();
        broken.send(&body[..sent]).unwrap();
    }
    until("the end of what was broken off", || held(&process).is_empty() && staged(&process) == 0);
    process.get("c/large").expect_problem(404, "not_found");
    // The ticket is as good as before.
    process.request("PUT", &object("c/large"), &[bring], &body).expect(201);

    let ticket = client.ask("mesh.edge.pull", &[at], b"").json();
    let (version, token) = (ticket["version"].as_str().unwrap(), ticket["token"].as_str().unwrap());
    let (reading, path) = (("Mesh-Ticket", token), format!("{}?version={version}", object("c/large")));
    let mut got = vec![0; 1_000_000];
    for _ in 0..20 {
        let mut broken = process.connect();
        broken.begin("GET", &path, &[reading], 0).unwrap();
        broken.answer().unwrap().expect(200);
        broken.read_exact(&mut got).unwrap();
    }
    until("the end of what was broken off", || held(&process).is_empty());
    let rest = process.request("GET", &path, &[reading, ("Range", "bytes=1000000-")], b"").expect(206);
    assert!([got, rest.body].concat() == body);

    // In ranges over the bus: who stops half-way, with more asked for than it waits for, goes on anywhere else.
    let part = |client: &mut NatsClient, start: usize| {
        let range = format!("{start}-{}", start + 249_999);
        let headers = [at, reading, ("Mesh-Version", version), ("Mesh-Range", &range)];
        client.ask(ticket["nats"].as_str().unwrap(), &headers, b"").body
    };
    let mut got: Vec<u8> = (0..5).flat_map(|nth| part(&mut client, nth * 250_000)).collect();
    for nth in 5..12 {
        let range = format!("{}-{}", nth * 250_000, nth * 250_000 + 249_999);
        let headers = [at, reading, ("Mesh-Version", version), ("Mesh-Range", &range)];
        client.publish(ticket["nats"].as_str().unwrap(), "_INBOX.gone", &headers, b"");
    }
    drop(client);
    until("the end of what was asked for", || held(&process).is_empty());
    let mut client = NatsClient::connect(server.url());
    (5..12).for_each(|nth| got.extend(part(&mut client, nth * 250_000)));
    assert!(got == body);
    nothing_is_held(&process);
}

#[test]
fn who_asks_and_goes_away_leaves_nothing_at_work() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let body = body_of("c/large", 1, 8_000_000);
    a.put("c/large", &body).expect(201);
    until("the news", || b.head("c/large").status == 200);
    let floods = |rounds: usize| {
        for _ in 0..rounds {
            let mut client = site.client();
            for nth in 0..100 {
                let range = format!("{}-{}", nth * 70_000, nth * 70_000 + 299_999);
                let headers = [("Mesh-Address", "c/large"), ("Mesh-Range", &*range)];
                // At b what a keeps, and at both what nobody has.
                client.publish("mesh.edge.b.pull", "_INBOX.gone", &headers, b"");
                client.publish("mesh.edge.pull", "_INBOX.gone", &[("Mesh-Address", "c/none")], b"");
                client.publish("mesh.edge.a.push", "_INBOX.gone", &[("Mesh-Address", "c/unasked")], b"x");
            }
        }
    };
    floods(1);
    until("the end of it", || held(&a).is_empty() && held(&b).is_empty());
    let before = [resident_bytes(&a), resident_bytes(&b)];
    floods(2);
    for (process, before) in [&a, &b].into_iter().zip(before) {
        nothing_is_held(process);
        let grown = resident_bytes(process).saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more than before");
    }
    assert!(b.get("c/large").body == body && a.get("c/unasked").body == b"x");
}

/// What is done within this time was not held up by somebody who does not answer, but for the moment that is due.
const MOMENT: Duration = Duration::from_secs(4);

#[track_caller]
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    assert!(began.elapsed() < MOMENT, "it took {:?}", began.elapsed());
    done
}

#[test]
fn a_container_that_stands_still_is_not_waited_for() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let body = body_of("c/of-b", 1, 5_000_000);
    for address in ["c/of-b", "c/read-before"] {
        b.put(address, &body).expect(201);
        until("the news", || a.head(address).status == 200);
    }
    // So that its door is known to be open.
    assert!(a.get("c/read-before").expect(200).body == body);
    a.put("c/of-a", b"a").expect(201);
    b.signal("STOP");
    // Who would wait for long hears soon that nothing comes.
    let (addr, began) = (a.addr(), Instant::now());
    let patient = std::thread::spawn(move || {
        let answer = Connection::open(addr).unwrap().request("GET", &object("c/of-b"), &[], b"").unwrap();
        (answer, began.elapsed())
    });
    let hurried = [("Mesh-Deadline-Ms", "1500")];
    let absent = soon(|| a.get("c/none").expect(404));
    assert_eq!(absent.header("mesh-unasked"), Some("b"));
    let away = soon(|| a.request("GET", &object("c/of-b"), &hurried, b""));
    assert!(matches!(away.status, 503 | 504), "{}: {}", away.status, away.text());
    let located = soon(|| a.request("GET", "/v1/locate/c/of-b", &[], b"").expect(200));
    assert_eq!(located.header("mesh-unasked"), Some("b"));
    let mut client = site.client();
    let away = soon(|| client.ask("mesh.edge.a.pull", &[("Mesh-Address", "c/of-b"), hurried[0]], b""));
    assert!(matches!(away.header("Nats-Service-Error-Code"), Some("503" | "504")), "{away:?}");
    // What needs its word has no answer; nothing else waits for it.
    for key in 0..2 {
        let first =
            soon(|| a.request("PUT", &object(&format!("c/first-{key}")), &[("If-None-Match", "*"), hurried[0]], b"x"));
        assert!(matches!(first.status, 503 | 504), "{}: {}", first.status, first.text());
    }
    assert_eq!(soon(|| a.get("c/of-a")).body, b"a");
    soon(|| a.put("c/new", b"x").expect(201));
    assert_eq!(status(&soon(|| client.ask("mesh.edge.a.pull", &[("Mesh-Address", "c/new")], b""))), Some("200"));
    let (answer, took) = patient.join().unwrap();
    answer.expect_problem(503, "unavailable");
    assert!(took < Duration::from_secs(12), "it took {took:?}");
    // Nothing that was begun for those who have gone by now stays at work.
    until("the end of what was asked of it", || held(&a).is_empty());
    b.signal("CONT");
    until("its return", || a.get("c/of-b").status == 200);
    assert!(a.get("c/of-b").body == body);
    until("a decision", || a.request("PUT", &object("c/first-9"), &[("If-None-Match", "*")], b"x").status == 201);
    nothing_is_held(&a);
}

#[test]
fn a_delete_reaches_what_only_a_silent_container_knew_of() {
    let mut site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    until("a knows b", || a.request("GET", "/v1/admin/sites", &[], b"").json()["sites"][0]["alive"] == 2);
    a.put("c/known", b"the collection is there").expect(201);
    // Nobody hears of it, neither from b nor from the log.
    site.server.kill();
    b.put("c/unheard", b"kept by b").expect(201);
    b.signal("STOP");
    site.server.restart();
    until("b is silent", || {
        let missed = a.get("c/unheard");
        missed.status == 404 && missed.header("mesh-unasked") == Some("b")
    });
    let gone = a.delete("c/unheard").expect(204);
    assert!(gone.header("mesh-version").is_some(), "it is a change like any other: {gone:?}");
    b.signal("CONT");
    until("b hears of it", || b.get("c/unheard").status == 404);
    a.get("c/unheard").expect_problem(404, "not_found");
    // Where all can be asked, a delete of nothing changes nothing.
    until("b is back", || a.get("c/nothing").header("mesh-unasked").is_none());
    assert_eq!(a.delete("c/nothing").expect(204).header("mesh-version"), None);
}

#[test]
fn who_was_away_for_longer_than_deletes_are_remembered_comes_back_empty() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let (site, machine) = (Site::new(), Machine::new(0));
    let a = site.container("a", &[]);
    let keys = site.keys.path().join("keys.toml");
    let own = ["--site", "edge", "--name", "b", "--bus", site.server.url(), "--keys", keys.to_str().unwrap()];
    let mut b = machine.start(&own);
    b.put("c/of-b", b"kept by b").expect(201);
    until("a knows it", || a.head("c/of-b").status == 200);
    b.terminate();
    machine.shift_clock(29 * DAY_MS);
    b.restart();
    b.terminate();
    machine.shift_clock(61 * DAY_MS);
    let refused = b.try_restart().unwrap_err();
    assert!(refused.stderr.contains("30 days") && refused.stderr.contains("empty data folder"), "{refused:?}");
    // With another folder it is a container like any other, and the old one can be looked at alone.
    let mut again = machine.start(&own);
    assert!(again.get("c/of-b").status != 200);
    again.put("c/new", b"new").expect(201);
    again.terminate();
}

#[test]
fn many_who_read_from_a_container_that_stands_still_leave_room_for_others() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let body = body_of("c/of-b", 1, 300_000);
    b.put("c/of-b", &body).expect(201);
    b.put("c/read-before", &body).expect(201);
    until("the news", || a.get("c/read-before").status == 200 && a.head("c/of-b").status == 200);
    b.signal("STOP");
    // None of them waits for long; what was begun for them goes on until it is clear that nothing comes.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let readers = (0..24).map(|_| {
            scope.spawn(|| {
                let mut door = a.connect();
                let mut pull = || door.request("GET", &object("c/of-b"), &[("Mesh-Deadline-Ms", "50")], b"");
                (0..50).map(|_| pull().unwrap().status).collect::<Vec<_>>()
            })
        });
        readers.collect::<Vec<_>>().into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 429 | 503 | 504)), "{statuses:?}");
    let waiting = || std::fs::read_dir(format!("/proc/{}/task", a.pid())).unwrap().count();
    assert!(waiting() < 350, "{} threads wait for what nobody waits for", waiting());
    for _ in 0..5 {
        assert!(soon(|| a.request("GET", "/v1/objects/c?limit=10", &[], b"").expect(200)).text().contains("of-b"));
        soon(|| a.put("c/new", &body));
    }
    until("the end of what was asked of it", || held(&a).is_empty());
    b.signal("CONT");
    until("its return", || a.get("c/of-b").body == body);
}

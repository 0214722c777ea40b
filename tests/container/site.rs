//! Several containers as one pool, each a process of its own on one nats-server.

use std::time::{Duration, Instant};

use meshstore::model::Version;

use super::harness::*;
use super::nats_client::NatsClient;
use super::nats_server::NatsServer;

/// How long news may take from one container to the others; far above what they take.
pub const NEWS_MAX: Duration = Duration::from_secs(30);

/// A site on a server of its own, whose containers share a keyring.
pub struct Site {
    pub server: NatsServer,
    pub keys: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        Site { server: NatsServer::start(), keys: tempfile::tempdir().unwrap() }
    }

    pub fn container(&self, name: &str, args: &[&str]) -> Process {
        self.attempt(name, args).unwrap_or_else(|refused| panic!("the container did not start: {refused:?}"))
    }

    /// The same, where the container may refuse.
    pub fn attempt(&self, name: &str, args: &[&str]) -> Result<Process, Refused> {
        let keys = self.keys.path().join("keys.toml");
        let own = ["--site", "edge", "--name", name, "--bus", self.server.url(), "--keys", keys.to_str().unwrap()];
        Process::attempt(&[&own, args].concat())
    }

    pub fn client(&self) -> NatsClient {
        NatsClient::connect(self.server.url())
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + NEWS_MAX;
    while !holds() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn level(answer: &Response) -> &str {
    answer.header("mesh-level").unwrap()
}

#[test]
fn any_container_answers_for_any_object_of_the_site() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let large: Vec<u8> = (0..3_500_000u32).map(|n| (n / 7) as u8).collect();
    // At once, while the news of it are on their way: a miss asks the others.
    for (key, body, class) in
        [("small", &b"from a"[..], "disk"), ("large", &large, "disk"), ("ram", b"in memory", "ram")]
    {
        a.request("PUT", &format!("/v1/objects/c/{key}"), &[("Mesh-Durability", class), ("Mesh-Meta-Of", "a")], body)
            .expect(201);
        let pulled = b.get(&format!("c/{key}")).expect(200);
        assert!(pulled.body == body, "{key}");
        assert_eq!((level(&pulled), pulled.header("mesh-meta-of")), ("peer", Some("a")), "{key}");
    }
    // Kept in its memory now, where the policy wants it.
    until("a copy in memory", || level(&b.get("c/small")) == "ram");
    let part = b.request("GET", "/v1/objects/c/large", &[("Range", "bytes=1048570-1048580")], b"").expect(206);
    assert_eq!(part.body, large[1_048_570..=1_048_580]);
    let listed = b.request("GET", "/v1/objects/c", &[], b"").json();
    let keys: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["large", "ram", "small"]);
    assert_eq!(b.request("HEAD", "/v1/objects/c/ram", &[], b"").header("content-length"), Some("9"));

    // What is replaced and deleted anywhere is so everywhere.
    b.put("c/small", b"from b").expect(200);
    until("the new version", || a.get("c/small").body == b"from b");
    a.request("DELETE", "/v1/objects/c/small", &[], b"").expect(204);
    until("the delete", || b.get("c/small").status == 404);
    b.request("DELETE", "/v1/objects/c/ram", &[], b"").expect(204);
    until("the delete", || a.get("c/ram").status == 404);

    let mut client = site.client();
    for _ in 0..10 {
        assert_eq!(
            client.ask("mesh.edge.head", &[("Mesh-Address", "c/large")], b"").header("Mesh-Size"),
            Some("3500000")
        );
    }
}

#[test]
fn who_comes_late_or_back_learns_all_that_it_lacks() {
    let site = Site::new();
    let a = site.container("a", &[]);
    for n in 0..300 {
        a.put(&format!("c/{n:03}"), b"early").expect(201);
    }
    let mut b = site.container("b", &[]);
    let count = |process: &Process| {
        let page = process.request("GET", "/v1/objects/c?limit=1000", &[], b"").json();
        page["items"].as_array().unwrap().len()
    };
    until("what was before", || count(&b) == 300);
    b.put("c/of-b", b"b").expect(201);
    until("what b keeps", || count(&a) == 301);
    b.kill9();
    for n in 0..50 {
        a.request("DELETE", &format!("/v1/objects/c/{n:03}"), &[], b"").expect(204);
        a.put(&format!("c/late-{n:03}"), b"late").expect(201);
    }
    // An object whose keeper is away is known, and not to be had; what is known nowhere b may have.
    let absent = a.get("c/nowhere").expect(404);
    assert_eq!(absent.header("mesh-unasked"), Some("b"));
    let gone = a.get("c/of-b").expect(503);
    assert!(gone.text().contains("container"), "{}", gone.text());
    assert!(a.get("c/nowhere").header("mesh-unasked").is_some());
    b.restart();
    until("what was meanwhile", || count(&b) == 301 && b.get("c/000").status == 404);
    assert_eq!(b.get("c/late-049").body, b"late");
    until("what b keeps", || a.get("c/of-b").body == b"b");
}

#[test]
fn two_containers_of_one_name_are_refused() {
    let site = Site::new();
    let _a = site.container("a", &[]);
    let keys = site.keys.path().join("keys.toml");
    let refused = Process::refused(
        &["--site", "edge", "--name", "a", "--bus", site.server.url(), "--keys", keys.to_str().unwrap()],
        &[],
    );
    assert!(refused.stderr.contains("--name"), "{}", refused.stderr);
}

#[test]
fn who_has_another_keyring_is_not_one_of_the_site() {
    let site = Site::new();
    let a = site.container("a", &[]);
    let stranger = Process::start(&["--site", "edge", "--name", "x", "--bus", site.server.url()]);
    a.put("c/k", b"secret").expect(201);
    stranger.get("c/k").expect(404);
    until("the complaint", || stranger.said().contains("no container of this site"));
}

#[test]
fn of_many_who_want_to_be_first_at_any_container_exactly_one_is() {
    let site = Site::new();
    let containers: Vec<Process> = ["a", "b", "c"].iter().map(|name| site.container(name, &[])).collect();
    for round in 0..10 {
        let address = object(&format!("c/first-{round}"));
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let tries = (0..9).map(|n| {
                let (container, address) = (&containers[n % 3], &address);
                let body = format!("of {n}");
                scope
                    .spawn(move || container.request("PUT", address, &[("If-None-Match", "*")], body.as_bytes()).status)
            });
            tries.collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 201 | 412)), "{statuses:?}");
    }
}

#[test]
fn a_counter_by_compare_and_set_at_many_containers_loses_no_increment() {
    let site = Site::new();
    let containers: Vec<Process> = ["a", "b", "c"].iter().map(|name| site.container(name, &[])).collect();
    containers[0].put("c/count", b"0").expect(201);
    let counts: usize = std::thread::scope(|scope| {
        let workers = (0..3).map(|worker| {
            let containers = &containers;
            scope.spawn(move || {
                let (mut done, mut turn) = (0, worker);
                while done < 15 {
                    // Read here, written there.
                    let (reader, writer) = (&containers[turn % 3], &containers[(turn + 1) % 3]);
                    turn += 1;
                    let now = reader.get("c/count").expect(200);
                    let next = (now.text().parse::<u64>().unwrap() + 1).to_string();
                    let tag = now.header("etag").unwrap().to_owned();
                    let written = writer.request("PUT", &object("c/count"), &[("If-Match", &tag)], next.as_bytes());
                    match written.status {
                        200 => done += 1,
                        412 => {}
                        other => panic!("{other}: {}", written.text()),
                    }
                }
                done
            })
        });
        workers.collect::<Vec<_>>().into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    until("the last count", || containers.iter().all(|one| one.get("c/count").text() == counts.to_string()));
}

#[test]
fn without_its_home_a_condition_is_undecided_until_another_one_decides() {
    let site = Site::new();
    let a = site.container("a", &[]);
    let mut b = site.container("b", &[]);
    let at =
        |one: &Process, key: usize| one.request("PUT", &object(&format!("c/{key}")), &[("If-None-Match", "*")], b"x");
    let conditional = |key: usize| at(&a, key);
    // At some of these keys b decides, and from then on a knows that it does.
    assert!((0..20).all(|key| at(&b, key).status == 201));
    b.kill9();
    let answers: Vec<Response> = (20..40).map(conditional).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let undecided = answers.iter().find(|answer| answer.status == 503).unwrap_or_else(|| panic!("{statuses:?}"));
    assert!(undecided.header("retry-after").is_some(), "{}", undecided.text());
    // What needs no decision goes on.
    a.put("c/plain", b"x").expect(201);
    let end = Instant::now() + Duration::from_secs(30);
    while (40..60).any(|key| conditional(key).status == 503) {
        assert!(Instant::now() < end, "nobody decides in its place");
        std::thread::sleep(Duration::from_millis(500));
    }
    // Back again, it knows what was decided meanwhile.
    b.restart();
    assert!((40..60).all(|key| at(&b, key).status == 412));
}

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn the_log_tells_of_what_its_keeper_cannot() {
    let site = Site::new();
    let mut a = site.container("a", &[]);
    let mut b = site.container("b", &[]);
    a.put("c/before", b"x").expect(201);
    until("what was before", || b.head("c/before").status == 200);
    b.kill9();
    for n in 0..20 {
        a.put(&format!("c/meanwhile-{n}"), b"x").expect(201);
    }
    a.delete("c/before").expect(204);
    std::thread::sleep(Duration::from_millis(300));
    a.kill9();
    b.restart();
    // Nobody is left to be asked; the log still says what there is, and who keeps it.
    until("what the log has", || b.get("c/meanwhile-19").status == 503);
    until("the delete", || b.get("c/before").status == 404);
}

#[test]
fn a_log_that_was_lost_is_made_up_for_by_asking() {
    let mut site = Site::new();
    let a = site.container("a", &[]);
    let mut b = site.container("b", &[]);
    a.put("c/before", b"x").expect(201);
    until("what was before", || b.head("c/before").status == 200);
    b.kill9();
    a.put("c/lost", b"x").expect(201);
    site.server.kill();
    std::fs::remove_dir_all(site.server.store()).unwrap();
    site.server.restart();
    b.restart();
    a.put("c/after", b"x").expect(201);
    until("all of it", || ["before", "lost", "after"].iter().all(|key| listed(&b).contains(&format!("\"{key}\""))));
    // It is kept again, and there is a list of members in it.
    until("a decision", || b.request("PUT", &object("c/first"), &[("If-None-Match", "*")], b"x").status == 201);
}

#[test]
fn a_log_from_an_old_copy_that_was_written_on_hides_nothing() {
    let mut site = Site::new();
    let a = site.container("a", &[]);
    let mut b = site.container("b", &[]);
    a.put("c/before", b"x").expect(201);
    until("what was before", || b.head("c/before").status == 200);
    // An old copy of the log is put back when b has read on, and written past the place where b stopped.
    site.server.kill();
    let old = tempfile::tempdir().unwrap();
    copy(&site.server.store(), &old.path().join("copy"));
    site.server.restart();
    until("the server", || b.put("c/of-b", b"x").status < 300);
    for n in 0..20 {
        a.put(&format!("c/read-{n:02}"), b"x").expect(201);
    }
    until("what was told", || listed(&b).contains("read-19"));
    b.terminate();
    a.put("c/unheard", b"x").expect(201);
    site.server.kill();
    std::fs::remove_dir_all(site.server.store()).unwrap();
    copy(&old.path().join("copy"), &site.server.store());
    site.server.restart();
    for n in 0..40 {
        a.put(&format!("c/past-{n:02}"), b"x").expect(201);
    }
    b.restart();
    until("all of it", || ["unheard", "past-39", "read-19"].iter().all(|key| listed(&b).contains(key)));
    assert_eq!(b.get("c/unheard").body, b"x");
}

fn listed(process: &Process) -> String {
    String::from_utf8(process.request("GET", "/v1/objects/c?limit=1000", &[], b"").body).unwrap()
}

#[test]
fn policies_and_tokens_are_alike_at_every_container() {
    let site = Site::new();
    let auth = ["--set", "auth.required=true"];
    let (a, b) = (site.container("a", &auth), site.container("b", &auth));
    let root = |one: &Process| std::fs::read_to_string(one.data().join("root.token")).unwrap().trim().to_owned();
    let bearer = |token: &str| format!("Bearer {token}");
    let (root_a, root_b) = (bearer(&root(&a)), bearer(&root(&b)));
    let as_a = [("Authorization", root_a.as_str()), ("Content-Type", "application/json")];
    let policy = br#"{"retention_s":77,"durability":"ram"}"#;
    a.request("PUT", "/v1/collections/c", &as_a, policy).expect(201);
    // The very next push elsewhere keeps to it.
    let as_b = [("Authorization", root_b.as_str()), ("Content-Type", "application/json")];
    let pushed = b.request("PUT", &object("c/k"), &as_b, b"x").expect(201);
    assert_eq!(pushed.header("mesh-durability"), Some("ram"));
    // It holds something at b, so a does not remove it.
    until("what b holds", || a.request("GET", "/v1/objects/c", &as_a, b"").text().contains("\"k\""));
    a.request("DELETE", "/v1/collections/c", &as_a, b"").expect(412);
    b.request("DELETE", &object("c/k"), &as_b, b"").expect(204);
    until("the removal", || matches!(a.request("DELETE", "/v1/collections/c", &as_a, b"").status, 204));
    until("the news of it", || b.request("GET", "/v1/collections/c", &as_b, b"").status == 404);
    // Made again, it does not pass for the one of before.
    let again = b.request("PUT", "/v1/collections/c", &as_b, b"{}").expect(201);
    assert_ne!(again.header("etag"), Some("\"1\""));

    let made =
        a.request("POST", "/v1/admin/tokens", &as_a, br#"{"subject":"ada","scopes":["read:c"]}"#).expect(201).json();
    let ada = bearer(made["token"].as_str().unwrap());
    let reads = |one: &Process| one.request("GET", "/v1/objects/c", &[("Authorization", &ada)], b"").status;
    until("the token", || reads(&b) == 200);
    let id = made["id"].as_str().unwrap().to_owned();
    b.request("DELETE", &format!("/v1/admin/tokens/{id}"), &as_b, b"").expect(204);
    until("its end", || reads(&a) == 401);
    // A root token opens the container alone that made it.
    assert_eq!(a.request("GET", "/v1/objects/c", &[("Authorization", &root_b)], b"").status, 401);
}

#[test]
fn in_storage_mode_one_copy_serves_all_who_come_after() {
    let site = Site::new();
    let (mut a, b) = (site.container("a", &[]), site.container("b", &[]));
    let json = [("Content-Type", "application/json")];
    a.request("PUT", "/v1/collections/c", &json, br#"{"levels":["disk"],"encrypt":"aes256gcm"}"#).expect(201);
    let body = body_of("large", 1, 5_000_000);
    a.put("c/large", &body).expect(201);
    let asked = |one: &Process| {
        let metrics = String::from_utf8(one.request("GET", "/metrics", &[], b"").body).unwrap();
        let wanted = |line: &&str| line.contains("http_requests_total") && line.contains("method=\"GET\"");
        let lines = metrics.lines().filter(wanted).filter(|line| line.contains("{key}"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum::<u64>()
    };
    let before = asked(&a);
    let stored = |headers: &[(&str, &str)]| b.request("GET", &object("c/large"), headers, b"");
    let levels: Vec<String> = std::thread::scope(|scope| {
        let pulls = (0..8).map(|_| {
            scope.spawn(|| {
                let pulled = stored(&[("Mesh-Mode", "storage")]).expect(200);
                assert!(pulled.body == body);
                level(&pulled).to_owned()
            })
        });
        pulls.collect::<Vec<_>>().into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert!(levels.iter().all(|level| level == "disk"), "{levels:?}");
    let transfers = asked(&a) - before;
    // In one go, and once for all of them.
    assert!((1..4).contains(&transfers), "{transfers} requests for eight readers");
    let located = b.request("GET", "/v1/locate/c/large", &[], b"").json();
    let copies: Vec<[&str; 3]> = located["versions"][0]["copies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|copy| ["container", "level", "state"].map(|name| copy[name].as_str().unwrap()))
        .collect();
    assert!(copies.contains(&["b", "disk", "cached"]) && copies.contains(&["a", "disk", "kept"]), "{copies:?}");
    // The copy is of use to who asks for it in any way, also when its keeper is gone.
    a.kill9();
    let part = stored(&[("Range", "bytes=3000000-3000099")]).expect(206);
    assert_eq!(part.body, body[3_000_000..3_000_100]);
    // One that was damaged is not served.
    let copies: Vec<_> =
        std::fs::read_dir(b.data().join("copies")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(copies.len(), 1);
    let mut bytes = std::fs::read(&copies[0]).unwrap();
    bytes[2_000_000] ^= 1;
    std::fs::write(&copies[0], bytes).unwrap();
    stored(&[("Range", "bytes=1900000-2100000")]).expect(503);
    a.restart();
    until("its keeper", || stored(&[]).status == 200);
    assert!(stored(&[]).body == body);
    stored(&[("Mesh-Mode", "sideways")]).expect_problem(400, "invalid");
    a.delete("c/large").expect(204);
    until("the delete", || stored(&[]).status == 404);
}

#[test]
fn what_happens_anywhere_is_told_on_the_bus_and_to_whoever_watches_the_site() {
    let site = Site::new();
    let (a, b) = (site.container("a", &[]), site.container("b", &[]));
    let mut client = site.client();
    client.subscribe("mesh.event.edge.*");
    let mut watching = std::net::TcpStream::connect(b.addr()).unwrap();
    watching.set_read_timeout(Some(NEWS_MAX)).unwrap();
    let request =
        format!("GET /v1/events?scope=site&kind=push,delete&collection=c HTTP/1.1\r\nHost: {}\r\n\r\n", b.addr());
    std::io::Write::write_all(&mut watching, request.as_bytes()).unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watching)).map(Result::unwrap);
    assert!(lines.any(|line| line.contains("the events of the site")));
    a.put("other/k", b"x").expect(201);
    a.put("c/k", b"x").expect(201);
    b.delete("c/k").expect(204);
    client.publish("mesh.edge.a.push", "", &[("Mesh-Address", "c/unasked")], b"x");
    let data: Vec<serde_json::Value> = lines
        .filter_map(|line| line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap()))
        .take(3)
        .collect();
    // Each container tells in order; of several one may be heard before the other, and versions say what came first.
    let told_by = |container: &str| -> Vec<(&str, &str)> {
        let told = data.iter().filter(|event| event["container"] == container);
        told.map(|event| ["kind", "address"].map(|name| event[name].as_str().unwrap()).into()).collect()
    };
    assert_eq!(told_by("a"), [("push", "c/k"), ("push", "c/unasked")]);
    assert_eq!(told_by("b"), [("delete", "c/k")]);
    let version = |kind: &str| {
        let event = data.iter().find(|event| event["kind"] == kind && event["address"] == "c/k").unwrap();
        event["version"].as_str().unwrap().parse::<Version>().unwrap()
    };
    assert!(version("delete") > version("push"));
    // Each once, the push that nobody waited for as well.
    let mut heard = Vec::new();
    while !heard.contains(&"c/unasked".to_owned()) {
        let message = client.next();
        assert!(message.subject.starts_with("mesh.event.edge."), "{}", message.subject);
        if message.subject == "mesh.event.edge.push" {
            assert_eq!((message.header("Mesh-Status"), message.header("Mesh-Container")), (Some("201"), Some("a")));
            heard.push(message.header("Mesh-Address").unwrap().to_owned());
        }
    }
    assert_eq!(heard, ["other/k", "c/k", "c/unasked"]);
    b.request("GET", "/v1/events?scope=galaxy", &[], b"").expect_problem(400, "invalid");
}

#[test]
fn what_memory_lost_in_a_crash_is_gone_everywhere_once_it_is_missed() {
    let site = Site::new();
    let a = site.container("a", &[]);
    let mut b = site.container("b", &[]);
    b.request("PUT", &object("c/fleeting"), &[("Mesh-Durability", "ram")], b"x").expect(201);
    until("the news of it", || listed(&a).contains("fleeting"));
    b.kill9();
    b.restart();
    until("its end", || a.get("c/fleeting").status == 404);
    assert!(!listed(&a).contains("fleeting"));
    a.head("c/fleeting").expect(404);
}

#[test]
fn whoever_starts_decides_nothing_before_it_knows_the_others() {
    let site = Site::new();
    let a = site.container("a", &[]);
    let mut b = site.container("b", &[]);
    let taken =
        |key: usize| a.request("PUT", &object(&format!("c/{key}")), &[("If-None-Match", "*")], b"a").expect(201);
    for round in 0..3 {
        b.terminate();
        taken(round);
        b.restart();
        let second = b.request("PUT", &object(&format!("c/{round}")), &[("If-None-Match", "*")], b"b");
        assert!(matches!(second.status, 412 | 503), "{}: {}", second.status, second.text());
        until("the object of a", || b.get(&format!("c/{round}")).body == b"a");
    }
}

#[test]
fn without_a_log_one_container_decides_alone_and_two_do_not() {
    let server = NatsServer::without_jetstream();
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("keys.toml");
    let start = |name: &str| {
        let args = ["--site", "edge", "--name", name, "--bus", server.url(), "--keys", file.to_str().unwrap()];
        Process::start(&args)
    };
    let first = |one: &Process, key: &str| one.request("PUT", &object(key), &[("If-None-Match", "*")], b"x").status;
    let a = start("a");
    assert_eq!((first(&a, "c/1"), first(&a, "c/1")), (201, 412));
    let b = start("b");
    until("the other one", || first(&a, "c/2") == 503 && first(&b, "c/2") == 503);
    // What needs no decision is shared all the same.
    a.put("c/3", b"x").expect(201);
    assert_eq!(b.get("c/3").body, b"x");
}

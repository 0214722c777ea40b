//! Containers that join their site, leave it, come back and drain, while it is written to through all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;
use super::site::{NEWS_MAX, Site, until};

/// Keeps writing and reading through whichever container answers, and remembers what was acknowledged.
struct Traffic {
    acknowledged: Mutex<BTreeMap<String, Vec<u8>>>,
    stop: AtomicBool,
}

impl Traffic {
    fn run(&self, worker: u64, addrs: &Mutex<Vec<SocketAddr>>) {
        let (mut random, mut session) = (Dice::new(worker), None::<String>);
        for turn in 0u64.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let addr = {
                let addrs = addrs.lock().unwrap();
                addrs[random.below(addrs.len() as u64) as usize]
            };
            let key = format!("{worker}-{}", random.below(40));
            let body = format!("{worker} {turn}").into_bytes();
            let class = ["disk", "ram"][random.below(2) as usize];
            // What the session has seen is older than what comes next, wherever that is taken.
            let mut headers = vec![("Mesh-Durability", class)];
            headers.extend(session.as_deref().map(|session| ("Mesh-Session", session)));
            let put = Connection::open(addr)
                .and_then(|mut door| door.request("PUT", &object(&format!("c/{key}")), &headers, &body));
            match put {
                Ok(answer) if answer.status / 100 == 2 => {
                    session = answer.header("mesh-session").map(str::to_owned);
                    self.acknowledged.lock().unwrap().insert(key, body);
                }
                // What became of it is open: nothing is expected of the key until the next acknowledgement.
                _ => drop(self.acknowledged.lock().unwrap().remove(&key)),
            }
        }
    }

    /// Every worker has its own keys, so what it was told last is what there is, at every container.
    fn check(&self, containers: &[(&str, &Process)]) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        assert!(acknowledged.len() > 60, "{}", acknowledged.len());
        for (key, body) in acknowledged {
            for (name, one) in containers {
                let end = Instant::now() + NEWS_MAX;
                loop {
                    let found = one.get(&format!("c/{key}"));
                    if found.body == body {
                        break;
                    }
                    let said = String::from_utf8_lossy(&body);
                    assert!(
                        Instant::now() < end,
                        "{key} at {name}: not {said} but {:?} {}",
                        found.headers,
                        found.text()
                    );
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

/// Ends the traffic, also when a test fails in the middle of it.
struct Ends<'a>(&'a Traffic);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Does something while three workers push through whichever of these containers they choose.
fn under_load(addrs: &Mutex<Vec<SocketAddr>>, work: impl FnOnce()) -> Traffic {
    let traffic = Traffic { acknowledged: Mutex::default(), stop: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let traffic = &traffic;
            scope.spawn(move || traffic.run(worker, addrs));
        }
        let _ends = Ends(&traffic);
        pause();
        work();
        pause();
    });
    traffic
}

fn pause() {
    std::thread::sleep(Duration::from_millis(700));
}

#[test]
fn a_container_drains_under_load_and_the_others_take_what_is_pushed_at_its_door() {
    let site = Site::new();
    let (a, mut b) = (site.container("a", &[]), site.container("b", &[]));
    let addrs = Mutex::new(vec![a.addr(), b.addr()]);
    let traffic = under_load(&addrs, || {
        b.request("POST", "/v1/admin/drain", &[("Content-Type", "application/json")], b"{}").expect(200);
        pause();
        b.put("c/after", b"x").expect(201);
        // Whatever b was the home of is decided by the other one.
        for n in 0..20 {
            let first = || b.request("PUT", &object(&format!("c/first-{n}")), &[("If-None-Match", "*")], b"x").status;
            until("a decision", || matches!(first(), 201 | 412));
        }
        let kept = b.request("GET", "/v1/locate/c/after", &[], b"").expect(200).json();
        let copies = kept["versions"][0]["copies"].as_array().unwrap();
        assert!(copies.iter().all(|copy| copy["container"] == "a"), "{kept}");
    });
    traffic.check(&[("a", &a), ("b", &b)]);
    // What memory alone held is on its disk by now.
    b.kill9();
    b.restart();
    traffic.check(&[("a", &a), ("b", &b)]);
}

#[test]
fn a_container_that_goes_for_good_hands_over_all_that_it_keeps_while_it_is_read() {
    let site = Site::new();
    let (a, mut b, c) = (site.container("a", &[]), site.container("b", &[]), site.container("c", &[]));
    let bodies: BTreeMap<String, Vec<u8>> = (0..300u64)
        .map(|n| (format!("old/{n}"), body_of("old", n, if n % 50 == 0 { 3_000_000 } else { 200 + n as usize * 90 })))
        .collect();
    let mut versions = BTreeMap::new();
    for (n, (key, body)) in bodies.iter().enumerate() {
        let class = if n % 7 == 0 { "ram" } else { "disk" };
        let (class, meta) = (("Mesh-Durability", class), ("Mesh-Meta-Nth", "kept"));
        let put = b.request("PUT", &object(&format!("c/{key}")), &[class, meta], body).expect(201);
        versions.insert(key.clone(), put.header("etag").unwrap().to_owned());
    }
    b.delete("c/old/1").expect(204);
    let addrs = Mutex::new(vec![a.addr(), b.addr(), c.addr()]);
    let read = AtomicBool::new(false);
    let traffic = under_load(&addrs, || {
        std::thread::scope(|scope| {
            // Whoever reads meanwhile finds every object, at any of them.
            scope.spawn(|| {
                let mut random = Dice::new(9);
                while !read.load(Ordering::Relaxed) {
                    let key = format!("old/{}", 2 + random.below(298));
                    let at = [&a, &b, &c][random.below(3) as usize];
                    let got = at.get(&format!("c/{key}"));
                    assert_eq!(got.status, 200, "{key}: {}", got.text());
                    assert!(got.body == bodies[&key], "{key}");
                }
            });
            struct Done<'a>(&'a AtomicBool);
            impl Drop for Done<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
            let _done = Done(&read);
            let told = b.cli(&["admin", "drain", "--hand-over"], b"");
            let said = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.status.success() && said.contains("handed over"), "{told:?}");
        });
    });
    // Again it has nothing to hand over, and it goes.
    let again = b.request("POST", "/v1/admin/drain", &[("Content-Type", "application/json")], br#"{"hand_over":true}"#);
    let handed = &again.expect(200).json()["handed_over"];
    assert_eq!((&handed["objects"], &handed["left"], &handed["ended"]), (&0.into(), &0.into(), &true.into()));
    b.kill9();
    std::fs::remove_dir_all(b.data()).unwrap();
    traffic.check(&[("a", &a), ("c", &c)]);
    for (key, body) in &bodies {
        for at in [&a, &c] {
            let got = at.get(&format!("c/{key}"));
            if key == "old/1" {
                got.expect_problem(404, "not_found");
                continue;
            }
            let got = got.expect(200);
            assert!(got.body == *body, "{key}");
            assert_eq!(got.header("etag"), Some(&*versions[key]), "it is the same version");
            assert_eq!(got.header("mesh-meta-nth"), Some("kept"));
        }
    }
}

#[test]
fn what_was_taken_over_is_found_by_who_has_not_heard_of_it_yet() {
    let site = Site::new();
    let (a, b, c) = (site.container("a", &[]), site.container("b", &[]), site.container("c", &[]));
    let keys: Vec<String> = (0..40).map(|n| format!("c/{n}")).collect();
    let versions: Vec<String> = keys
        .iter()
        .map(|key| b.put(key, key.as_bytes()).expect(201).header("mesh-version").unwrap().to_owned())
        .collect();
    until("c knows them", || keys.iter().all(|key| c.head(key).status == 200));
    c.signal("STOP");
    until("c is silent", || b.get("c/none").header("mesh-unasked").is_some_and(|silent| silent == "c"));
    let told = b.cli(&["admin", "drain", "--hand-over"], b"");
    assert!(told.status.success(), "{told:?}");
    c.signal("CONT");
    // Its door answers as soon as it goes on and hears anybody, whatever it has heard by then.
    until("somebody is heard", || c.get(&keys[0]).status == 200);
    for (key, version) in keys.iter().zip(&versions) {
        let named = c.request("GET", &format!("{}?version={version}", object(key)), &[], b"").expect(200);
        assert_eq!((named.body.as_slice(), c.get(key).expect(200).body.as_slice()), (key.as_bytes(), key.as_bytes()));
    }
    assert_eq!(a.get(&keys[0]).expect(200).body, keys[0].as_bytes());
}

#[test]
fn what_is_damaged_is_not_let_go_for_a_damaged_copy() {
    let site = Site::new();
    let (_a, b) = (site.container("a", &[]), site.container("b", &[]));
    b.put("c/good", &body_of("good", 1, 100_000)).expect(201);
    let frames: Vec<_> = frames_of(&b);
    b.put("c/bad", &body_of("bad", 1, 100_000)).expect(201);
    let bad = frames_of(&b).into_iter().find(|frame| !frames.contains(frame)).unwrap();
    let mut bytes = std::fs::read(&bad).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(&bad, bytes).unwrap();
    let told = b.cli(&["admin", "drain", "--hand-over"], b"");
    assert_eq!(told.status.code(), Some(23), "{told:?}");
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(said.contains("1 object is still kept here") && said.contains("damaged"), "{said}");
    let kept = |key: &str| {
        b.request("GET", &format!("/v1/locate/c/{key}"), &[], b"").expect(200).json()["versions"][0]["copies"].clone()
    };
    let at_b = |copy: &Value| copy["container"] == "b" && copy["level"] == "disk";
    let state = |key: &str| kept(key).as_array().unwrap().iter().find(|copy| at_b(copy)).unwrap()["state"].clone();
    assert_eq!(
        (state("good"), state("bad")),
        ("cached".into(), "owed".into()),
        "the bad one is for its operator to see"
    );
}

/// Files of sealed bytes.
fn frames_of(process: &Process) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(process.data().join("frames")).unwrap();
    folders
        .flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

#[test]
fn what_nobody_takes_stays_where_it_is() {
    let site = Site::new();
    let b = site.container("b", &[]);
    b.put("c/kept", b"by b").expect(201);
    let alone = b.cli(&["admin", "drain", "--hand-over"], b"");
    assert_eq!(alone.status.code(), Some(23), "{alone:?}");
    let said = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(said.contains("1 object is still kept here: no other container of the site takes anything"), "{said}");
    assert_eq!(b.get("c/kept").expect(200).body, b"by b");
    // One that comes later takes it.
    let a = site.container("a", &[]);
    let told = b.cli(&["admin", "drain", "--hand-over", "--json"], b"");
    assert!(String::from_utf8_lossy(&told.stdout).contains(r#""left":0"#), "{told:?}");
    let kept = a.request("GET", "/v1/locate/c/kept", &[], b"").expect(200).json();
    let copies = kept["versions"][0]["copies"].as_array().unwrap();
    assert!(copies.iter().any(|copy| copy["container"] == "a" && copy["level"] == "disk"), "{kept}");
    assert!(copies.iter().all(|copy| copy["container"] != "b" || copy["state"] == "cached"), "{kept}");
}

#[test]
fn containers_join_leave_and_come_back_under_load() {
    let site = Site::new();
    let (a, mut b) = (site.container("a", &[]), site.container("b", &[]));
    let addrs = Mutex::new(vec![a.addr(), b.addr()]);
    let mut third = None;
    let traffic = under_load(&addrs, || {
        let c = third.insert(site.container("c", &[]));
        addrs.lock().unwrap().push(c.addr());
        pause();
        // In order: it is not asked any more before it goes.
        *addrs.lock().unwrap() = vec![a.addr(), c.addr()];
        b.terminate();
        pause();
        b.restart();
        *addrs.lock().unwrap() = vec![a.addr(), b.addr()];
        pause();
        c.terminate();
        c.restart();
        addrs.lock().unwrap().push(c.addr());
    });
    traffic.check(&[("a", &a), ("b", &b), ("c", &third.unwrap())]);
}

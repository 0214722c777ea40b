//! Containers that join their site, leave it, come back and drain, while it is written to through all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::harness::*;
use super::site::{NEWS_MAX, Site};

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

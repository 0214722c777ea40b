//! A wall clock that is set back, or leaps: versions never go back, what was written last wins, and what has
//! ended stays ended.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::faulty::Machine;
use crate::harness::{Process, Response, body_of, object};

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR_MS: i64 = 3_600_000;

fn version(answer: &Response) -> String {
    answer.header("mesh-version").unwrap().to_owned()
}

/// Writes that each must be newer than all before it, whatever the clock shows.
#[derive(Default)]
struct Writes {
    last: String,
    number: u64,
}

impl Writes {
    fn push(&mut self, process: &Process, class: &str) {
        self.number += 1;
        let headers = [("Mesh-Durability", class)];
        let body = body_of("clock/k", self.number, if self.number.is_multiple_of(2) { 300 } else { 40_000 });
        let answer = process.request("PUT", &object("clock/k"), &headers, &body);
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        let version = version(&answer);
        assert!(version > self.last, "{version} after {}", self.last);
        self.last = version;
        self.check(process);
    }

    fn check(&self, process: &Process) {
        let body = body_of("clock/k", self.number, if self.number.is_multiple_of(2) { 300 } else { 40_000 });
        let answer = process.get("clock/k").expect(200);
        assert_eq!(version(&answer), self.last);
        assert!(answer.body == body, "push {} does not win", self.number);
    }
}

#[test]
fn what_is_written_after_the_clock_was_set_back_wins_also_over_restarts() {
    let machine = Machine::new(0);
    let mut process = machine.start(&[]);
    let mut writes = Writes::default();
    writes.push(&process, "ram");
    writes.push(&process, "disk");
    let first = writes.last.clone();
    for (nth, shift) in [-HOUR_MS, -2 * HOUR_MS, -HOUR_MS, 0, 2 * HOUR_MS, HOUR_MS].into_iter().enumerate() {
        machine.shift_clock(shift);
        writes.push(&process, "disk");
        writes.push(&process, "ram");
        process.delete("clock/gone").expect(204);
        process.put("clock/gone", b"here").expect(201);
        process.delete("clock/gone").expect(204);
        process.get("clock/gone").expect_problem(404, "not_found");
        // A condition on what was written before still holds or fails as it should.
        let stale = [("If-Match", format!("\"{first}\""))].map(|(name, value)| (name, value));
        let stale: Vec<(&str, &str)> = stale.iter().map(|(name, value)| (*name, value.as_str())).collect();
        process.request("PUT", &object("clock/k"), &stale, b"stale").expect_problem(412, "precondition_failed");
        writes.check(&process);
        writes.push(&process, "disk");
        if nth % 2 == 0 {
            process.kill9();
        } else {
            process.terminate();
        }
        process.restart();
        writes.check(&process);
        writes.push(&process, "disk");
        process.get("clock/gone").expect_problem(404, "not_found");
    }
    // Old versions are kept for a day, also those written under a wrong clock.
    let old = format!("{}?version={first}", object("clock/k"));
    assert!(process.request("GET", &old, &[], b"").expect(200).body == body_of("clock/k", 2, 300));
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_has_ended_stays_ended_and_nothing_ends_early_when_the_clock_is_set_back() {
    let machine = Machine::new(0);
    let mut process = machine.start(&[]);
    process.request("PUT", "/v1/collections/brief", &[], br#"{"retention_s":0}"#).expect(201);
    let live = |address: &str, seconds: &str, class: &str| {
        let headers = [("Mesh-Ttl-S", seconds), ("Mesh-Durability", class)];
        process.request("PUT", &object(address), &headers, address.as_bytes()).expect(201);
    };
    for class in ["ram", "disk"] {
        live(&format!("brief/short-{class}"), "1", class);
        live(&format!("brief/long-{class}"), "7200", class);
    }
    let ended = |process: &Process| {
        for class in ["ram", "disk"] {
            process.get(&format!("brief/short-{class}")).expect_problem(404, "not_found");
            let long = format!("brief/long-{class}");
            assert_eq!(process.get(&long).expect(200).body, long.as_bytes());
        }
        let listed = process.request("GET", "/v1/objects/brief", &[], b"").expect(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    };
    eventually("what is short-lived never ends", || {
        ["ram", "disk"].iter().all(|class| process.get(&format!("brief/short-{class}")).status == 404)
    });
    // At once: whoever heard that it is gone must not see it again.
    machine.shift_clock(-HOUR_MS);
    ended(&process);
    eventually("what has ended is never swept", || {
        let page = process.request("GET", "/metrics", &[], b"").expect(200).body;
        String::from_utf8(page).unwrap().contains("meshstore_swept_total{what=\"object\"} 2")
    });
    process.terminate();
    process.restart();
    ended(&process);
    machine.shift_clock(0);
    ended(&process);
    // What is written meanwhile lives as long as it was to, by the clock that is shown.
    machine.shift_clock(-HOUR_MS);
    process.request("PUT", &object("brief/late"), &[("Mesh-Ttl-S", "1")], b"late").expect(201);
    eventually("what is short-lived never ends", || process.get("brief/late").status == 404);
    machine.shift_clock(3 * HOUR_MS);
    for class in ["ram", "disk"] {
        process.get(&format!("brief/long-{class}")).expect_problem(404, "not_found");
    }
}

#[test]
fn a_clock_that_is_set_back_holds_up_no_work_in_the_background() {
    let machine = Machine::new(0);
    let process = machine.start(&[]);
    let cloud = process.data().join("cloud");
    let aside = process.data().join("aside");
    process.put("debts/a", &body_of("debts/a", 1, 30_000)).expect(201);
    std::fs::rename(&cloud, &aside).unwrap();
    std::fs::write(&cloud, "in the way").unwrap();
    process.request("POST", "/v1/sync", &[], b"").expect_problem(503, "unavailable");
    // The pause after that failure ends by the clock.
    machine.shift_clock(-HOUR_MS);
    std::fs::remove_file(&cloud).unwrap();
    std::fs::rename(&aside, &cloud).unwrap();
    eventually("the cloud is never tried again", || {
        let report = process.request("POST", "/v1/sync", &[], b"");
        report.status == 200 && report.json()["owed"]["objects"] == json!(0)
    });
    // Deadlines of the sweep, and the scrub.
    process.request("PUT", "/v1/collections/brief", &[], br#"{"retention_s":1}"#).expect(201);
    process.put("brief/k", &body_of("brief/k", 1, 50_000)).expect(201);
    let old = process.put("brief/k", b"new").expect(200);
    assert!(old.header("mesh-version").is_some());
    let frames = process.data().join("frames");
    eventually("the old version is never swept", || {
        let shelves = std::fs::read_dir(&frames).unwrap();
        shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum::<usize>() == 1
    });
    process.request("POST", "/v1/admin/scrub", &[], b"").expect(202);
    eventually("the scrub never ends", || {
        process.request("GET", "/v1/admin/scrub", &[], b"").expect(200).json()["running"] == false
    });
}

//! Sites that are far from each other: hosts of a test bed, joined by links with a delay, a rate and cuts.

use std::time::{Duration, Instant};

use super::bed::{Bed, Host, Link, Quality};
use super::harness::*;
use super::mesh::{Mesh, keys};
use super::site::until;

/// Bytes of bulk that are asked for in one go.
const RANGE_BYTES: usize = 10_000_000;

/// Requests beside bulk should not take longer.
const LATE: Duration = Duration::from_millis(250);

/// One direction of a link.
const DELAY: Duration = Duration::from_millis(25);

pub fn random(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A container, and where it is.
pub struct There<'a>(pub &'a Host, pub Process);

impl There<'_> {
    pub fn get(&self, address: &str) -> Response {
        self.0.enter(|| self.1.get(address))
    }

    pub fn put(&self, address: &str, body: &[u8]) -> Response {
        self.0.enter(|| self.1.put(address, body))
    }

    pub fn keys(&self, collection: &str) -> Vec<String> {
        self.0.enter(|| keys(&self.1, collection))
    }
}

#[test]
fn a_site_reads_from_another_one_that_is_far_and_only_dials_out() {
    let bed = Bed::new().unwrap();
    let (hub, edge) = (bed.host("cloud").unwrap(), bed.host("edge").unwrap());
    let quality = Quality::delayed(DELAY).rated(100_000_000);
    let _link = bed.link(&edge, &hub, quality).unwrap();
    edge.dial_out_only().unwrap();
    let mesh = Mesh::on(&[&hub, &edge]);
    let cloud = There(&hub, mesh.container("cloud", "c1"));
    let edge = There(&edge, mesh.container("edge", "c1"));
    let large = random(10_000_000, 1);
    for n in 0..20 {
        edge.put(&format!("meteo/{n}"), b"small").expect(201);
    }
    edge.put("meteo/large", &large).expect(201);
    edge.put("meteo/again", &large).expect(201);
    until("the edge", || cloud.get("meteo/0").status == 200);
    until("its news", || cloud.keys("meteo").len() == 22);
    let took = |address: &str| {
        let began = Instant::now();
        let pulled = cloud.get(address).expect(200);
        (began.elapsed(), pulled.body)
    };
    let mut small: Vec<Duration> = (1..20).map(|n| took(&format!("meteo/{n}")).0).collect();
    small.sort();
    println!("1 KB: {:?} .. {:?}", small[0], small[18]);
    assert!(small[0] >= 2 * DELAY && small[9] < 5 * DELAY, "{small:?}");
    // The second one knows the way.
    for key in ["meteo/large", "meteo/again"] {
        let (elapsed, body) = took(key);
        assert!(body == large);
        println!("10 MB: {elapsed:?}, {:.0} Mbit/s", 80.0 / elapsed.as_secs_f64());
        assert!(elapsed < Duration::from_secs(15), "{elapsed:?}");
    }
}

#[test]
fn sites_agree_soon_after_a_cut_under_load() {
    let bed = Bed::new().unwrap();
    let (hub, edge) = (bed.host("cloud").unwrap(), bed.host("edge").unwrap());
    let link = bed.link(&edge, &hub, Quality::delayed(DELAY).rated(100_000_000)).unwrap();
    let mesh = Mesh::on(&[&hub, &edge]);
    let cloud = There(&hub, mesh.container("cloud", "c1"));
    let edge = There(&edge, mesh.container("edge", "c1"));
    edge.put("meteo/first", b"1").expect(201);
    until("the edge", || cloud.get("meteo/first").status == 200);
    cloud.put("meteo/second", b"2").expect(201);
    until("the cloud", || edge.get("meteo/second").status == 200);
    let mut count = 2;
    for cut_for in [Duration::from_secs(1), Duration::from_secs(10)] {
        link.cut();
        let began = Instant::now();
        while began.elapsed() < cut_for {
            edge.put(&format!("meteo/edge-{count}"), b"cut off").expect(201);
            cloud.put(&format!("meteo/cloud-{count}"), b"cut off").expect(201);
            count += 1;
            std::thread::sleep(Duration::from_millis(30));
        }
        link.heal();
        let healed = Instant::now();
        until("agreement", || {
            let (here, there) = (edge.keys("meteo"), cloud.keys("meteo"));
            here == there && here.len() == 2 * count - 2
        });
        println!("cut for {cut_for:?}: agreed {:?} after healing", healed.elapsed());
        for at in [2, count - 1] {
            assert_eq!(cloud.get(&format!("meteo/edge-{at}")).expect(200).body, b"cut off");
            assert_eq!(edge.get(&format!("meteo/cloud-{at}")).expect(200).body, b"cut off");
        }
    }
}

#[test]
fn each_link_of_three_sites_is_cut_in_turn_and_both_at_once() {
    let bed = Bed::new().unwrap();
    let (hub, a, b) = (bed.host("cloud").unwrap(), bed.host("a").unwrap(), bed.host("b").unwrap());
    let links = [&a, &b].map(|edge| bed.link(edge, &hub, Quality::delayed(DELAY).rated(100_000_000)).unwrap());
    let mesh = Mesh::on(&[&hub, &a, &b]);
    let all = [There(&hub, mesh.container("cloud", "c1")), There(&a, mesh.container("a", "c1"))];
    let [cloud, a] = &all;
    let b = &There(&b, mesh.container("b", "c1"));
    let all = [cloud, a, b];
    for (at, site) in all.iter().enumerate() {
        site.put(&format!("meteo/first-{at}"), b"1").expect(201);
    }
    all.iter().for_each(|site| until("all", || site.keys("meteo").len() == 3));
    let mut count = 3;
    for cut in [&links[..1], &links[1..], &links[..]] {
        cut.iter().for_each(|link| link.cut());
        for round in 0..20 {
            for (at, site) in all.iter().enumerate() {
                site.put(&format!("meteo/{count:04}-{at}"), b"cut off").expect(201);
                count += 1;
                // One key for all: the last write wins everywhere.
                site.put("meteo/shared", format!("{round} of {at}").as_bytes());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        cut.iter().for_each(|link| link.heal());
        let healed = Instant::now();
        until("agreement", || all.iter().all(|site| site.keys("meteo").len() == count + 1));
        println!("{} links cut: agreed {:?} after healing", cut.len(), healed.elapsed());
        // Who keeps it is heard a moment before it can be asked.
        until("one value", || {
            let shared = all.map(|site| site.get("meteo/shared"));
            shared.iter().all(|read| read.status == 200 && read.body == shared[0].body)
        });
        let listed = all.map(|site| site.keys("meteo"));
        assert!(listed.iter().all(|keys| *keys == listed[0]));
    }
}

/// What two sites that only dial out come to: the rate at which one reads bulk from the other one, in Mbit/s, and how long
/// each request took that it had answered by that one beside it.
struct Beside {
    rate: f64,
    took: Vec<Duration>,
    /// Leaf links that were lost meanwhile.
    dropped: usize,
    /// Packets that found the queue of a link full.
    overflowed: u64,
}

/// Bulk of this size over links of this rate, with requests beside it.
fn control_beside(bytes: usize, bits_per_s: u64) -> Beside {
    let bed = Bed::new().unwrap();
    let (hub, a, b) = (bed.host("cloud").unwrap(), bed.host("a").unwrap(), bed.host("b").unwrap());
    let quality = Quality::delayed(DELAY).rated(bits_per_s);
    let links = [&a, &b].map(|edge| (edge.clone(), bed.link(edge, &hub, quality).unwrap()));
    [&a, &b].into_iter().for_each(|edge| edge.dial_out_only().unwrap());
    let mesh = Mesh::on(&[&hub, &a, &b]);
    let _cloud = There(&hub, mesh.container("cloud", "c1"));
    let (a, b) = (There(&a, mesh.container("a", "c1")), There(&b, mesh.container("b", "c1")));
    let large = random(bytes, 7);
    a.put("bulk/small", b"small").expect(201);
    a.put("bulk/large", &large).expect(201);
    until("the other edge", || b.get("bulk/small").status == 200);
    let lost = || mesh.said_by_servers().matches("Leafnode connection closed").count();
    let before = lost();
    let (bulk, mut took) = std::thread::scope(|scope| {
        let pulling = scope.spawn(|| {
            let (began, mut got) = (Instant::now(), 0);
            // In ranges, each within the deadline of a request.
            while got < bytes {
                let end = (got + RANGE_BYTES).min(bytes);
                let range = format!("bytes={got}-{}", end - 1);
                let part = b.0.enter(|| b.1.request("GET", &object("bulk/large"), &[("Range", &range)], b""));
                assert!(part.expect(206).body == large[got..end]);
                got = end;
            }
            began.elapsed()
        });
        let (start, mut took) = (Instant::now(), Vec::new());
        while !pulling.is_finished() {
            let began = Instant::now();
            // A question to the site that the bulk comes from, and its answer.
            b.get(&format!("bulk/none-{}", took.len())).expect(404);
            took.push(began.elapsed());
            if took[took.len() - 1] > LATE {
                println!("late: {:?} after {:?}", took[took.len() - 1], start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        (pulling.join().unwrap(), took)
    });
    took.sort();
    let of_link =
        |(edge, link): &(Host, Link)| link.towards(edge).counts().overflowed + link.towards(&hub).counts().overflowed;
    let overflowed = links.iter().map(of_link).sum();
    Beside { rate: bytes as f64 * 8e-6 / bulk.as_secs_f64(), took, dropped: lost() - before, overflowed }
}

#[test]
fn bulk_between_two_sites_that_only_dial_out_leaves_room_for_control() {
    let Beside { rate, took, dropped, overflowed } = control_beside(8_000_000, 10_000_000);
    // Until the window has found the rate of the link, a few wait for longer.
    let p90 = took[took.len() * 9 / 10];
    println!("{rate:.1} Mbit/s; {} requests, p90 {p90:?}, {:?}; {overflowed} packets dropped", took.len(), took.last());
    // Other tests run beside this one; `make bench-sites` measures it alone.
    assert!(p90 < Duration::from_millis(500), "{took:?}");
    assert!(rate > 2.0, "{rate}");
    assert_eq!(dropped, 0);
}

/// The rows of docs/benchmarks.md, "Sites that are far from each other": `make bench-sites`.
mod figures {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const RATE: u64 = 100_000_000;

    fn quantile(times: &mut [Duration], percent: usize) -> Duration {
        times.sort();
        times[(times.len() * percent).div_ceil(100).max(1) - 1]
    }

    /// Pushes at this rate until it is told to stop; says how many.
    fn load(there: &There, collection: &str, per_second: u32, stop: &AtomicBool) -> u32 {
        there.0.enter(|| {
            let mut connection = there.1.connect();
            let (began, mut count) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                let due = began + Duration::from_secs(1) * count / per_second;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let path = object(&format!("{collection}/load-{count:07}"));
                connection.request("PUT", &path, &[], b"under load").unwrap().expect(201);
                count += 1;
            }
            count
        })
    }

    #[test]
    #[ignore = "a measurement: make bench-sites"]
    fn news_and_pulls() {
        let bed = Bed::new().unwrap();
        let (hub, edge) = (bed.host("cloud").unwrap(), bed.host("edge").unwrap());
        let _link = bed.link(&edge, &hub, Quality::delayed(DELAY).rated(RATE)).unwrap();
        let mesh = Mesh::on(&[&hub, &edge]);
        // Its door is one that the edge reaches; who asks there needs a token.
        let door = format!("{}:7700", hub.addr());
        let open = ["--http", &door, "--set", "http.plaintext=true"];
        let cloud = There(&hub, mesh.container_with("cloud", "c1", &open));
        let edge = There(&edge, mesh.container("edge", "c1"));
        let token = std::fs::read_to_string(cloud.1.data().join("root.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let put = |address: &str, body: &[u8]| {
            let headers = [("Authorization", bearer.as_str())];
            hub.enter(|| cloud.1.request("PUT", &object(address), &headers, body)).expect(201)
        };
        let large = random(10_000_000, 3);
        (0..200).for_each(|n| drop(put(&format!("far/small-{n:03}"), &random(1000, n))));
        (0..6).for_each(|n| drop(put(&format!("far/large-{n}"), &large)));
        edge.put("near/first", b"1").expect(201);
        until("the cloud", || edge.get("far/small-000").status == 200);
        until("its news", || edge.keys("far").len() == 206);

        let mut small: Vec<Duration> = (1..200)
            .map(|n| {
                let address = format!("far/small-{n:03}");
                edge.0.enter(|| {
                    let mut open = edge.1.connect();
                    let began = Instant::now();
                    open.request("GET", &object(&address), &[], b"").unwrap().expect(200);
                    began.elapsed()
                })
            })
            .collect();
        println!(
            "pull 1 KB: p50 {:?}, p99 {:?} (a journey there and back: {:?})",
            quantile(&mut small, 50),
            quantile(&mut small, 99),
            2 * DELAY
        );
        let mut pulls: Vec<Duration> = (0..6)
            .map(|n| {
                let began = Instant::now();
                assert!(edge.get(&format!("far/large-{n}")).expect(200).body == large);
                began.elapsed()
            })
            .collect();
        let mut bare: Vec<Duration> = (0..6).map(|_| bare_copy(&hub, edge.0, &large)).collect();
        let (ours, bare) = (quantile(&mut pulls, 50), quantile(&mut bare, 50));
        println!(
            "pull 10 MB: {ours:?}; a bare TCP stream {bare:?}; ratio {:.2}",
            bare.as_secs_f64() / ours.as_secs_f64()
        );

        // A list waits for nobody once all of a collection came in, so it shows what is known.
        hub.enter(|| cloud.1.request("GET", &object("near/first"), &[("Authorization", &bearer)], b"")).expect(200);
        let knows = |key: &str| {
            let path = format!("/v1/objects/near?prefix={key}&limit=1");
            let listed = cloud.1.request("GET", &path, &[("Authorization", &bearer)], b"").json();
            !listed["items"].as_array().unwrap().is_empty()
        };
        until("the edge", || hub.enter(|| knows("first")));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| load(&edge, "near", 1000, &stop));
            let mut news: Vec<Duration> = (0..200)
                .map(|n| {
                    let key = format!("news-{n:03}");
                    edge.put(&format!("near/{key}"), b"new").expect(201);
                    let told = Instant::now();
                    hub.enter(|| {
                        while !knows(&key) {
                            assert!(told.elapsed() < Duration::from_secs(20), "{key} is not known");
                            std::thread::sleep(Duration::from_micros(500));
                        }
                        told.elapsed()
                    })
                })
                .collect();
            stop.store(true, Ordering::Relaxed);
            let count = loading.join().unwrap();
            let (p50, p99) = (quantile(&mut news, 50), quantile(&mut news, 99));
            println!("known at another site: p50 {p50:?}, p99 {p99:?} (link {DELAY:?}; {count} pushes beside it)");
        });
    }

    /// The same bytes over a TCP connection of their own, from one host to another.
    fn bare_copy(from: &Host, to: &Host, bytes: &[u8]) -> Duration {
        let listener = from.enter(|| TcpListener::bind((from.addr(), 0)).unwrap());
        let addr = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(bytes).unwrap());
            let began = Instant::now();
            let mut got = Vec::with_capacity(bytes.len());
            to.enter(|| TcpStream::connect(addr).unwrap()).read_to_end(&mut got).unwrap();
            assert!(got == bytes);
            began.elapsed()
        })
    }

    #[test]
    #[ignore = "a measurement: make bench-sites"]
    fn agreement_after_cuts() {
        let bed = Bed::new().unwrap();
        let (hub, edge) = (bed.host("cloud").unwrap(), bed.host("edge").unwrap());
        let link = bed.link(&edge, &hub, Quality::delayed(DELAY).rated(RATE)).unwrap();
        let mesh = Mesh::on(&[&hub, &edge]);
        let cloud = There(&hub, mesh.container("cloud", "c1"));
        let edge = There(&edge, mesh.container("edge", "c1"));
        for cut_for in [1, 10, 60].map(Duration::from_secs) {
            let collection = format!("cut-{}", cut_for.as_secs());
            edge.put(&format!("{collection}/first"), b"1").expect(201);
            cloud.put(&format!("{collection}/second"), b"2").expect(201);
            until("both", || cloud.keys(&collection).len() == 2 && edge.keys(&collection).len() == 2);
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let loading = scope.spawn(|| load(&edge, &collection, 100, &stop));
                std::thread::sleep(Duration::from_millis(500));
                link.cut();
                std::thread::sleep(cut_for);
                link.heal();
                let healed = Instant::now();
                stop.store(true, Ordering::Relaxed);
                let count = loading.join().unwrap();
                let last = format!("{}/load-{:07}", collection, count - 1);
                let all = || {
                    let counted = cloud.0.enter(|| {
                        let path = format!(
                            "/v1/objects/{collection}?prefix=load-&after=load-{:07}&limit=1000",
                            count.saturating_sub(900)
                        );
                        cloud.1.request("GET", &path, &[], b"").json()["items"].as_array().map_or(0, Vec::len)
                    });
                    counted == 899.min(count as usize - 1)
                };
                until("agreement", all);
                println!("agreement after a cut of {cut_for:?}: {:?} after healing ({count} pushes)", healed.elapsed());
                cloud.get(&last).expect(200);
            });
        }
    }

    /// Pushes of one batch.
    const BATCH: usize = 1000;

    fn batch(first: usize) -> Vec<u8> {
        let part = |n: usize| {
            format!(
                "--b\r\nContent-Type: application/http\r\n\r\n\
                 PUT /v1/objects/many/{n:07} HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody\r\n"
            )
        };
        (first..first + BATCH).map(part).chain(["--b--\r\n".to_owned()]).collect::<String>().into_bytes()
    }

    fn resident_mib(process: &Process) -> u64 {
        super::super::misuse::resident_bytes(process) >> 20
    }

    #[test]
    #[ignore = "a measurement: make bench-sites"]
    fn a_million_objects() {
        let bed = Bed::new().unwrap();
        let (hub, edge) = (bed.host("cloud").unwrap(), bed.host("edge").unwrap());
        let link = bed.link(&edge, &hub, Quality::delayed(DELAY).rated(RATE)).unwrap();
        let mesh = Mesh::on(&[&hub, &edge]);
        let cloud = There(&hub, mesh.container("cloud", "c1"));
        let mut edge = There(&edge, mesh.container("edge", "c1"));
        let count = from_env("MESHSTORE_OBJECTS", 1_000_000) as usize;
        hub.enter(|| {
            let kind = [("Content-Type", "multipart/mixed; boundary=b")];
            for first in (0..count).step_by(BATCH) {
                cloud.1.request("POST", "/v1/batch", &kind, &batch(first)).expect(200);
            }
        });
        let last = format!("many/{:07}", count - 1);
        let before = resident_mib(&edge.1);
        let began = Instant::now();
        until("the cloud", || edge.get("many/0000000").status == 200);
        println!("{count} objects at another site: the first pull after {:?}", began.elapsed());
        let knows_all = |edge: &There| {
            let path = format!("/v1/objects/many?after={}&limit=10", &last["many/".len()..last.len() - 1]);
            let listed = edge.0.enter(|| edge.1.request("GET", &path, &[], b""));
            listed.status == 200
                && listed.header("mesh-unasked").is_none()
                && listed.json()["items"].as_array().unwrap().len() == 10
        };
        let wait_for_all = |edge: &There| {
            let patience = Instant::now() + Duration::from_secs(600);
            while !knows_all(edge) {
                assert!(Instant::now() < patience, "the edge does not know all of them");
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        wait_for_all(&edge);
        println!("all are known there after {:?}: {} MiB, {before} before", began.elapsed(), resident_mib(&edge.1));
        edge.get(&last).expect(200);
        edge.1.terminate();
        let began = Instant::now();
        edge.1.restart();
        println!("a start on them: {:?}, {} MiB", began.elapsed(), resident_mib(&edge.1));
        until("the last but one", || edge.get(&format!("many/{:07}", count - 2)).status == 200);
        println!("reads what is kept there after {:?}: {} MiB", began.elapsed(), resident_mib(&edge.1));
        // Until then its lists name the other site in Mesh-Unasked.
        wait_for_all(&edge);
        println!("knows that these are all after {:?}: {} MiB", began.elapsed(), resident_mib(&edge.1));
        link.cut();
        std::thread::sleep(Duration::from_secs(10));
        hub.enter(|| cloud.1.request("PUT", "/v1/objects/many/9999999", &[], b"late").expect(201));
        link.heal();
        let began = Instant::now();
        // A list says what came in by itself; a pull would ask.
        let path = "/v1/objects/many?after=9999998&limit=10";
        until("what was pushed in the cut", || {
            let listed = edge.0.enter(|| edge.1.request("GET", path, &[], b""));
            listed.status == 200 && listed.json()["items"].as_array().unwrap().len() == 1
        });
        println!("knows what was pushed in a cut of 10 s after {:?}", began.elapsed());
    }

    #[test]
    #[ignore = "a measurement: make bench-sites"]
    fn control_beside_bulk() {
        for (rate, bytes) in [(10_000_000, 50_000_000), (RATE, 1_000_000_000)] {
            let Beside { rate: bulk, mut took, dropped, overflowed } = control_beside(bytes, rate);
            let (p50, p99) = (quantile(&mut took, 50), quantile(&mut took, 99));
            println!(
                "{} MB over {} Mbit/s between two sites that only dial out: {bulk:.1} Mbit/s; {} requests beside it: p50 {p50:?}, p99 {p99:?}; {dropped} leaf links lost, {overflowed} packets dropped",
                bytes / 1_000_000,
                rate / 1_000_000,
                took.len()
            );
        }
    }
}

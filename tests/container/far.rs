//! Sites that are far from each other: hosts of a test bed, joined by links with a delay, a rate and cuts.

use std::time::{Duration, Instant};

use super::bed::{Bed, Host, Quality};
use super::harness::*;
use super::mesh::{Mesh, keys};
use super::site::until;

/// One direction of a link.
const DELAY: Duration = Duration::from_millis(25);

fn random(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A container, and where it is.
struct There<'a>(&'a Host, Process);

impl There<'_> {
    fn get(&self, address: &str) -> Response {
        self.0.enter(|| self.1.get(address))
    }

    fn put(&self, address: &str, body: &[u8]) -> Response {
        self.0.enter(|| self.1.put(address, body))
    }

    fn keys(&self, collection: &str) -> Vec<String> {
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
    assert!(small[0] >= 2 * DELAY && small[9] < 3 * DELAY, "{small:?}");
    // The second one knows the way.
    for key in ["meteo/large", "meteo/again"] {
        let (elapsed, body) = took(key);
        assert!(body == large);
        println!("10 MB: {elapsed:?}, {:.0} Mbit/s", 80.0 / elapsed.as_secs_f64());
        assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
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
            std::thread::sleep(Duration::from_millis(5));
        }
        link.heal();
        let healed = Instant::now();
        until("agreement", || {
            let (here, there) = (edge.keys("meteo"), cloud.keys("meteo"));
            here == there && !here.is_empty()
        });
        println!("cut for {cut_for:?}: agreed {:?} after healing", healed.elapsed());
        for at in [2, count - 1] {
            assert_eq!(cloud.get(&format!("meteo/edge-{at}")).expect(200).body, b"cut off");
            assert_eq!(edge.get(&format!("meteo/cloud-{at}")).expect(200).body, b"cut off");
        }
    }
}

#[test]
fn bulk_between_two_sites_that_only_dial_out_leaves_room_for_control() {
    let bed = Bed::new().unwrap();
    let (hub, a, b) = (bed.host("cloud").unwrap(), bed.host("a").unwrap(), bed.host("b").unwrap());
    let quality = Quality::delayed(DELAY).rated(10_000_000);
    let _links = [&a, &b].map(|edge| bed.link(edge, &hub, quality).unwrap());
    [&a, &b].into_iter().for_each(|edge| edge.dial_out_only().unwrap());
    let mesh = Mesh::on(&[&hub, &a, &b]);
    let _cloud = There(&hub, mesh.container("cloud", "c1"));
    let a = There(&a, mesh.container("a", "c1"));
    let b = There(&b, mesh.container("b", "c1"));
    let large = random(8_000_000, 7);
    a.put("bulk/small", b"small").expect(201);
    a.put("bulk/large", &large).expect(201);
    until("the other edge", || b.get("bulk/small").status == 200);
    let (bulk, mut took) = std::thread::scope(|scope| {
        let pulling = scope.spawn(|| {
            let began = Instant::now();
            assert!(b.get("bulk/large").expect(200).body == large);
            began.elapsed()
        });
        let mut took = Vec::new();
        while !pulling.is_finished() {
            let began = Instant::now();
            // A question to the site that the bulk comes from, and its answer.
            b.get(&format!("bulk/none-{}", took.len())).expect(404);
            took.push(began.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        (pulling.join().unwrap(), took)
    });
    took.sort();
    // Until the window has found the rate of the link, a few wait for longer.
    let p90 = took[took.len() * 9 / 10];
    let most = took[took.len() - 1];
    let (p50, rate) = (took[took.len() / 2], 64.0 / bulk.as_secs_f64());
    println!("8 MB: {bulk:?}, {rate:.1} Mbit/s; {} requests: p50 {p50:?}, p90 {p90:?}, {most:?}", took.len());
    assert!(p90 < Duration::from_millis(250) && most < Duration::from_secs(1), "{took:?}");
    assert!(rate > 5.0, "{bulk:?}");
}

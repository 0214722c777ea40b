//! What one container of a site reads from another one whose HTTP door it does not reach, or reaches too late: the
//! same bytes come over the bus.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;
use super::site::{Site, level, until};

/// Nobody listens there.
const NOWHERE: &[&str] = &["--set", "http.public_url=http://127.0.0.1:1"];

/// Keeps nothing of what is read in memory, so that each read is one from the other container.
const NO_COPIES: &[u8] = br#"{"levels":["disk","cloud"]}"#;

fn counted(process: &Process, name: &str) -> u64 {
    let text = String::from_utf8(process.request("GET", "/metrics", &[], b"").expect(200).body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn pieces(process: &Process) -> u64 {
    counted(process, "meshstore_peer_pieces_total ")
}

fn requests_at_work(process: &Process) -> u64 {
    let queues = process.request("GET", "/v1/admin/queues", &[], b"").expect(200).json();
    let queues = queues["queues"].as_array().unwrap();
    queues.iter().find(|queue| queue["name"] == "requests").unwrap()["used"].as_u64().unwrap()
}

fn push(process: &Process, address: &str, headers: &[(&str, &str)], body: &[u8]) {
    process.request("PUT", &object(address), headers, body).expect(201);
}

/// Makes the collection, known to both.
fn without_copies(a: &Process, b: &Process) {
    b.request("PUT", "/v1/collections/c", &[("Content-Type", "application/json")], NO_COPIES).expect(201);
    until("the policy", || a.request("GET", "/v1/collections/c", &[], b"").status == 200);
}

#[test]
fn what_no_door_reaches_comes_over_the_bus_byte_for_byte() {
    let site = Site::new();
    let (a, b) = (site.container("a", NOWHERE), site.container("b", &[]));
    let plain = [("Mesh-Durability", "disk"), ("Mesh-Nfr", "encrypt=none; compress=none")];
    for bytes in [1, 1_000, 17_000, 262_144, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_000, 20_000_000] {
        for (class, headers) in
            [("disk", &[("Mesh-Durability", "disk")][..]), ("ram", &[("Mesh-Durability", "ram")]), ("plain", &plain)]
        {
            let address = format!("c/{class}-{bytes}");
            let body = body_of(&address, 1, bytes);
            push(&a, &address, headers, &body);
            let before = pieces(&b);
            let end = bytes.min(bytes / 2 + 300_000) - 1;
            let range = format!("bytes={}-{end}", bytes / 2);
            let part = b.request("GET", &object(&address), &[("Range", &range)], b"").expect(206);
            assert!(part.body == body[bytes / 2..=end], "a range of {address}");
            let pulled = b.get(&address).expect(200);
            assert!(pulled.body == body, "{address}");
            assert_eq!(level(&pulled), "peer", "{address}");
            assert!(pieces(&b) > before, "{address} came another way");
        }
    }
    // The other way round there is a door, and no need for the bus.
    let before = pieces(&a);
    push(&b, "c/of-b", &[], b"x");
    assert_eq!(a.get("c/of-b").expect(200).body, b"x");
    assert_eq!(pieces(&a), before);
    // What is gone is told as such, old versions are read as well.
    let first = a.put("c/twice", b"first").expect(201).header("mesh-version").unwrap().to_owned();
    a.put("c/twice", b"second").expect(200);
    let old = b.request("GET", &format!("{}?version={first}", object("c/twice")), &[], b"").expect(200);
    assert_eq!(old.body, b"first");
    a.delete("c/disk-1").expect(204);
    until("the delete", || b.get("c/disk-1").status == 404);
}

#[test]
fn damage_is_met_over_the_bus_as_well() {
    let site = Site::new();
    let (a, b) = (site.container("a", NOWHERE), site.container("b", &[]));
    without_copies(&a, &b);
    let body = body_of("c/k", 1, 3_000_000);
    push(&a, "c/k", &[], &body);
    until("the news", || b.head("c/k").status == 200);
    let frame = frame_below(&a.data().join("frames")).expect("a frame");
    let mut bytes = std::fs::read(&frame).unwrap();
    bytes[500_000] ^= 1;
    std::fs::write(&frame, bytes).unwrap();
    let refused = b.get("c/k");
    assert_eq!(refused.status, 500);
    refused.expect_problem(500, "corrupt");
}

fn frame_below(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let mut entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find_map(|path| if path.is_dir() { frame_below(&path) } else { Some(path) })
}

/// Begins to pull and reads this much of the body.
fn begun(process: &Process, address: &str, bytes: usize) -> (Connection, Vec<u8>) {
    let mut connection = process.connect();
    connection.begin("GET", &object(address), &[], 0).unwrap();
    connection.answer().unwrap().expect(200);
    let mut body = vec![0; bytes];
    connection.read_exact(&mut body).unwrap();
    (connection, body)
}

#[test]
fn a_bus_that_loses_its_server_half_way_gives_the_right_bytes_or_an_error() {
    let mut site = Site::new();
    let (a, b) = (site.container("a", NOWHERE), site.container("b", &[]));
    without_copies(&a, &b);
    let body = body_of("c/k", 1, 60_000_000);
    push(&a, "c/k", &[], &body);
    until("the news", || b.head("c/k").status == 200);
    for (round, is_back) in [true, false].into_iter().enumerate() {
        let (mut connection, mut got) = begun(&b, "c/k", 2_000_000);
        site.server.kill();
        if is_back {
            site.server.restart();
        }
        let mut piece = vec![0; 100_000];
        while got.len() < body.len() && connection.read_exact(&mut piece).is_ok() {
            got.extend_from_slice(&piece);
        }
        assert!(body.starts_with(&got), "wrong bytes in round {round}");
        assert!(is_back || got.len() < body.len(), "nothing came from where nothing can come");
    }
    site.server.restart();
    until("the pull after all", || b.get("c/k").body == body);
}

#[test]
fn a_reader_that_goes_away_leaves_nothing_at_work() {
    let site = Site::new();
    let (a, b) = (site.container("a", NOWHERE), site.container("b", &[]));
    for (key, class) in [("disk", "disk"), ("ram", "ram")] {
        let address = format!("c/{key}");
        push(&a, &address, &[("Mesh-Durability", class)], &body_of(&address, 1, 60_000_000));
        until("the news", || b.head(&address).status == 200);
        for _ in 0..5 {
            drop(begun(&b, &address, 1_000_000));
        }
        until("the end of it", || requests_at_work(&a) == 0 && requests_at_work(&b) == 0);
        let asked = pieces(&b);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(pieces(&b), asked, "{address}");
    }
}

/// A door that says that it is there, and nothing else for a long time.
fn sluggish() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || be_slow(stream));
        }
    });
    url
}

fn be_slow(mut stream: TcpStream) {
    let mut request = [0; 16 << 10];
    while let Ok(bytes @ 1..) = stream.read(&mut request) {
        if !request[..bytes].starts_with(b"GET /healthz ") {
            thread::sleep(Duration::from_secs(20));
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

#[test]
fn a_door_that_is_late_is_outrun_by_the_bus() {
    let site = Site::new();
    let url = format!("http.public_url={}", sluggish());
    let (a, b) = (site.container("a", &["--set", &url]), site.container("b", &[]));
    for (key, bytes) in [("small", 10), ("large", 5_000_000)] {
        let address = format!("c/{key}");
        let body = body_of(&address, 1, bytes);
        push(&a, &address, &[], &body);
        let since = Instant::now();
        assert!(b.get(&address).expect(200).body == body);
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    }
    assert!(counted(&b, "meshstore_peer_hedges_total ") > 0);
}

#[test]
fn a_door_that_is_opened_is_used_again() {
    let site = Site::new();
    // A port that is free now, and taken by the door later on.
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http.public_url=http://{addr}");
    let (a, b) = (site.container("a", &["--set", &url]), site.container("b", &[]));
    without_copies(&a, &b);
    let body = body_of("c/k", 1, 300_000);
    push(&a, "c/k", &[], &body);
    until("the pull", || b.get("c/k").body == body);
    let door = TcpListener::bind(addr).unwrap();
    let behind = a.addr();
    thread::spawn(move || {
        for stream in door.incoming().flatten() {
            thread::spawn(move || pass_on(stream, behind));
        }
    });
    until("a read through the door", || {
        let before = pieces(&b);
        let pulled = b.get("c/k").expect(200);
        assert!(pulled.body == body && level(&pulled) == "peer");
        pieces(&b) == before
    });
}

/// A door that ends every connection once so much has gone through it to who reads.
fn breathe(door: TcpListener, behind: std::net::SocketAddr, bytes: u64) {
    thread::spawn(move || {
        for client in door.incoming().flatten() {
            thread::spawn(move || {
                let server = TcpStream::connect(behind).unwrap();
                let (mut up, mut asked) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || drop(std::io::copy(&mut asked, &mut up)));
                drop(std::io::copy(&mut (&server).take(bytes), &mut &client));
                drop((server.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both)));
            });
        }
    });
}

#[test]
fn a_door_that_breaks_off_half_way_is_gone_on_from_where_it_broke() {
    let site = Site::new();
    // The port of the door is known before what is behind it.
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http.public_url=http://{}", door.local_addr().unwrap());
    let (a, b) = (site.container("a", &["--set", &url]), site.container("b", &[]));
    breathe(door, a.addr(), 2_500_000);
    without_copies(&a, &b);
    for (key, bytes) in [("text", 9_000_000), ("long", 30_000_000)] {
        let address = format!("c/{key}");
        let body = body_of(&address, 1, bytes);
        push(&a, &address, &[], &body);
        until("the news", || b.head(&address).status == 200);
        for _ in 0..3 {
            let before = pieces(&b);
            let pulled = b.get(&address).expect(200);
            assert!(pulled.body == body && level(&pulled) == "peer", "{address}");
            assert!(pieces(&b) > before, "{address} came whole through a door that breaks off");
        }
    }
}

fn pass_on(client: TcpStream, behind: std::net::SocketAddr) {
    let server = TcpStream::connect(behind).unwrap();
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let there = thread::spawn(move || drop(std::io::copy(&mut up, &mut down)));
    let (mut down, mut up) = (server, client);
    drop(std::io::copy(&mut down, &mut up));
    drop(there);
}

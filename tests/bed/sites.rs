//! Who reaches whom, what runs where, and what is left of it all.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::bed::{Bed, Host, Quality};
use super::{DELAY, PATIENCE, SILENCE, alone, among_others, connect, listen, pair, relays, udp, until};

fn is_silent(from: &Host, to: SocketAddr) -> bool {
    connect(from, to, SILENCE).is_err_and(|error| error.kind() == ErrorKind::TimedOut)
}

fn interfaces() -> String {
    std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()
}

#[test]
fn sites_reach_each_other_only_where_they_are_allowed_to() {
    let _others = among_others();
    let (bed, hub, edge, _) = pair(Quality::default());
    let (other, third) = (bed.host("other").unwrap(), bed.host("third").unwrap());
    bed.link(&other, &hub, Quality::default()).unwrap();
    bed.link(&third, &other, Quality::default()).unwrap();
    let (listener, addr) = listen(&other);
    connect(&hub, addr, PATIENCE).unwrap();
    assert!(is_silent(&edge, addr));

    bed.route(&[&edge, &hub, &other]).unwrap();
    let mut through = connect(&edge, addr, PATIENCE).unwrap();
    assert_eq!(through.local_addr().unwrap().ip(), edge.addr());
    let (behind, farther) = listen(&third);
    assert!(is_silent(&edge, farther), "only the ends of the path may meet");
    bed.route(&[&edge, &hub, &other, &third]).unwrap();
    connect(&edge, farther, PATIENCE).unwrap();
    assert!(is_silent(&hub, farther));

    bed.unroute(&[&edge, &hub, &other]).unwrap();
    assert!(is_silent(&edge, addr));
    through.write_all(b"lost").unwrap();
    listener.accept().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(behind);
}

#[test]
fn a_site_that_only_dials_out_is_not_reached() {
    let _others = among_others();
    let (_bed, hub, edge, link) = pair(Quality::default());
    let ((listener, addr), (_open, hubs)) = (listen(&edge), listen(&hub));
    connect(&hub, addr, PATIENCE).unwrap();
    edge.dial_out_only().unwrap();
    for addr in [addr, (link.addr_of(&edge), addr.port()).into()] {
        assert!(is_silent(&hub, addr));
    }
    // Its own programs reach each other, and it reaches the hub.
    connect(&edge, addr, PATIENCE).unwrap();
    drop(listener);
    connect(&edge, hubs, PATIENCE).unwrap();
    let (asking, answering) = (udp(&edge), udp(&hub));
    asking.send_to(b"answer me", answering.local_addr().unwrap()).unwrap();
    let (_, from) = answering.recv_from(&mut [0; 20]).unwrap();
    answering.send_to(b"done", from).unwrap();
    assert_eq!(asking.recv(&mut [0; 20]).unwrap(), 4);
}

#[test]
fn a_program_runs_on_its_host_under_its_own_id() {
    let _others = among_others();
    let (_bed, hub, edge, _) = pair(Quality::default());
    let output = edge.command("cat").arg("/proc/self/net/fib_trie").output().unwrap();
    let routes = String::from_utf8(output.stdout).unwrap();
    assert!(routes.contains(&edge.addr().to_string()), "{routes}");
    let mut child = hub.command("sleep").arg("1000").spawn().unwrap();
    let name = format!("/proc/{}/comm", child.id());
    until("the program", || std::fs::read_to_string(&name).unwrap() == "sleep\n");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn nothing_is_left_after_a_panic_nor_after_a_kill() {
    let _alone = alone();
    let names = || std::fs::read_dir("/var/run/netns").into_iter().flatten().map(|name| name.unwrap().file_name());
    let mut left = None;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let (bed, hub, edge, _) = pair(Quality::delayed(DELAY));
        let child = edge.command("sleep").arg("1000").spawn().unwrap();
        left = Some((child, hub, edge));
        assert!(bed.host("a/slash").is_err(), "for the panic");
        bed.host("another").unwrap();
        panic!("a test that fails");
    }));
    assert!(panicked.is_err());
    let (mut child, hub, edge) = left.unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "a program that still ran");
    assert!(relays().is_empty(), "{:?}", relays());
    let ours = format!("testbed-{}-", std::process::id());
    assert!(!names().any(|name| name.to_str().unwrap().starts_with(&ours)), "{:?}", names().collect::<Vec<_>>());
    assert!(!interfaces().contains("bed-link"), "{}", interfaces());
    for host in [hub, edge] {
        assert!(!host.enter(interfaces).contains("bed-link"), "who still holds a host finds no device there");
    }

    // Of a process that is gone.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let stale = format!("testbed-{}-0-edge", gone.id());
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    assert!(Command::new("ip").env("PATH", path).args(["netns", "add", &stale]).status().unwrap().success());
    let bed = Bed::new().unwrap();
    assert!(!names().any(|name| name == *stale));
    bed.host("edge").unwrap();
}

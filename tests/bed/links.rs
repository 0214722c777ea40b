//! What links do to packets: delay, rate, loss and cuts.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::bed::{Host, Quality, Queue};
use super::{DELAY, PATIENCE, SILENCE, alone, among_others, pair, relays, stream, udp, until};

/// What the fastest of several round trips may take beyond the delay of the link.
const SLACK: Duration = Duration::from_millis(2);

/// Sends each packet back to where it came from, until one is empty.
fn echo(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut packet = [0; 2000];
        while let Ok((count @ 1.., from)) = socket.recv_from(&mut packet) {
            socket.send_to(&packet[..count], from).unwrap();
        }
    });
}

/// The fastest round trip of several, none of which may beat the link.
#[track_caller]
fn round_trip(socket: &UdpSocket, to: SocketAddr, at_least: Duration) -> Duration {
    let trip = || {
        let start = Instant::now();
        socket.send_to(b"ping", to).unwrap();
        assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 4);
        start.elapsed()
    };
    let fastest = (0..9).map(|_| trip()).min().unwrap();
    assert!(fastest >= at_least, "{fastest:?}");
    fastest
}

/// Sends on one stream, and tells how many bits a second come out of it, until that is enough. It is asked after
/// each moment: a stream takes one to find its pace, and the machine may have other work in another.
fn carry(from: &Host, to: &Host, moment: Duration, mut is_enough: impl FnMut(f64) -> bool) {
    let (mut sender, mut receiver) = stream(from, to);
    let sending = std::thread::spawn(move || while sender.write_all(&[7; 64 << 10]).is_ok() {});
    let mut buffer = vec![0; 256 << 10];
    let mut receive = || {
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < moment {
            bytes += receiver.read(&mut buffer).unwrap();
        }
        bytes as f64 * 8.0 / start.elapsed().as_secs_f64()
    };
    while !is_enough(receive()) {}
    drop(receiver);
    sending.join().unwrap();
}

#[test]
fn a_packet_takes_as_long_as_the_link_says() {
    let _alone = alone();
    let (_bed, hub, edge, link) = pair(Quality::delayed(DELAY));
    let (near, far) = (udp(&edge), udp(&hub));
    let there = far.local_addr().unwrap();
    echo(far);
    let took = round_trip(&near, there, 2 * DELAY);
    assert!(took < 2 * DELAY + SLACK, "{took:?}");
    // Each direction may be set by itself, at any time.
    link.towards(&hub).set(Quality::default());
    let took = round_trip(&near, there, DELAY);
    assert!(took < DELAY + SLACK, "{took:?}");
    link.set(Quality::default());
    let took = round_trip(&near, there, Duration::ZERO);
    assert!(took < SLACK, "{took:?}");
    near.send_to(b"", there).unwrap();
}

#[test]
fn a_stream_uses_all_of_the_rate_and_no_more() {
    let _alone = alone();
    // A queue that never fills: where nothing is lost, nothing holds back what came after it.
    let queue = Queue::Time(Duration::from_secs(1));
    let (_bed, hub, edge, link) = pair(Quality { queue, ..Quality::delayed(DELAY).rated(100_000_000) });
    let (start, mut paces) = (Instant::now(), Vec::new());
    carry(&edge, &hub, Duration::from_millis(700), |pace| {
        paces.push(pace);
        pace > 90e6 || paces.len() == 8
    });
    let counts = link.towards(&hub).counts();
    assert!(paces.last().is_some_and(|pace| *pace > 90e6), "{paces:?}, {counts:?}");
    assert!(counts.bytes as f64 * 8.0 < 100e6 * start.elapsed().as_secs_f64(), "{paces:?}, {counts:?}");
}

#[test]
fn a_link_without_a_rate_is_fast() {
    let _alone = alone();
    let (_bed, hub, edge, link) = pair(Quality::default());
    let mut paces = Vec::new();
    carry(&edge, &hub, Duration::from_millis(300), |pace| {
        paces.push(pace);
        pace > 500e6 || paces.len() == 10
    });
    let counts = link.towards(&hub).counts();
    assert!(paces.last().is_some_and(|pace| *pace > 500e6), "{paces:?}, {counts:?}");
}

#[test]
fn packets_are_lost_as_often_as_the_link_says() {
    let _alone = alone();
    let (_bed, hub, edge, link) = pair(Quality::default().losing(0.1));
    let (near, far) = (udp(&edge), udp(&hub));
    for _ in 0..2000 {
        near.send_to(b"anyone?", far.local_addr().unwrap()).unwrap();
    }
    let counts = || link.towards(&hub).counts();
    until("all packets", || counts().packets + counts().dropped() == 2000);
    assert!((140..260).contains(&counts().lost), "{:?}", counts());
    assert_eq!((counts().bytes, counts().dropped()), (counts().packets * (28 + 7), counts().lost));
    assert_eq!(link.towards(&edge).counts(), Default::default());
}

#[test]
fn a_stream_goes_on_after_a_cut() {
    let _others = among_others();
    let (_bed, hub, edge, link) = pair(Quality::delayed(Duration::from_millis(5)));
    let (mut near, mut far) = stream(&edge, &hub);
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    let echoing = std::thread::spawn(move || {
        let mut byte = [0; 1];
        while far.read(&mut byte).unwrap() == 1 {
            far.write_all(&byte).unwrap();
        }
    });
    let mut ask = |byte: u8| {
        near.write_all(&[byte]).unwrap();
        near.read_exact(&mut [0; 1]).unwrap();
    };
    ask(1);
    link.cut();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            ask(2);
            start.elapsed()
        });
        std::thread::sleep(Duration::from_secs(1));
        assert!(!asking.is_finished(), "an answer came through a cut link");
        link.heal();
        assert!(asking.join().unwrap() >= Duration::from_secs(1));
    });
    assert!(link.towards(&hub).counts().cut > 0);
    drop(near);
    echoing.join().unwrap();
}

#[test]
fn a_link_may_be_cut_in_one_direction() {
    let _others = among_others();
    let (_bed, hub, edge, link) = pair(Quality::default());
    let (near, far) = (udp(&edge), udp(&hub));
    link.towards(&edge).cut();
    near.send_to(b"question", far.local_addr().unwrap()).unwrap();
    let (_, from) = far.recv_from(&mut [0; 10]).unwrap();
    far.send_to(b"lost", from).unwrap();
    until("the cut", || link.towards(&edge).counts().cut == 1);
    link.heal();
    far.send_to(b"answer", from).unwrap();
    assert_eq!(near.recv(&mut [0; 10]).unwrap(), 6);
}

#[test]
fn idle_links_take_no_processor_time() {
    let _alone = alone();
    let (_bed, hub, edge, link) = pair(Quality::delayed(DELAY).rated(100_000_000));
    let (near, far) = (udp(&edge), udp(&hub));
    near.send_to(b"some packet", far.local_addr().unwrap()).unwrap();
    far.recv(&mut [0; 20]).unwrap();
    let switches = || {
        let told = relays().into_iter().map(|task| std::fs::read_to_string(task.join("status")).unwrap());
        told.map(|status| status.lines().filter(|line| line.contains("ctxt")).collect::<String>()).collect::<Vec<_>>()
    };
    std::thread::sleep(Duration::from_millis(50));
    let before = switches();
    assert_eq!(before.len(), 4);
    std::thread::sleep(SILENCE);
    assert_eq!(switches(), before);
    assert_eq!(link.towards(&hub).counts().packets, 1);
}

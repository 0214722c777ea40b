//! The test bed of sites, tested by itself: what its links promise is what tests of sites rely on. It needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../common/bed/mod.rs"]
mod bed;
mod lane;
mod links;
mod sites;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bed::{Bed, Host, Link, Quality};

/// How long something may take that is sure to come. Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it takes to believe that nothing comes.
const SILENCE: Duration = Duration::from_millis(150);
/// Of one direction of a link from far away.
const DELAY: Duration = Duration::from_millis(25);

static MACHINE: RwLock<()> = RwLock::new(());

/// For tests that measure, or look at all that the process has.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

fn among_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// A hub and a site, linked.
fn pair(quality: Quality) -> (Bed, Host, Host, Link) {
    let bed = Bed::new().unwrap();
    let (hub, edge) = (bed.host("cloud").unwrap(), bed.host("edge").unwrap());
    let link = bed.link(&edge, &hub, quality).unwrap();
    (bed, hub, edge, link)
}

fn udp(host: &Host) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind((host.addr(), 0)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn listen(host: &Host) -> (TcpListener, SocketAddr) {
    let listener = host.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let addr = (host.addr(), listener.local_addr().unwrap().port()).into();
    (listener, addr)
}

fn connect(from: &Host, to: SocketAddr, timeout: Duration) -> std::io::Result<TcpStream> {
    from.enter(|| TcpStream::connect_timeout(&to, timeout))
}

/// A stream between two hosts: the end of the one who dialled, and the other.
fn stream(from: &Host, to: &Host) -> (TcpStream, TcpStream) {
    let (listener, addr) = listen(to);
    let dialled = connect(from, addr, PATIENCE).unwrap();
    (dialled, listener.accept().unwrap().0)
}

/// Waits until something holds.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: it does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The threads of links, as folders of /proc.
fn relays() -> Vec<PathBuf> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let name = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    tasks.filter(|task| name(task).starts_with("bed-link")).collect()
}

//! A test bed of sites: network namespaces, joined by links whose delay, rate and loss a test sets as it runs.
//!
//! A link is two TUN devices and threads of this process that carry packets between them, so it needs nothing of the
//! kernel but namespaces and TUN. It needs root. All of it goes with the [`Bed`], also where a test panics; what
//! a killed test leaves behind, the next bed sweeps away.
//!
//! Every host has one address of its own, whatever its links. Hosts at the two ends of a link reach each other;
//! beyond that nothing passes, unless [`Bed::route`] says so.

// Each crate of tests uses a part of it.
#![allow(dead_code, unused_imports)]

mod host;
pub mod lane;
mod link;
mod namespace;
mod quality;
mod relay;
mod tun;

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use host::Host;
pub use link::Link;
pub use quality::{Counts, Quality, Queue};
pub use relay::Direction;

use link::Plan;
use namespace::Namespace;

/// The own addresses of hosts, and below [`LINKS`] those of links: private nets, and each bed has them for itself.
const HOSTS: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 0);
const LINKS: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 0);
/// Both.
const NET: &str = "10.90.0.0/15";
/// What fits into the nets.
const HOSTS_MAX: u32 = 60_000;
const LINKS_MAX: u32 = 16_000;

/// What Ethernet carries.
const MTU_BYTES: u32 = 1500;

/// Hosts and links of one test.
pub struct Bed {
    laid: Mutex<Laid>,
    mtu_bytes: u32,
    seed: u64,
}

#[derive(Default)]
struct Laid {
    hosts: Vec<Host>,
    links: Vec<Link>,
}

impl Bed {
    pub fn new() -> io::Result<Self> {
        // Who owns this folder is who the process acts as.
        if std::fs::metadata("/proc/self")?.uid() != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a bed of network namespaces needs root"));
        }
        Namespace::sweep();
        Ok(Bed { laid: Mutex::default(), mtu_bytes: MTU_BYTES, seed: 0 })
    }

    /// The longest packet that links take which are laid from now on.
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu_bytes = bytes;
        self
    }

    /// What decides which packets are lost on links that are laid from now on.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub fn host(&self, name: &str) -> io::Result<Host> {
        static BEDS_HOSTS: AtomicU32 = AtomicU32::new(0);
        let mut laid = self.lock();
        let number = laid.hosts.len() as u32 + 1;
        assert!(number <= HOSTS_MAX, "more hosts than addresses");
        let namespace = Namespace::create(BEDS_HOSTS.fetch_add(1, Ordering::Relaxed), name)?;
        let host = Host::create(name, Ipv4Addr::from_bits(HOSTS.to_bits() + number), namespace)?;
        laid.hosts.push(host.clone());
        Ok(host)
    }

    /// Joins two hosts, with the same quality in both directions at first. There may be several links between them:
    /// packets take the first, and the others where their addresses are named.
    pub fn link(&self, one: &Host, other: &Host, quality: Quality) -> io::Result<Link> {
        assert_ne!(one, other, "a link has two ends");
        let mut laid = self.lock();
        let number = laid.links.len() as u32;
        assert!(number < LINKS_MAX, "more links than addresses");
        let first = LINKS.to_bits() + 4 * number;
        let plan = Plan {
            number,
            addrs: [first + 1, first + 2].map(Ipv4Addr::from_bits),
            mtu_bytes: self.mtu_bytes,
            // Far apart, so that no two links share what they draw.
            seed: self.seed ^ (u64::from(number) << 40),
        };
        let link = Link::lay([one, other], quality, &plan)?;
        laid.links.push(link.clone());
        Ok(link)
    }

    /// Lets the first and the last host of a path reach each other by their own addresses. Each host is linked to
    /// the next, and those in between pass on what the two send, and nothing else.
    pub fn route(&self, path: &[&Host]) -> io::Result<()> {
        let [first, middle @ .., last] = path else { panic!("a path has two ends") };
        let back: Vec<&Host> = path.iter().rev().copied().collect();
        for path in [path, &back] {
            self.lead(path)?;
        }
        for host in middle {
            host.forward()?;
            allow(host, first, last, "--append")?;
        }
        Ok(())
    }

    /// Takes back what [`Bed::route`] allowed, also for connections that are open.
    pub fn unroute(&self, path: &[&Host]) -> io::Result<()> {
        let [first, middle @ .., last] = path else { panic!("a path has two ends") };
        middle.iter().try_for_each(|host| allow(host, first, last, "--delete"))
    }

    /// Shows each host of a path the way to the last.
    fn lead(&self, path: &[&Host]) -> io::Result<()> {
        let Some(last) = path.last() else { return Ok(()) };
        let laid = self.lock();
        for pair in path.windows(2) {
            let [host, next] = pair else { continue };
            let link = laid.links.iter().find(|link| link.joins(host, next));
            let link = link.unwrap_or_else(|| panic!("there is no link between {host:?} and {next:?}"));
            // To a neighbour it is known since the link was laid.
            if next != last {
                let (via, device) = (link.addr_of(next), link.device());
                let (to, from) = (last.addr(), host.addr());
                host.ip(&format!("route replace {to}/32 via {via} dev {device} src {from} metric 1\n"))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Laid> {
        self.laid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let laid = std::mem::take(&mut *self.lock());
        laid.links.iter().for_each(Link::remove);
        laid.hosts.iter().for_each(Host::remove);
    }
}

fn allow(host: &Host, one: &Host, other: &Host, change: &str) -> io::Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        let (from, to) = (from.addr(), to.addr());
        host.iptables(&format!("{change} FORWARD --source {from} --destination {to} --jump ACCEPT"))?;
    }
    Ok(())
}

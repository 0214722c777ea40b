//! A link between two hosts: a device at each end, and a relay for each direction.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::NET;
use super::host::Host;
use super::quality::Quality;
use super::relay::Direction;
use super::tun;

/// How long the threads of a link may take to end. Far above what they take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a device holds for its relay, which reads at once: room for what TCP sends in one burst.
const DEVICE_QUEUE_PACKETS: u32 = 10_000;

/// A handle: clones are the same link, which is there as long as its bed.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    device: String,
    ends: [End; 2],
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct End {
    host: Host,
    addr: Ipv4Addr,
    /// What leads to this end.
    towards: Arc<Direction>,
}

/// How a link is laid.
pub(super) struct Plan {
    pub number: u32,
    pub addrs: [Ipv4Addr; 2],
    pub mtu_bytes: u32,
    pub seed: u64,
}

impl Link {
    pub(super) fn lay(hosts: [&Host; 2], quality: Quality, plan: &Plan) -> io::Result<Self> {
        let device = format!("bed-link{}", plan.number);
        let [near, far] = hosts;
        let [near_addr, far_addr] = plan.addrs;
        let near_file = join(near, far, &device, near_addr, far_addr, plan)?;
        let far_file = join(far, near, &device, far_addr, near_addr, plan)?;
        let end = |host: &Host, addr, seed| End {
            host: host.clone(),
            addr,
            towards: Arc::new(Direction::new(quality, seed)),
        };
        let ends = [end(near, near_addr, plan.seed), end(far, far_addr, !plan.seed)];
        let link = Link(Arc::new(Inner { device, ends, threads: Mutex::default() }));
        let [near, far] = &link.0.ends;
        let relayed = link.relay(&far.towards, &near_file, &far_file);
        relayed.and_then(|()| link.relay(&near.towards, &far_file, &near_file)).inspect_err(|_| link.remove())?;
        Ok(link)
    }

    fn relay(&self, direction: &Arc<Direction>, near: &Arc<File>, far: &Arc<File>) -> io::Result<()> {
        let work = |what: &str| (format!("{}-{what}", self.0.device), direction.clone(), near.clone(), far.clone());
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, direction, near, far) = work("take");
        threads.push(std::thread::Builder::new().name(name).spawn(move || direction.take(&near, &far))?);
        let (name, direction, _, far) = work("give");
        threads.push(std::thread::Builder::new().name(name).spawn(move || direction.give(&far))?);
        Ok(())
    }

    /// What leads to one of its two hosts.
    #[track_caller]
    pub fn towards(&self, host: &Host) -> &Direction {
        &self.end(host).towards
    }

    /// The address of one of its two hosts on this link alone.
    #[track_caller]
    pub fn addr_of(&self, host: &Host) -> Ipv4Addr {
        self.end(host).addr
    }

    /// Makes both directions as good as this.
    #[track_caller]
    pub fn set(&self, quality: Quality) {
        self.0.ends.iter().for_each(|end| end.towards.set(quality));
    }

    /// Cuts both directions, without a word to either end.
    pub fn cut(&self) {
        self.0.ends.iter().for_each(|end| end.towards.cut());
    }

    pub fn heal(&self) {
        self.0.ends.iter().for_each(|end| end.towards.heal());
    }

    #[track_caller]
    fn end(&self, host: &Host) -> &End {
        let end = self.0.ends.iter().find(|end| end.host == *host);
        end.unwrap_or_else(|| panic!("{host:?} is at neither end of {}", self.0.device))
    }

    pub(super) fn joins(&self, one: &Host, other: &Host) -> bool {
        let hosts = self.0.ends.each_ref().map(|end| &end.host);
        hosts == [one, other] || hosts == [other, one]
    }

    pub(super) fn device(&self) -> &str {
        &self.0.device
    }

    /// Takes the devices away and waits until the threads have ended.
    pub(super) fn remove(&self) {
        for end in &self.0.ends {
            end.towards.close();
            // Who waits for a packet of a device learns so that there will be none.
            let _ = end.host.ip(&format!("link delete dev {}\n", self.0.device));
        }
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let end = Instant::now() + PATIENCE;
        for thread in threads {
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// Gives a host its end of a link and the ways that lead over it.
fn join(
    host: &Host,
    other: &Host,
    device: &str,
    addr: Ipv4Addr,
    other_addr: Ipv4Addr,
    plan: &Plan,
) -> io::Result<Arc<File>> {
    let file = host.enter(|| tun::create(device))?;
    let Plan { number, mtu_bytes, .. } = plan;
    let over = format!("via {other_addr} dev {device} src {} metric {}", host.addr(), number + 1);
    // What is for a third host goes to the other end, too: a router that does not pass it on drops it without a
    // word, where a host that knows no way would fail at once.
    host.ip(&format!(
        "link set dev {device} mtu {mtu_bytes} txqueuelen {DEVICE_QUEUE_PACKETS} up\n\
         address add {addr}/30 dev {device}\n\
         route add {}/32 {over}\n\
         route add {NET} {over}\n",
        other.addr(),
    ))?;
    Ok(Arc::new(file))
}

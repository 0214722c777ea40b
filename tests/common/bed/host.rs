//! A site of a bed: a network namespace with an address of its own.

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use super::namespace::Namespace;

/// What each host is told, as a file below /proc/sys/net and its text.
const SETTINGS: [(&str, &str); 5] = [
    // Nothing passes a link that no test sent, and idle links are idle.
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    // A host with several links may answer on another one than it was asked on.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // A stream that starts after a link has changed knows nothing of what it was like before.
    ("ipv4/tcp_no_metrics_save", "1"),
];

/// A handle: clones are the same host, which is there as long as its bed.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    name: String,
    addr: Ipv4Addr,
    namespace: Namespace,
    /// Whether it passes packets on for others, once it was asked to.
    forwards: OnceLock<()>,
}

impl Host {
    pub(super) fn create(name: &str, addr: Ipv4Addr, namespace: Namespace) -> io::Result<Self> {
        namespace.ip(&format!("link set dev lo up\naddress add {addr}/32 dev lo\n"))?;
        let host = Host(Arc::new(Inner { name: name.to_owned(), addr, namespace, forwards: OnceLock::new() }));
        host.enter(|| {
            // What most sites have, or what is nearest to it. A machine may keep both from namespaces: then it is its own,
            // which may stop for a while now and then (BBR does, every ten seconds).
            let control = |name| configure("ipv4/tcp_congestion_control", name);
            let _ = control("cubic").or_else(|_| control("reno"));
            SETTINGS.iter().try_for_each(|(file, text)| configure(file, text))
        })?;
        Ok(host)
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its own address, by which others know it on whichever link they reach it.
    pub fn addr(&self) -> Ipv4Addr {
        self.0.addr
    }

    /// A program on this host, whose process id is that of the child. What still runs when the bed ends is killed.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.0.namespace.command(program)
    }

    /// The same as words to put before those of a program.
    pub fn wrapper(&self) -> [String; 3] {
        self.0.namespace.wrapper()
    }

    /// Does something on a thread that is on this host. Sockets made there stay on it, wherever they are used
    /// later, and so do programs and threads that are started there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = &self.0.namespace;
        let done = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                namespace.enter().unwrap_or_else(|error| panic!("cannot enter {}: {error}", namespace.name()));
                work()
            });
            inside.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// From now on its firewall drops, without a word, all but answers to what it asked for itself. Its own programs
    /// still reach each other.
    pub fn dial_out_only(&self) -> io::Result<()> {
        self.iptables("--append INPUT --in-interface lo --jump ACCEPT")?;
        self.iptables("--append INPUT --match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT")?;
        self.iptables("--policy INPUT DROP")
    }

    /// Makes it a router, which passes on only what a rule allows.
    pub(super) fn forward(&self) -> io::Result<()> {
        if self.0.forwards.get().is_none() {
            self.iptables("--policy FORWARD DROP")?;
            self.enter(|| configure("ipv4/ip_forward", "1"))?;
            let _ = self.0.forwards.set(());
        }
        Ok(())
    }

    pub(super) fn ip(&self, lines: &str) -> io::Result<()> {
        self.0.namespace.ip(lines)
    }

    pub(super) fn iptables(&self, words: &str) -> io::Result<()> {
        self.0.namespace.iptables(words)
    }

    pub(super) fn remove(&self) {
        self.0.namespace.remove();
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} in {}", self.0.name, self.0.addr, self.0.namespace.name())
    }
}

/// Sets what a kernel has; without IPv6 there is nothing to turn off.
fn configure(file: &str, text: &str) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/{file}"), text) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("/proc/sys/net/{file}: {error}")))
        }
        _ => Ok(()),
    }
}

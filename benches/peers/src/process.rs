//! Servers as processes of our own: started, watched, and ended by their id.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::bench::Folder;

const READY_WITHIN: Duration = Duration::from_secs(120);
const ENDED_WITHIN: Duration = Duration::from_secs(30);
const LOG: &str = "stderr.log";

/// What /proc counts processor time in; the same on every Linux we build for.
const TICK: Duration = Duration::from_millis(10);

/// A running server with a folder of its own. Ended, and its folder removed, when dropped.
pub struct Server {
    child: Child,
    name: &'static str,
    pub addr: SocketAddr,
    folder: Folder,
}

impl Server {
    /// Starts a server that listens at `addr`, and waits until it does.
    pub fn listening(name: &'static str, command: Command, addr: SocketAddr, folder: Folder) -> Result<Self> {
        let mut server = Self::spawn(name, command, addr, folder, Stdio::null())?;
        let start = Instant::now();
        while TcpStream::connect(addr).is_err() {
            server.alive()?;
            if start.elapsed() > READY_WITHIN {
                bail!("{name} does not listen at {addr}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// Starts a server that prints a line once it is ready; `addr` reads its address from it.
    pub fn announcing(
        name: &'static str,
        command: Command,
        folder: Folder,
        addr: impl FnOnce(&str) -> Result<SocketAddr>,
    ) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self::spawn(name, command, nowhere, folder, Stdio::piped())?;
        let out = server.child.stdout.take().context("its output is not ours")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).with_context(|| format!("cannot hear {name}"))?;
        if line.is_empty() {
            bail!("{name} ended instead of starting: {}", server.log());
        }
        server.addr = addr(&line).with_context(|| format!("{name} said {line:?}"))?;
        Ok(server)
    }

    fn spawn(
        name: &'static str,
        mut command: Command,
        addr: SocketAddr,
        folder: Folder,
        stdout: Stdio,
    ) -> Result<Self> {
        let log = fs::File::create(folder.path().join(LOG)).context("cannot make a log")?;
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Server { child, name, addr, folder })
    }

    fn alive(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot look after a server")? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended with {status}: {}", self.name, self.log())),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    /// Processor time so far, that of its workers included.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of_family(self.child.id())
    }

    /// Memory it has resident.
    pub fn resident_bytes(&self) -> Result<u64> {
        memory(self.child.id(), "VmRSS:")
    }

    /// The most memory it ever had resident.
    pub fn peak_bytes(&self) -> Result<u64> {
        memory(self.child.id(), "VmHWM:")
    }

    /// Asks it to end, and waits; the folder stays.
    pub fn stop(mut self) -> Result<Folder> {
        self.end()?;
        // Taken out from under the drop, which finds a process that has ended already.
        Ok(std::mem::replace(&mut self.folder, Folder::none()))
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // A signal without unsafe code: what stops at SIGTERM also ends its workers and closes its files.
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().context("cannot run kill")?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > ENDED_WITHIN {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end when asked to: {}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// A port that was free a moment ago.
pub fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// Processor time of this process.
pub fn own_cpu() -> Result<Duration> {
    cpu(std::process::id())
}

/// Processor time of the calling thread, finer than that of processes.
pub fn thread_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn cpu_of_family(pid: u32) -> Result<Duration> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut sum = cpu(pid)?;
    for child in children.split_whitespace() {
        sum += cpu(child.parse()?)?;
    }
    Ok(sum)
}

fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read its processor time")?;
    // The program's name may hold anything, but it ends with the last bracket.
    let (_, rest) = stat.rsplit_once(')').context("a strange /proc/PID/stat")?;
    let field = |at: usize| rest.split_whitespace().nth(at).and_then(|word| word.parse::<u32>().ok());
    let (user, system) = (field(11), field(12));
    Ok(TICK * (user.context("no user time")? + system.context("no system time")?))
}

fn memory(pid: u32, what: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read its memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("not told")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

//! Network namespaces, and the programs that set them up.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use super::tun;

/// Where iproute2 keeps the names of namespaces.
const FOLDER: &str = "/var/run/netns";
/// With this the name of each namespace of a bed begins; the id of the process follows.
const PREFIX: &str = "testbed-";

/// A network namespace under a name.
pub struct Namespace {
    name: String,
    file: File,
    removed: Once,
}

impl Namespace {
    /// The number tells apart hosts of the same name in several beds of one process.
    pub fn create(number: u32, host: &str) -> io::Result<Self> {
        let name = format!("{PREFIX}{}-{number}-{host}", std::process::id());
        run(tool("ip").args(["netns", "add", &name]), "")?;
        let file = File::open(path(&name)).inspect_err(|_| remove(&name))?;
        Ok(Namespace { name, file, removed: Once::new() })
    }

    /// Removes what beds of processes that are gone have left behind.
    pub fn sweep() {
        let names = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
        for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
            let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                remove(&name);
            }
        }
    }

    /// Ends the programs inside it and takes its name away, also while someone still holds it.
    pub fn remove(&self) {
        self.removed.call_once(|| remove(&self.name));
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) -> io::Result<()> {
        tun::enter(&self.file)
    }

    /// The words before those of a program that is to run in it. That one takes the place of this, so that their
    /// process id is the same.
    pub fn wrapper(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net={}", path(&self.name).display()), "--".to_owned()]
    }

    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let [enter, options @ ..] = self.wrapper();
        let mut command = Command::new(enter);
        command.args(options).arg(program);
        command
    }

    /// Runs lines of `ip` in it.
    pub fn ip(&self, lines: &str) -> io::Result<()> {
        run(tool("ip").args(["-n", &self.name, "-batch", "-"]), lines)
    }

    /// Adds to, or changes, its firewall.
    pub fn iptables(&self, words: &str) -> io::Result<()> {
        // Another program may be changing rules at the same time: it waits for that one.
        let mut command = search_servers_too(self.command("iptables"));
        run(command.args(["--wait", "10"]).args(words.split_whitespace()), "")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.remove();
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// A namespace lives as long as programs do in it, so they are ended. It fails in silence: a bed is taken down also
/// while a test panics, and what is left is for the next bed to sweep.
fn remove(name: &str) {
    let pids = tool("ip").args(["netns", "pids", name]).output().map(|output| output.stdout).unwrap_or_default();
    let ours = std::process::id().to_string();
    let pids = String::from_utf8_lossy(&pids);
    let others: Vec<&str> = pids.split_whitespace().filter(|pid| *pid != ours).collect();
    if !others.is_empty() {
        let kill = format!("kill -KILL {}", others.join(" "));
        let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
    }
    let _ = tool("ip").args(["netns", "delete", name]).output();
}

fn tool(name: &str) -> Command {
    search_servers_too(Command::new(name))
}

/// Debian keeps such tools where only root looks.
fn search_servers_too(mut command: Command) -> Command {
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// Runs a tool with something on its stdin, until it has done well.
fn run(command: &mut Command, stdin: &str) -> io::Result<()> {
    let output = output(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()), stdin);
    let what = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let program = command.get_program().to_string_lossy();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    Err(io::Error::other(format!("{program} {}: {what} (`make tools` installs what a bed needs)", words.join(" "))))
}

fn output(command: &mut Command, stdin: &str) -> io::Result<Output> {
    let mut child = command.spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // Who ends before it has read all says why on its stderr.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    child.wait_with_output()
}

//! A data folder on a small disk of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::Process;

/// Name spaces of mounts and users in which a small disk can be mounted without being root. Both end with the
/// test, however it ends.
pub struct Room {
    holder: Child,
}

impl Room {
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", "echo ready; read line"]);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "this machine allows no name spaces");
        Room { holder }
    }

    /// A container whose data folder is a disk of its own, also when it is started again.
    pub fn start(&self, disk_bytes: u64, args: &[&str]) -> Process {
        let mount = format!(
            "mkdir -p {{folder}}/data && {{ mountpoint -q {{folder}}/data || \
             mount -t tmpfs -o size={disk_bytes} tmpfs {{folder}}/data; }} && exec \"$0\" \"$@\""
        );
        let enter = self.enter();
        let mut words: Vec<&str> = enter.iter().map(String::as_str).collect();
        words.extend(["sh", "-c", &mount]);
        Process::start_under(&words, args)
    }

    /// Runs a command where the disk is mounted.
    pub fn run(&self, command: &[&str]) {
        let enter = self.enter();
        let status = Command::new(&enter[0]).args(&enter[1..]).args(command).status().unwrap();
        assert!(status.success(), "{command:?}: {status}");
    }

    fn enter(&self) -> Vec<String> {
        let words = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target"];
        words.into_iter().map(String::from).chain([self.holder.id().to_string()]).collect()
    }

    /// The data folder as it is seen from outside.
    pub fn data(&self, process: &Process) -> PathBuf {
        let inside = process.data();
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside.strip_prefix("/").unwrap())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

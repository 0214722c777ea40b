//! Starts and ends containers, and says what their objects hold.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use bytes::Bytes;
use meshstore::client::Client;
use meshstore::model::{Rng, SeededRng};

/// A container in a process of its own; killed when dropped.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    /// Starts one on a folder and waits until it is ready.
    pub fn start(data: &Path, settings: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_meshstore")), data, settings)
    }

    /// The same, by a program that is given the container's command line, such as a tracer.
    pub fn spawn(mut command: Command, data: &Path, settings: &[&str]) -> Self {
        command.args(["serve", "--json", "--http", "127.0.0.1:0", "--set", "log.level=error", "--data"]).arg(data);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the container starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        Process { child, url: ready["http"].as_str().unwrap().to_owned() }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url, None).unwrap()
    }

    /// The process that was started: the container, or whoever traces it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would end the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it in order.
    pub fn terminate(mut self) -> ExitStatus {
        let killed = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of the n-th state of a key: it says whose it is, and no two are alike.
pub fn body(key: &str, sequence: u64, bytes: usize) -> Bytes {
    let mut out = format!("{key} {sequence} ").into_bytes();
    let seed = out.iter().fold(7_u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(u64::from(*byte)));
    let mut rest = vec![0; bytes];
    SeededRng::new(seed).fill(&mut rest);
    out.extend(rest);
    out.into()
}

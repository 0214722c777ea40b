//! Debian's redis-server, alone on a port of its own.

use std::process::Command;

use anyhow::Result;

use crate::bench::Bench;
use crate::process::{Server, free_addr};

/// When it has written what it was given.
#[derive(Clone, Copy, PartialEq)]
pub enum Writes {
    /// Never: it is all in memory.
    Never,
    /// Before it answers.
    Always,
}

pub fn serve(bench: &Bench, writes: Writes) -> Result<Server> {
    let (folder, addr) = (bench.folder("redis")?, free_addr()?);
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &addr.port().to_string(), "--daemonize", "no"]);
    command.args(["--save", "", "--logfile", "redis.log", "--dir"]).arg(folder.path());
    match writes {
        Writes::Never => command.args(["--appendonly", "no"]),
        // Its log is never rewritten: that would be work beside the one that is compared.
        Writes::Always => {
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"])
        }
    };
    Server::listening("redis-server", command, addr, folder)
}

//! nats-server on a port of its own, and nothing but a subscriber that answers with the same bytes again and again.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;
use crate::process::{Server, free_addr};

pub const SUBJECT: &str = "bare";

/// The server; the project's own script finds or fetches it.
pub fn serve(bench: &Bench) -> Result<Server> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/nats.sh");
    let found = Command::new("sh").arg(script).output().context("scripts/nats.sh cannot be run")?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let (folder, addr) = (bench.folder("nats")?, free_addr()?);
    let mut command = Command::new(String::from_utf8(found.stdout)?.trim());
    command.args(["-a", "127.0.0.1", "-p", &addr.port().to_string(), "-js", "-sd"]).arg(folder.path());
    Server::listening("nats-server", command, addr, folder)
}

/// Starts this program again, as the subscriber.
pub fn bare(bench: &Bench, nats: &Server, size: usize) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command.args(["--bare-nats", &nats.addr.to_string(), "--bare", &size.to_string()]);
    let folder = bench.folder("bare")?;
    let addr = nats.addr;
    Server::announcing("bare subscriber", command, folder, move |_| Ok(addr))
}

/// The subscriber itself.
pub fn answer(addr: SocketAddr, size: usize) -> Result<()> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    let (mut lines, mut out) =
        (BufReader::with_capacity(1 << 18, stream.try_clone()?), BufWriter::with_capacity(1 << 18, stream));
    let body = vec![7u8; size];
    out.write_all(format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {SUBJECT} 1\r\n").as_bytes())?;
    out.flush()?;
    writeln!(std::io::stdout(), "ready")?;
    let mut line = String::new();
    let mut message = Vec::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        match words[..] {
            ["PING"] => out.write_all(b"PONG\r\n")?,
            [kind, _, _, reply, .., all] if kind == "MSG" || kind == "HMSG" => {
                message.resize(all.parse::<usize>()? + 2, 0);
                lines.read_exact(&mut message)?;
                out.write_all(format!("PUB {reply} {size}\r\n").as_bytes())?;
                out.write_all(&body)?;
                out.write_all(b"\r\n")?;
            }
            _ => {}
        }
        // What came together is answered together.
        if lines.buffer().is_empty() {
            out.flush()?;
        }
    }
}

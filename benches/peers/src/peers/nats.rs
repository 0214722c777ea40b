//! nats-server on a port of its own, its store of keys and values, and nothing but a subscriber that answers with the
//! same bytes again and again.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::json;

use crate::bench::Bench;
use crate::load::nats as wire;
use crate::process::{Server, free_addr};

pub const SUBJECT: &str = "bare";

/// What every acknowledgement of a put holds, and no refusal.
pub const STORED: &str = "\"seq\":";

const BUCKET: &str = "bench";

/// The program; the project's own script finds or fetches it.
pub fn program() -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/nats.sh");
    let found = Command::new("sh").arg(script).output().context("scripts/nats.sh cannot be run")?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    Ok(String::from_utf8(found.stdout)?.trim().to_owned())
}

/// The server as it is by default.
pub fn serve(bench: &Bench) -> Result<Server> {
    let (folder, addr) = (bench.folder("nats")?, free_addr()?);
    let mut command = Command::new(program()?);
    command.args(["-a", "127.0.0.1", "-p", &addr.port().to_string(), "-js", "-sd"]).arg(folder.path());
    Server::listening("nats-server", command, addr, folder)
}

/// The server that has synced what JetStream was given before it answers. By default it syncs every two minutes; there
/// is no flag for it, only a key of its file.
pub fn serve_synced(bench: &Bench) -> Result<Server> {
    let (folder, addr) = (bench.folder("nats")?, free_addr()?);
    let (file, store) = (folder.path().join("nats.conf"), folder.path().join("store"));
    let store = store.display();
    let text = format!("listen: \"{addr}\"\njetstream {{ store_dir: \"{store}\", sync_interval: always }}\n");
    fs::write(&file, text).context("cannot write its configuration")?;
    let mut command = Command::new(program()?);
    command.arg("-c").arg(file);
    Server::listening("nats-server", command, addr, folder)
}

/// What makes the bucket, as clients make it when nothing else is asked of them.
pub fn make_bucket() -> wire::Message {
    let config = json!({
        "name": format!("KV_{BUCKET}"), "subjects": [format!("$KV.{BUCKET}.>")], "storage": "file", "num_replicas": 1,
        "retention": "limits", "discard": "new", "max_msgs_per_subject": 1, "duplicate_window": 120_000_000_000u64,
        "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
    });
    let subject = format!("$JS.API.STREAM.CREATE.KV_{BUCKET}");
    wire::Message { subject, headers: String::new(), body: config.to_string().into() }
}

/// What puts a value under a key.
pub fn put(key: &str, value: Bytes) -> wire::Message {
    wire::Message { subject: format!("$KV.{BUCKET}.{key}"), headers: String::new(), body: value }
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

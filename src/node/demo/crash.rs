//! A container in a process of its own is killed in the middle of its work, and started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::client::{Client, PushOptions, Upload};
use crate::config::{Config, VARIABLE_PREFIX};
use crate::error::{Error, Result};
use crate::model::{Rng, SeededRng};
use crate::store::io_error;

use super::{BUDGET, expect, say};

const WRITERS: u64 = 16;
const ACKNOWLEDGED_BEFORE_KILL: u64 = 500;
const OBJECT_BYTES: usize = 20_000;

/// Everything that was acknowledged before the kill is there afterwards.
pub async fn killed_and_restarted(config: &Config) -> Result<()> {
    say(&format!("5  a crash: kill -9 with {WRITERS} pushes in flight"))?;
    let mut first = Server::start(config)?;
    let client = Arc::new(Client::new(&first.url, None)?);
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&client), writer, Arc::clone(&acknowledged))))
        .collect();
    let total = || acknowledged.iter().map(|count| count.load(Ordering::Acquire)).sum::<u64>();
    let begun = Instant::now();
    while total() < ACKNOWLEDGED_BEFORE_KILL {
        expect(begun.elapsed() < Duration::from_secs(60), "the container acknowledged too little in a minute")?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.kill()?;
    for writer in writers {
        // Each ends with the connection that the kill cut.
        let _ = writer.await;
    }
    let start = Instant::now();
    let second = Server::start(config)?;
    let ready = start.elapsed();
    let client = Client::new(&second.url, None)?;
    for (writer, count) in acknowledged.iter().enumerate() {
        for sequence in 0..count.load(Ordering::Acquire) {
            let address = address(writer as u64, sequence).parse()?;
            let back = client.pull(&address, None).await?.bytes().await?;
            expect(back == body(writer as u64, sequence), "an acknowledged object came back changed")?;
        }
    }
    say(&format!(
        "   ready again in {} ms; all {} acknowledged objects are there, byte for byte",
        ready.as_millis(),
        total()
    ))
}

async fn write(client: Arc<Client>, writer: u64, acknowledged: Arc<Vec<AtomicU64>>) -> Result<()> {
    let Some(count) = acknowledged.get(writer as usize) else { return Ok(()) };
    for sequence in 0.. {
        let address = address(writer, sequence).parse()?;
        client.push(&address, Upload::bytes(body(writer, sequence)), &PushOptions::default()).await?;
        count.store(sequence + 1, Ordering::Release);
    }
    Ok(())
}

fn address(writer: u64, sequence: u64) -> String {
    format!("demo/crash/{writer}/{sequence}")
}

fn body(writer: u64, sequence: u64) -> Bytes {
    let mut data = vec![0; OBJECT_BYTES];
    SeededRng::new(writer << 32 | sequence).fill(&mut data);
    data.into()
}

/// A container in a process of its own; killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(config: &Config) -> Result<Self> {
        let failed = |error| io_error(error, "cannot start a container of its own");
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        // In a site of its own: a server on this host is somebody else's, and so is what the environment says.
        command.args(["serve", "--json", "--http", "127.0.0.1:0", "--bus", "local"]);
        command.args(["--site", config.site.name.as_str(), "--name", config.container.name.as_str()]);
        command.arg("--data").arg(&config.data.dir).arg("--keys").arg(&config.keys.file);
        command.args(["--set", &format!("memory.budget_bytes={BUDGET}"), "--set", "log.level=error"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(VARIABLE_PREFIX)) {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(failed)?;
        }
        let mut server = Server { child, url: String::new() };
        let ready: serde_json::Value = serde_json::from_str(&line)
            .map_err(|error| Error::internal("the container did not become ready").because(error))?;
        server.url = ready.get("http").and_then(|url| url.as_str()).unwrap_or_default().to_owned();
        Ok(server)
    }

    fn kill(&mut self) -> Result<()> {
        let failed = |error| io_error(error, "cannot kill the container");
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed).map(|_| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed already, or the demo is over: either way there is nobody to tell.
        let _ = self.kill();
    }
}

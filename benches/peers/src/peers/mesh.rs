//! The container: `meshstore serve` in a process of its own, or the library within this one.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use meshstore::actors::{Body, Handle, Push};
use meshstore::config::{Config, Fault, Host, Sources};
use meshstore::model::{Address, Durability, NfrOverride};
use meshstore::node::Container;
use tokio::runtime::Runtime;

use crate::bench::{Bench, Folder};
use crate::load::Request;
use crate::load::{http, nats as wire};
use crate::machine::cores;
use crate::process::Server;

/// Enough memory that objects of 100 MB stay in it while they are overwritten.
pub const ROOMY: &[(&str, &str)] = &[("memory.budget_bytes", "2GiB")];

const DEADLINE: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Starts the server on a fresh folder, with its default settings but for these.
pub fn serve(bench: &Bench, settings: &[(&str, &str)]) -> Result<Server> {
    serve_in(bench, bench.folder("meshstore")?, settings)
}

/// Starts the server on a bus.
pub fn serve_on(bench: &Bench, bus: &str, settings: &[(&str, &str)]) -> Result<Server> {
    start(bench, bench.folder("meshstore")?, bus, settings)
}

/// Starts the server on the folder of an earlier one.
pub fn serve_in(bench: &Bench, folder: Folder, settings: &[(&str, &str)]) -> Result<Server> {
    start(bench, folder, "local", settings)
}

/// What containers of one site share.
pub struct Site {
    pub bus: String,
    pub keys: PathBuf,
}

/// Starts the server as one of a site, on a fresh folder.
pub fn serve_in_site(bench: &Bench, site: &Site, name: &str, settings: &[(&str, &str)]) -> Result<Server> {
    run(in_site(bench, site, name), bench.folder(name)?, &site.bus, settings)
}

/// Starts it again on its folder.
pub fn serve_again_in_site(bench: &Bench, site: &Site, name: &str, folder: Folder) -> Result<Server> {
    run(in_site(bench, site, name), folder, &site.bus, &[])
}

fn in_site(bench: &Bench, site: &Site, name: &str) -> Command {
    let mut command = Command::new(&bench.server);
    command.args(["serve", "--site", "bench", "--name", name, "--keys"]).arg(&site.keys);
    command
}

fn start(bench: &Bench, folder: Folder, bus: &str, settings: &[(&str, &str)]) -> Result<Server> {
    let mut command = Command::new(&bench.server);
    command.arg("serve");
    run(command, folder, bus, settings)
}

fn run(mut command: Command, folder: Folder, bus: &str, settings: &[(&str, &str)]) -> Result<Server> {
    command.args(["--json", "--http", "127.0.0.1:0", "--bus", bus, "--data"]).arg(folder.path().join("data"));
    for (key, value) in settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
    Server::announcing("meshstore", command, folder, |line| {
        let ready: serde_json::Value = serde_json::from_str(line).context("that is no JSON")?;
        let url = ready.get("http").and_then(|url| url.as_str()).context("it names no address")?;
        url.strip_prefix("http://").context("it does not speak plain HTTP")?.parse().context("no address")
    })
}

/// The path of an object.
pub fn path(address: &str) -> String {
    format!("/v1/objects/{address}")
}

/// Makes a collection.
pub fn collection(name: &str, policy: &str) -> Request {
    let body = Bytes::copy_from_slice(policy.as_bytes());
    http::put(&format!("/v1/collections/{name}"), "Content-Type: application/json\r\n", body)
}

/// A read of a version's sealed bytes.
pub fn frame(address: &str, version: &str) -> Request {
    let path = format!("{}?version={version}", path(address));
    Request::of(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/vnd.meshstore.frame\r\n\r\n"))
}

/// The version of what is at an address.
pub fn version(server: &Server, address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server.addr)?;
    write!(stream, "HEAD {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path(address))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let found = answer.lines().find_map(|line| line.strip_prefix("mesh-version: "));
    found.map(|version| version.trim().to_owned()).with_context(|| format!("no version in {answer:?}"))
}

/// A push of this class.
pub fn push(address: &str, class: Durability, body: Bytes) -> Request {
    http::put(&path(address), &format!("Mesh-Durability: {class}\r\n"), body)
}

/// The same, as a message.
pub fn push_over_nats(address: &str, class: Durability, body: Bytes) -> wire::Message {
    let headers = wire::headers(&[("Mesh-Address", address), ("Mesh-Durability", &class.to_string())]);
    wire::Message { subject: "mesh.local.push".to_owned(), headers, body }
}

/// A container within this process, without doors.
pub struct Inside {
    runtime: Runtime,
    container: Option<Container>,
    _folder: Folder,
}

impl Inside {
    /// Starts it with its default settings but for these.
    pub fn start(bench: &Bench, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = bench.folder("inside")?;
        let data = ("data.dir".to_owned(), folder.path().join("data").display().to_string());
        let flags = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        // Nothing of the user's own is read.
        let host = Host { home: None, data_home: None, cores: cores() };
        let sources = Sources { file: None, env: Vec::new(), flags: flags.chain([data]).collect(), host };
        let config = Config::load(&sources).map_err(|faults| anyhow!(Fault::combine(&faults)))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let container = runtime.block_on(async { Container::start(&config) })?;
        Ok(Inside { runtime, container: Some(container), _folder: folder })
    }

    pub fn handle(&self) -> Result<&Handle> {
        self.container.as_ref().map(Container::handle).context("the container was stopped")
    }

    /// Pushes bytes that are here already.
    pub fn push(&self, address: &Address, class: Durability, nfr: NfrOverride, bytes: Bytes) -> Result<()> {
        let size = Some(bytes.len() as u64);
        let push = Push { durability: Some(class), nfr, size, ..Push::new(address.clone(), DEADLINE) };
        self.wait(self.handle()?.push(push, Body::whole(bytes)))?;
        Ok(())
    }

    /// Waits as a caller would.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        if let Err(error) = self.runtime.block_on(container.stop(STOP_GRACE)) {
            eprintln!("warning: the container did not stop well: {error}");
        }
    }
}

//! Which bus a container joins: what the configuration names, or the best that is found on this host.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::bus::{Bus, LocalBus, NatsBus};
use crate::config::{BusMode, Config};
use crate::error::{Error, Result};
use crate::sys;

/// Where a server is looked for, or started.
const USUAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 4222);

/// How long it may take to see whether somebody listens on this host.
const LOOK_MAX: Duration = Duration::from_millis(300);

/// How long a server that was started here may take until it answers.
const START_MAX: Duration = Duration::from_secs(5);

/// How long it may take to end.
const END_MAX: Duration = Duration::from_secs(2);

/// A bus, and the server that was started for it, which ends with it.
pub struct Joined {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    server: Option<Server>,
}

/// A server of this host's own.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Asks it to end, so that it tells those who joined it, before it is ended.
    async fn end(mut self) {
        let pid = self.0.id();
        let ended = async {
            while self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if sys::terminate(pid).is_ok() {
            let _ = timeout(END_MAX, ended).await;
        }
    }
}

/// Joins the bus that the configuration asks for.
pub async fn join(config: &Config) -> Result<Joined> {
    let who = format!("meshstore {}/{}", config.site.name, config.container.name);
    let url = match (&config.bus.mode, &config.bus.url) {
        (BusMode::Local, _) => return Ok(Joined { bus: Arc::new(LocalBus::new()), server: None }),
        (BusMode::Auto, None) => return best(&config.data.dir, &who, config.auth.required).await,
        (BusMode::Url(url), _) | (BusMode::Auto, Some(url)) => url,
    };
    let bus = NatsBus::connect(url.expose(), &who).await?;
    if !config.auth.required && bus.is_open_to_others() {
        let why = "others than this host's users can reach this NATS server: require tokens with auth.required = true, \
                   or start it with -a 127.0.0.1";
        return Err(Error::invalid(why).with("bus", bus.describe().name));
    }
    Ok(Joined { bus: Arc::new(bus), server: None })
}

/// The best bus of this host. Only a server that runs here is joined, or one that is found and can be started.
async fn best(data: &Path, who: &str, required: bool) -> Result<Joined> {
    let addr = SocketAddr::from(USUAL);
    let url = format!("nats://{addr}");
    let in_process = || Joined { bus: Arc::new(LocalBus::new()), server: None };
    if timeout(LOOK_MAX, TcpStream::connect(addr)).await.is_ok_and(|connected| connected.is_ok()) {
        return Ok(match NatsBus::connect(&url, who).await {
            Ok(bus) if !required && bus.is_open_to_others() => {
                let why = "the NATS server on this host can be reached from others, and tokens are not required";
                tracing::warn!("{why}; the bus stays in process (auth.required = true joins it)");
                in_process()
            }
            Ok(bus) => Joined { bus: Arc::new(bus), server: None },
            Err(error) => {
                tracing::warn!(%error, "the server on this host cannot be joined; the bus stays in process");
                in_process()
            }
        });
    }
    let Some(program) = found("nats-server") else { return Ok(in_process()) };
    match start(&program, &data.join("nats"), &url, who).await {
        Ok(joined) => Ok(joined),
        Err(error) => {
            let program = program.display();
            tracing::warn!(%error, %program, "the server found here cannot be used; the bus stays in process");
            Ok(in_process())
        }
    }
}

async fn start(program: &Path, folder: &Path, url: &str, who: &str) -> Result<Joined> {
    let (host, port) = USUAL;
    let mut command = Command::new(program);
    command.args(["-a", &host.to_string(), "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A signal from the terminal is for the container, which ends the server after itself.
    let child = command.process_group(0).spawn();
    let mut server = Server(child.map_err(|error| Error::unavailable("nats-server cannot be started").because(error))?);
    let connect = async {
        loop {
            match NatsBus::connect(url, who).await {
                Ok(bus) => return Ok(bus),
                // Two containers that start together: the other one's server has the port.
                Err(error) if server.0.try_wait().ok().flatten().is_some() => {
                    return NatsBus::connect(url, who).await.map_err(|_| error);
                }
                // One that is too old is so for good.
                Err(error) if error.context("found").is_some() => return Err(error),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let late = |_| Error::deadline("nats-server does not answer after its start");
    let bus = timeout(START_MAX, connect).await.map_err(late)??;
    Ok(Joined { bus: Arc::new(bus), server: Some(server) })
}

/// A program on PATH.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(OsStr::new(program))).find(|file| file.is_file())
}

impl Joined {
    /// Leaves the bus, and ends the server that was started for it.
    pub async fn leave(self) {
        if let Err(error) = self.bus.drain().await {
            tracing::warn!(%error, "the bus was left without a last word");
        }
        if let Some(server) = self.server {
            server.end().await;
        }
    }
}

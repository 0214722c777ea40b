//! The listening socket, its workers and their limits; start and stop.
//!
//! The head of a request has fixed limits of actix-web's own, [`crate::limits::HEADERS_MAX`] and
//! [`crate::limits::HEAD_BYTES_MAX`]. Beyond these, and for what is no HTTP at all, it answers a bare 400, 408 or 431 and closes the connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::dev::{ServerHandle, ServiceRequest, fn_service};
use actix_web::http::KeepAlive;
use actix_web::{App, HttpServer};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::admin::Admin;
use super::audit::Audit;
use super::authority::Authority;
use super::core::Core;
use super::guard::Guard;
use super::places::Places;
use super::rate::Rate;
use super::route;
use super::subjects::{BusThread, Names, Subjects};
use super::tls::Tls;
use crate::bus::Bus;
use crate::config::Receivers;
use crate::error::{Error, Result};
use crate::limits::{BATCHES_MAX, LISTEN_QUEUE_MAX, REQUEST_DEADLINE_DEFAULT};
use crate::model::Name;
use crate::sys;
use crate::telemetry::Telemetry;

/// A stop that outlasts its grace is forced by [`Door::stop`]; the server's own limit is never met.
const SHUTDOWN_SECONDS_MAX: u64 = 24 * 3600;

/// Where the door listens and what it bears.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The site of the container behind it.
    pub site: String,
    /// The container's name there.
    pub container: String,
    /// The certificate, where the door speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// Threads that serve connections.
    pub workers: usize,
    /// Connections in all; further ones wait in the listen queue. See `places.rs` for who makes room before.
    pub connections_max: usize,
    /// Requests a second from one bearer or address; 0 for no limit.
    pub requests_per_s: u64,
    /// How long the first head of a connection may take to arrive, and a handshake before it.
    pub head_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub keep_alive: Duration,
    /// How long a reader of events hears nothing before a comment is sent.
    pub events_keep_alive: Duration,
    /// The longest pause inside a body, in either direction.
    pub idle_timeout: Duration,
    /// How long a request may take when it names no deadline. For a streamed upload it bounds each
    /// wait for the core, not the time the body takes to arrive.
    pub request_deadline: Duration,
    /// The largest object a push may bring.
    pub object_bytes_max: u64,
    /// To which addresses objects are brought.
    pub receivers: Receivers,
}

impl GatewayOptions {
    /// A door at `addr` with the default limits.
    pub fn at(addr: SocketAddr) -> Self {
        GatewayOptions {
            addr,
            site: String::new(),
            container: String::new(),
            tls: None,
            requests_per_s: 0,
            workers: 2,
            connections_max: 4096,
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            events_keep_alive: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            request_deadline: REQUEST_DEADLINE_DEFAULT,
            object_bytes_max: 64 << 30,
            receivers: Receivers::Loopback,
        }
    }
}

/// What every worker shares.
pub(super) struct Shared {
    pub(super) core: Arc<dyn Core>,
    pub(super) admin: Arc<dyn Admin>,
    pub(super) authority: Arc<dyn Authority>,
    pub(super) options: GatewayOptions,
    pub(super) guard: Guard,
    pub(super) rate: Rate,
    pub(super) audit: Audit,
    pub(super) telemetry: Arc<Telemetry>,
    /// The bus and the site's name, once requests are answered there.
    pub(super) site: OnceLock<(Arc<dyn Bus>, Name)>,
    /// Places of batches: each holds bodies beyond what pushes have permits for.
    pub(super) batches: Semaphore,
}

/// An open door. Dropping it shuts it at once.
pub struct Door {
    addr: SocketAddr,
    scheme: &'static str,
    server: ServerHandle,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// Opens the door. Must be called inside a tokio runtime; the workers are threads of their own.
pub async fn serve(
    core: Arc<dyn Core>,
    admin: Arc<dyn Admin>,
    authority: Arc<dyn Authority>,
    telemetry: Arc<Telemetry>,
    options: GatewayOptions,
) -> Result<Door> {
    let workers = options.workers.max(1);
    let shared = Arc::new(Shared {
        core,
        admin,
        authority,
        guard: Guard::of(options.addr),
        rate: Rate::per_second(options.requests_per_s),
        audit: Audit::default(),
        site: OnceLock::new(),
        batches: Semaphore::new(BATCHES_MAX),
        options: options.clone(),
        telemetry,
    });
    let sharing = Arc::clone(&shared);
    let factory = move || {
        let shared = Arc::clone(&sharing);
        App::new().default_service(fn_service(move |request: ServiceRequest| route::answer(&shared, request)))
    };
    let places = Places::new(options.connections_max, Arc::clone(&shared.telemetry));
    tokio::spawn(Places::watch(Arc::downgrade(&places)));
    let server = HttpServer::new(factory)
        .on_connect(move |socket, connection| drop(connection.insert(places.take(socket))))
        .workers(workers)
        .max_connections(options.connections_max.div_ceil(workers).max(1))
        .client_request_timeout(options.head_timeout)
        .keep_alive(KeepAlive::Timeout(options.keep_alive))
        .shutdown_timeout(SHUTDOWN_SECONDS_MAX)
        .tcp_nodelay(true)
        .disable_signals()
        .tls_handshake_timeout(options.head_timeout);
    let cannot = |error| {
        Error::unavailable("cannot listen here; choose another address").with("addr", options.addr).because(error)
    };
    let socket = listen(&options).map_err(cannot)?;
    let (server, scheme) = match &options.tls {
        Some(tls) => (server.listen_rustls_0_23(socket, tls.config()?), "https"),
        None => (server.listen(socket), "http"),
    };
    let server = server.map_err(cannot)?;
    let addr = server.addrs().first().copied().ok_or_else(|| Error::internal("the server listens nowhere"))?;
    let running = server.run();
    let server = running.handle();
    let task = tokio::spawn(async move {
        if let Err(error) = running.await {
            tracing::error!(%addr, %error, "the http door broke");
        }
    });
    Ok(Door { addr, scheme, server, task, shared })
}

/// A socket whose connections end when their peers take nothing for long: a writer that waits for such
/// a peer is not woken by any timer of its own.
fn listen(options: &GatewayOptions) -> io::Result<TcpListener> {
    let socket = if options.addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(options.addr)?;
    let listener = socket.listen(LISTEN_QUEUE_MAX)?.into_std()?;
    sys::end_when_stalled(listener.as_fd(), options.idle_timeout)?;
    Ok(listener)
}

impl Door {
    /// Where it listens, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Answers the same requests on a bus, on its thread, at most so many at once.
    pub async fn answer_on(
        &self,
        thread: &BusThread,
        bus: Arc<dyn Bus>,
        names: Names,
        at_work_max: usize,
    ) -> Result<Subjects> {
        let shared = Arc::clone(&self.shared);
        thread.run(move || Subjects::open(shared, bus, names, at_work_max)).await
    }

    /// Shuts the door: takes no new connections, lets requests finish for `grace`, then cuts them.
    pub async fn stop(mut self, grace: Duration) {
        if tokio::time::timeout(grace, self.server.stop(true)).await.is_err() {
            self.task.abort();
        }
        // An aborted task is what was asked for; a broken one has been logged.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! `meshstore serve`: a container with its doors, until it is told to stop.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::bus::Described;
use crate::config::{Config, Origins};
use crate::error::{Error, Result};
use crate::gateway::{self, BusThread, Door, GatewayOptions, Names};

use super::admin::Overseer;
use super::boot::Container;
use super::bus;
use super::site;
use super::tls;

/// How long requests may go on after a signal to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// The least time that answers on their way have after the requests are done.
const DOOR_GRACE_LEAST: Duration = Duration::from_secs(1);

/// Runs a container until SIGTERM or SIGINT. Prints one line with its addresses once it is ready.
pub fn serve(config: Config, origins: Origins, json: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("main").build();
    let runtime = runtime.map_err(|error| Error::internal("cannot start the runtime").because(error))?;
    let outcome = runtime.block_on(run(&config, &origins, json));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn run(config: &Config, origins: &Origins, json: bool) -> Result<()> {
    // Asked for before anything starts, so that no signal is missed.
    let stop = stop_signal()?;
    let container = Container::start(config)?;
    let recovery = container.recovery();
    tracing::info!(
        unfinished = recovery.unfinished,
        orphans = recovery.orphans,
        discarded = recovery.discarded,
        "cleared what the last run left behind"
    );
    let thread = BusThread::start()?;
    let joined = {
        let config = config.clone();
        thread.run(move || async move { bus::join(&config).await }).await?
    };
    // The door needs its place before the site can be told of it; until then nothing is answered that others know.
    container.handle().await_site();
    let (door, overseer) = open_door(config, origins, &container).await?;
    let url = config.http.public_url.clone().unwrap_or_else(|| door.url());
    let site = site::join(config, &container, &joined.bus, &url).await?;
    overseer.joined(site.clone());
    let names = Names { site: config.site.name.clone(), container: config.container.name.clone(), url };
    let subjects = door.answer_on(&thread, Arc::clone(&joined.bus), names, config.limits.requests_max).await?;
    overseer.asked_on(subjects.gauges());
    announce(config, &door.url(), &joined.bus.describe(), json)?;
    let name = stop.await;
    tracing::info!(signal = name, "stopping");
    let end = Instant::now() + STOP_GRACE;
    let rest = || end.saturating_duration_since(Instant::now());
    // The doors stay open meanwhile, so that whoever is refused hears why; others of the site can do better.
    subjects.leave();
    site.retreat().await;
    let drained = container.handle().drain(STOP_GRACE).await;
    site.leave().await;
    subjects.stop(rest().max(DOOR_GRACE_LEAST)).await;
    door.stop(rest().max(DOOR_GRACE_LEAST)).await;
    joined.leave().await;
    // What could not be written out is tried once more: nobody else asks any more.
    let stopped = container.stop(rest()).await?;
    tracing::info!(written_out = drained.unwrap_or(0) + stopped, "stopped");
    Ok(())
}

/// Opens the HTTP door of a container.
async fn open_door(config: &Config, origins: &Origins, container: &Container) -> Result<(Door, Arc<Overseer>)> {
    let millis = Duration::from_millis;
    let tls = tls::open(&config.tls)?;
    let options = GatewayOptions {
        site: config.site.name.to_string(),
        container: config.container.name.to_string(),
        tls: tls.as_ref().map(|(tls, _)| Arc::clone(tls)),
        connections_max: config.limits.connections_max,
        requests_per_s: config.limits.requests_per_s as u64,
        head_timeout: millis(config.http.head_timeout_ms),
        idle_timeout: millis(config.http.stall_timeout_ms),
        workers: config.http.workers,
        keep_alive: millis(config.http.idle_timeout_ms),
        events_keep_alive: millis(config.http.events_keep_alive_ms),
        request_deadline: millis(config.limits.request_deadline_ms),
        object_bytes_max: config.limits.object_bytes_max,
        ..GatewayOptions::at(config.http.addr)
    };
    let overseer = Arc::new(Overseer::new(config, origins, container));
    let handle = container.handle().clone();
    let telemetry = Arc::clone(handle.telemetry());
    let (core, authority) = (Arc::new(handle), Arc::new(container.tokens().clone()));
    let door = gateway::serve(core, Arc::clone(&overseer) as _, authority, telemetry, options).await?;
    overseer.opened(door.url());
    if let Some((tls, files)) = tls {
        tls::watch(tls, files)?;
    }
    Ok((door, overseer))
}

fn announce(config: &Config, http: &str, bus: &Described, json: bool) -> Result<()> {
    let (site, container) = (&config.site.name, &config.container.name);
    let line = if json {
        let pid = std::process::id();
        json!({ "site": site, "container": container, "http": http, "s3": null, "bus": bus.name, "pid": pid })
            .to_string()
    } else {
        format!("meshstore ready: site {site}, container {container}, {http}, bus {bus}")
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::internal("cannot print the ready line").because(error))
}

fn stop_signal() -> Result<impl Future<Output = &'static str>> {
    let failed = |error| Error::internal("cannot listen for signals").because(error);
    let (mut term, mut int) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}

//! `meshstore serve`: a container with its doors, until it is told to stop.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::bus::Described;
use crate::config::{Config, Origins};
use crate::error::{Error, Result};
use crate::gateway::BusThread;

use super::boot::Container;
use super::bus;
use super::running::Running;

/// How long requests may go on after a signal to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);

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
    let running = Running::open(config, origins, container, (&thread, &joined.bus)).await?;
    announce(config, &running.url(), &joined.bus.describe(), json)?;
    let name = stop.await;
    tracing::info!(signal = name, "stopping");
    let end = Instant::now() + STOP_GRACE;
    let rest = || end.saturating_duration_since(Instant::now());
    let (container, drained) = running.close(rest).await;
    joined.leave().await;
    // What could not be written out is tried once more: nobody else asks any more.
    let stopped = container.stop(rest()).await?;
    tracing::info!(written_out = drained + stopped, "stopped");
    Ok(())
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

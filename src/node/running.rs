//! A container with its doors open, in its place in the site: what `serve` runs one of, and the demo two.

use std::sync::Arc;
use std::time::Duration;

use super::admin::Overseer;
use super::boot::Container;
use super::site;
use super::tls;
use crate::bus::Bus;
use crate::config::{Config, Origins};
use crate::error::Result;
use crate::gateway::{self, BusThread, Door, GatewayOptions, Names, Subjects};
use crate::site::Site;

/// The least time that answers on their way have after the requests are done.
const DOOR_GRACE_LEAST: Duration = Duration::from_secs(1);

/// A container that is reached over HTTP and on its site's bus.
pub struct Running {
    container: Container,
    door: Door,
    site: Site,
    subjects: Subjects,
}

impl Running {
    /// Opens the doors of a container, and joins its site on this bus; `thread` is the bus's.
    pub async fn open(
        config: &Config,
        origins: &Origins,
        container: Container,
        (thread, bus): (&BusThread, &Arc<dyn Bus>),
    ) -> Result<Self> {
        // The door needs its place before the site can be told of it; until then nothing is answered that others know.
        container.handle().await_site();
        let (door, overseer) = open_door(config, origins, &container).await?;
        let url = config.http.public_url.clone().unwrap_or_else(|| door.url());
        let site = site::join(config, &container, bus, &url).await?;
        overseer.joined(site.clone());
        let names = Names { site: config.site.name.clone(), container: config.container.name.clone(), url };
        let subjects = door.answer_on(thread, Arc::clone(bus), names, config.limits.requests_max).await?;
        overseer.asked_on(subjects.gauges());
        Ok(Running { container, door, site, subjects })
    }

    /// Where its HTTP door is.
    pub fn url(&self) -> String {
        self.door.url()
    }

    /// Leaves the site and shuts the doors, in the time that `rest` says is left. Gives back the container, which is
    /// still to be stopped, and how many objects were written out of its memory.
    pub async fn close(self, rest: impl Fn() -> Duration) -> (Container, usize) {
        // The doors stay open meanwhile, so that whoever is refused hears why; others of the site can do better.
        self.subjects.leave();
        self.site.retreat().await;
        let drained = self.container.handle().drain(rest()).await;
        self.site.leave().await;
        self.subjects.stop(rest().max(DOOR_GRACE_LEAST)).await;
        self.door.stop(rest().max(DOOR_GRACE_LEAST)).await;
        // What could not be written out is tried once more at the stop.
        (self.container, drained.unwrap_or(0))
    }
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
        receivers: config.bus.receivers,
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

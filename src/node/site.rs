//! How a container finds its place in its site.

use std::sync::Arc;

use super::boot::Container;
use super::pieces::OwnPieces;
use super::shared::SiteBook;
use super::tls;
use crate::actors::Handle;
use crate::bus::Bus;
use crate::config::Config;
use crate::error::Result;
use crate::site::{Load, MeshParts, Roster, Site, SiteParts};
use crate::tiers::Peers;

/// Joins the site, and tells the actors of the others.
pub async fn join(config: &Config, container: &Container, bus: &Arc<dyn Bus>, url: &str) -> Result<Site> {
    let handle = container.handle();
    let (ring, measured) = (handle.clone(), handle.clone());
    let identity = handle.keyring().identity()?;
    let roster = Roster::open(Arc::clone(handle.keeper()), config.site.name.clone(), identity.keys())?;
    let parts = SiteParts {
        bus: Arc::clone(bus),
        keeper: Arc::clone(handle.keeper()),
        ring: Box::new(move || ring.keyring()),
        load: Box::new(move || (load(&measured), measured.ready())),
        site: config.site.name.clone(),
        container: config.container.name.clone(),
        url: reachable(url),
        ca: config.tls.ca.as_deref().map(tls::authority).transpose()?,
        telemetry: Arc::clone(handle.telemetry()),
        events: Arc::clone(handle.events()),
        policies: Arc::clone(handle.mesh_policies()),
        shared: SiteBook::new(handle.clone(), container.tokens().clone(), Arc::clone(&roster)),
        pieces: Arc::new(OwnPieces(handle.clone())),
        taking: Arc::new(OwnPieces(handle.clone())),
        changes: Arc::new(OwnPieces(handle.clone())),
    };
    let mesh = MeshParts { identity, roster, invitation: config.mesh.invitation_secret.clone() };
    let site = Site::join(parts, mesh).await?;
    let peers: Arc<dyn Peers> = Arc::new(site.clone());
    // Joined once in a life.
    let _ = handle.neighbours().set(peers);
    handle.joined();
    site.announce().await;
    Ok(site)
}

/// What the others are told of this container's door. An address that stands for all of a host's own is none that
/// another host could ask.
fn reachable(url: &str) -> String {
    let host = url.split("://").nth(1).unwrap_or_default();
    let is_none = ["0.0.0.0:", "[::]:"].iter().any(|any| host.starts_with(any));
    if is_none {
        tracing::warn!(url, "the other containers of the site cannot reach this address; set http.public_url");
    }
    if is_none { String::new() } else { url.to_owned() }
}

/// How full this container is, as the others are told.
pub fn load(handle: &Handle) -> Load {
    let memory = handle.keeper().memory().usage();
    Load {
        disk_bytes: handle.keeper().disk().sealed_bytes(),
        disk_budget: handle.disk_budget(),
        ram_bytes: memory.bytes,
        ram_budget: memory.budget,
        requests: handle.in_use().requests as u64,
    }
}

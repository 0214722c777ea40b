//! Containers in one process, on buses in this process, reached through their HTTP doors: what the demo and the simulation
//! stand on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::boot::Container;
use super::running::Running;
use crate::actors::Handle;
use crate::bus::{Bus, Link, LocalBus};
use crate::client::Client;
use crate::config::{Config, Fault, Host, MeshInvitation, Origins, Sources};
use crate::error::Result;
use crate::gateway::BusThread;
use crate::model::Name;
use crate::store::io_error;

/// How long a container may take to leave in order.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A folder for all of it, removed at its end unless it is to be kept.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    keep: bool,
}

impl Folder {
    /// A new one among the temporary ones of this host.
    pub fn make(what: &str, keep: bool) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("meshstore-{what}-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| io_error(error, "cannot make a temporary folder").with("path", path.display()))?;
        Ok(Folder { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is only in a temporary folder.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// What the containers of a site share.
pub struct Ground {
    folder: PathBuf,
    site: String,
    settings: &'static [(&'static str, &'static str)],
    /// By whom the site was invited into a mesh.
    invitation: Option<MeshInvitation>,
    bus: LocalBus,
    thread: BusThread,
}

impl Ground {
    /// A site with nobody in it; its containers' folders lie in this one.
    pub fn new(
        folder: PathBuf,
        site: &str,
        invitation: Option<MeshInvitation>,
        settings: &'static [(&'static str, &'static str)],
    ) -> Result<Self> {
        let site = site.to_owned();
        Ok(Ground { folder, site, settings, invitation, bus: LocalBus::new(), thread: BusThread::start()? })
    }

    /// Links the site with another one, with this delay each way.
    pub fn link(&self, other: &Ground, delay: Duration) -> Link {
        self.bus.link(&other.bus, delay)
    }

    /// A container of this name joins.
    pub async fn join(&self, name: &str) -> Result<Member> {
        let mut config = config(&self.folder, &self.site, name, self.settings)?;
        config.mesh.invitation_secret = self.invitation.clone();
        let container = Container::start(&config)?;
        let (handle, bus): (_, Arc<dyn Bus>) = (container.handle().clone(), Arc::new(self.bus.clone()));
        let running = Running::open(&config, &Origins::new(), container, (&self.thread, &bus)).await?;
        let door = Client::new(&running.url(), None)?;
        Ok(Member { site: config.site.name, handle, running, door })
    }
}

/// A container of the site.
pub struct Member {
    site: Name,
    handle: Handle,
    running: Running,
    /// What asks at its HTTP door.
    pub door: Client,
}

impl Member {
    /// What lets other sites into the mesh of this one's.
    pub fn invitation(&self) -> Result<MeshInvitation> {
        let identity = self.handle.keyring().identity()?;
        Ok(MeshInvitation { site: self.site.clone(), keys: identity.keys(), word: identity.invitation() })
    }

    /// Sites of which a container can be asked, as far as this one knows; the own one among them.
    pub async fn sites_alive(&self) -> Result<usize> {
        let told = self.door.admin("sites").await?;
        let sites = told.get("sites").and_then(Value::as_array).into_iter().flatten();
        let is_alive = |site: &&Value| site.get("alive").and_then(Value::as_u64).is_some_and(|alive| alive > 0);
        Ok(sites.filter(is_alive).count())
    }

    /// Leaves in order, and ends.
    pub async fn leave(self) -> Result<()> {
        let end = Instant::now() + STOP_GRACE;
        let rest = || end.saturating_duration_since(Instant::now());
        let (container, _) = self.running.close(rest).await;
        container.stop(rest()).await.map(drop)
    }
}

/// The configuration of a container; nothing of the user's own is read.
pub fn config(folder: &Path, site: &str, name: &str, settings: &[(&str, &str)]) -> Result<Config> {
    let flags = [
        ("site.name", site.to_owned()),
        ("container.name", name.to_owned()),
        ("data.dir", folder.join(name).display().to_string()),
        ("keys.file", folder.join("keys.toml").display().to_string()),
        ("http.addr", "127.0.0.1:0".to_owned()),
        ("bus.mode", "local".to_owned()),
    ];
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sources = Sources {
        file: None,
        env: Vec::new(),
        flags: flags.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(settings).collect(),
        host: Host { home: None, data_home: None, cores },
    };
    Config::load(&sources).map_err(|faults| Fault::combine(&faults))
}

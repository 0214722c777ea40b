//! Containers of the demo's sites: in this process, on buses in this process, reached through their HTTP doors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actors::Handle;
use crate::bus::{Bus, Link, LocalBus};
use crate::client::Client;
use crate::config::{MeshInvitation, Origins};
use crate::error::Result;
use crate::gateway::BusThread;
use crate::model::Name;
use crate::node::boot::Container;
use crate::node::running::Running;

use super::{STOP_GRACE, config};

/// What the containers of a site share.
pub struct Ground {
    folder: PathBuf,
    site: &'static str,
    /// By whom the site was invited into a mesh.
    invitation: Option<MeshInvitation>,
    bus: LocalBus,
    thread: BusThread,
}

impl Ground {
    /// A site with nobody in it; its containers' folders lie in this one.
    pub fn new(folder: PathBuf, site: &'static str, invitation: Option<MeshInvitation>) -> Result<Self> {
        Ok(Ground { folder, site, invitation, bus: LocalBus::new(), thread: BusThread::start()? })
    }

    /// Links the site with another one, with this delay each way.
    pub fn link(&self, other: &Ground, delay: Duration) -> Link {
        self.bus.link(&other.bus, delay)
    }

    /// A container of this name joins.
    pub async fn join(&self, name: &str) -> Result<Member> {
        let mut config = config(&self.folder, self.site, name)?;
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

    /// Leaves in order, and ends.
    pub async fn leave(self) -> Result<()> {
        let end = Instant::now() + STOP_GRACE;
        let rest = || end.saturating_duration_since(Instant::now());
        let (container, _) = self.running.close(rest).await;
        container.stop(rest()).await.map(drop)
    }
}

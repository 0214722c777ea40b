//! Containers of the demo's site: in this process, on a bus in this process, reached through their HTTP doors.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::bus::{Bus, LocalBus};
use crate::client::Client;
use crate::config::Origins;
use crate::error::Result;
use crate::gateway::BusThread;
use crate::node::boot::Container;
use crate::node::running::Running;

use super::{STOP_GRACE, config};

/// What the containers of a site share.
pub struct Ground<'a> {
    folder: &'a Path,
    bus: Arc<dyn Bus>,
    thread: BusThread,
}

impl<'a> Ground<'a> {
    /// A site with nobody in it; its containers' folders lie in this one.
    pub fn new(folder: &'a Path) -> Result<Self> {
        Ok(Ground { folder, bus: Arc::new(LocalBus::new()), thread: BusThread::start()? })
    }

    /// A container of this name joins.
    pub async fn join(&self, name: &str) -> Result<Member> {
        let config = config(self.folder, name)?;
        let container = Container::start(&config)?;
        let running = Running::open(&config, &Origins::new(), container, (&self.thread, &self.bus)).await?;
        let door = Client::new(&running.url(), None)?;
        Ok(Member { running, door })
    }
}

/// A container of the site.
pub struct Member {
    running: Running,
    /// What asks at its HTTP door.
    pub door: Client,
}

impl Member {
    /// Leaves in order, and ends.
    pub async fn leave(self) -> Result<()> {
        let end = Instant::now() + STOP_GRACE;
        let rest = || end.saturating_duration_since(Instant::now());
        let (container, _) = self.running.close(rest).await;
        container.stop(rest()).await.map(drop)
    }
}

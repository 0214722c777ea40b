//! Short ways to push and pull for the demo.

use std::time::Duration;

use bytes::Bytes;

use crate::actors::{Body, Handle, Pull, Push, Pushed};
use crate::error::Result;
use crate::model::{Durability, Level};

const DEADLINE: Duration = Duration::from_secs(10);

/// A container's handle with few words.
pub struct Stage {
    /// The container.
    pub handle: Handle,
}

impl Stage {
    /// A stage on this container.
    pub fn new(handle: Handle) -> Self {
        Stage { handle }
    }

    /// Pushes bytes; `None` leaves the class to the collection.
    pub async fn push(&self, address: &str, data: Bytes, durability: Option<Durability>) -> Result<Pushed> {
        let push = Push { durability, size: Some(data.len() as u64), ..Push::new(address.parse()?, DEADLINE) };
        self.handle.push(push, Body::whole(data)).await
    }

    /// Pulls an object and says where it came from.
    pub async fn pull(&self, address: &str) -> Result<(Bytes, Level)> {
        let pull = Pull::new(address.parse()?, DEADLINE);
        let pulled = self.handle.pull(pull).await?;
        Ok((pulled.body.collect().await?, pulled.level))
    }

    /// Takes an object's copy out of memory, so that the next pull reads the disk.
    pub fn forget_in_memory(&self, address: &str) -> Result<()> {
        self.handle.keeper().memory().evict_clean(&address.parse()?);
        Ok(())
    }
}

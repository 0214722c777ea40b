//! The handle's side of upkeep: scrubs, what a salvage of the store lost, keys.

use std::sync::Arc;

use super::cpu::blocking;
use super::handle::Handle;
use super::keys::{ChangeKeys, KeysView, ShowKeys};
use super::scrub::{ShowScrub, StartScrub};
use crate::error::Result;
use crate::store::{SalvageRecord, ScrubRecord};

impl Handle {
    /// How far the scrub is, and what it found before.
    pub async fn scrub(&self) -> Result<ScrubRecord> {
        self.0.doors.scrub.ask(ShowScrub).await
    }

    /// Begins a round of the scrub, unless one is under way.
    pub async fn start_scrub(&self) -> Result<ScrubRecord> {
        self.0.doors.scrub.ask(StartScrub).await
    }

    /// Which keys there are, and how far the rewrap is.
    pub async fn keys(&self) -> Result<KeysView> {
        self.0.doors.keys.ask(ShowKeys).await
    }

    /// Changes the keyring.
    pub async fn change_keys(&self, change: ChangeKeys) -> Result<KeysView> {
        self.0.doors.keys.ask(change).await
    }

    /// What a salvage of the store lost, if there was one.
    pub async fn losses(&self) -> Result<Option<SalvageRecord>> {
        let keeper = Arc::clone(&self.0.crew.keeper);
        blocking(move || keeper.disk().store().salvage_record()).await
    }

    /// Accepts those losses: what is not found does not exist. Returns how many frames were let go.
    pub async fn accept_losses(&self) -> Result<u64> {
        let keeper = Arc::clone(&self.0.crew.keeper);
        blocking(move || keeper.while_still(|| keeper.disk().accept_losses())).await
    }
}

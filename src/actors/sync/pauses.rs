//! How long is waited after a failure, for one version or for the whole cloud.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind};
use crate::limits::{SYNC_PAUSE_FIRST, SYNC_PAUSE_LONGEST, SYNC_SKIPPED_MAX};
use crate::model::Version;

/// Who waits, and until when.
#[derive(Default)]
pub(super) struct Pauses {
    all: Option<(Duration, Instant)>,
    /// Versions that cannot be sent although the cloud answers, as when their bytes are damaged.
    versions: HashMap<Version, Instant>,
}

impl Pauses {
    /// Whether the cloud is left alone for now.
    pub(super) fn all_wait(&self) -> bool {
        self.all.is_some_and(|(_, until)| Instant::now() < until)
    }

    /// The versions that are left alone for now.
    pub(super) fn waiting(&self) -> HashSet<Version> {
        let now = Instant::now();
        self.versions.iter().filter(|(_, until)| now < **until).map(|(version, _)| *version).collect()
    }

    /// The cloud answered.
    pub(super) fn went_well(&mut self) {
        if self.all.take().is_some() {
            tracing::info!("the cloud tier answers again");
        }
    }

    /// The cloud, or this version, is left alone for a while. Said once, not at each attempt.
    pub(super) fn failed(&mut self, version: Version, error: &Error) {
        let now = Instant::now();
        if matches!(error.kind(), Kind::Unavailable | Kind::Deadline | Kind::Busy) {
            let pause = match self.all {
                None => {
                    tracing::warn!(%error, "the cloud tier does not take what is owed to it; it is tried again");
                    SYNC_PAUSE_FIRST
                }
                // One round fails as one, however many of its uploads do.
                Some((pause, until)) if now < until => pause,
                Some((pause, _)) => (pause * 2).min(SYNC_PAUSE_LONGEST),
            };
            self.all = Some((pause, now + pause));
            return;
        }
        tracing::error!(%version, %error, "an object cannot be brought to the cloud; it is tried again later");
        if self.versions.len() >= SYNC_SKIPPED_MAX {
            self.versions.retain(|_, until| now < *until);
        }
        self.versions.insert(version, now + SYNC_PAUSE_LONGEST);
    }
}

//! How long is waited after a failure, for one version or for the whole cloud.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Kind};
use crate::limits::{SYNC_PAUSE_FIRST_MS, SYNC_PAUSE_LONGEST_MS, SYNC_SKIPPED_MAX};
use crate::model::Version;

/// Who waits, and until when, in wall-clock milliseconds since 1970.
#[derive(Default)]
pub(super) struct Pauses {
    /// The last pause and its end.
    all: Option<(u64, u64)>,
    /// Versions that cannot be sent although the cloud answers, as when their bytes are damaged, and why.
    versions: HashMap<Version, (u64, Option<Error>)>,
}

impl Pauses {
    /// Whether the cloud is left alone for now.
    pub(super) fn all_wait(&self, now_ms: u64) -> bool {
        self.all.is_some_and(|(_, until)| now_ms < until)
    }

    /// The versions that are left alone for now.
    pub(super) fn waiting(&self, now_ms: u64) -> HashSet<Version> {
        self.versions.iter().filter(|(_, (until, _))| now_ms < *until).map(|(version, _)| *version).collect()
    }

    /// The cloud answered.
    pub(super) fn went_well(&mut self) {
        if self.all.take().is_some() {
            tracing::info!("the cloud tier answers again");
        }
    }

    /// The cloud, or this version, is left alone for a while. Said once, not at each attempt.
    pub(super) fn failed(&mut self, now_ms: u64, version: Version, error: &Error) {
        if matches!(error.kind(), Kind::Unavailable | Kind::Deadline | Kind::Busy) {
            let pause = match self.all {
                None => {
                    tracing::warn!(%error, "the cloud tier does not take what is owed to it; it is tried again");
                    SYNC_PAUSE_FIRST_MS
                }
                // One round fails as one, however many of its uploads do.
                Some((pause, until)) if now_ms < until => pause,
                Some((pause, _)) => (pause * 2).min(SYNC_PAUSE_LONGEST_MS),
            };
            self.all = Some((pause, now_ms + pause));
            return;
        }
        tracing::error!(%version, %error, "an object cannot be brought to the cloud; it is tried again later");
        self.leave(now_ms, version, Some(error.duplicate()));
    }

    /// Why each of these versions cannot be sent that is left alone for now.
    pub(super) fn reasons(&self, now_ms: u64) -> HashMap<Version, Error> {
        let waiting = self.versions.iter().filter(|(_, (until, _))| now_ms < *until);
        waiting.filter_map(|(version, (_, why))| Some((*version, why.as_ref()?.duplicate()))).collect()
    }

    /// This version is left alone for a while.
    pub(super) fn skip(&mut self, now_ms: u64, version: Version) {
        self.leave(now_ms, version, None);
    }

    fn leave(&mut self, now_ms: u64, version: Version, why: Option<Error>) {
        if self.versions.len() >= SYNC_SKIPPED_MAX {
            self.versions.retain(|_, (until, _)| now_ms < *until);
        }
        self.versions.insert(version, (now_ms + SYNC_PAUSE_LONGEST_MS, why));
    }
}

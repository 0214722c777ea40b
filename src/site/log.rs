//! Reading the site's log: what was told while this container was away, or could not hear. Whoever told it may be
//! gone since; those who are here are asked, and need no log.
//!
//! The log may have lost what it acknowledged, or come back from an old copy. That is no matter: an entry that was
//! seen before is void, and what it lacks shows as a gap in the dots.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::hear::News;
use super::wire::Batch;
use super::{Site, locked};
use crate::bus::Logged;
use crate::error::Result;

/// Entries that are read at once.
const PAGE: usize = 64;

/// How often it is looked whether there is something to read.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What may have kept something from being heard.
#[derive(PartialEq)]
struct Misses {
    disconnects: u64,
    lost: u64,
    silent: usize,
}

/// Reads what is new, then whenever something may not have been heard.
pub(super) async fn follow(site: Site) {
    let mut before = None;
    loop {
        let now = site.misses();
        let has_gap = site.0.has_gap.load(Ordering::Acquire);
        let done = match has_gap || before.as_ref() != Some(&now) {
            true => site.read_log().await,
            false => site.skip_log(&now).await,
        };
        match done {
            Ok(()) => before = Some(now),
            Err(error) => tracing::debug!(%error, "the site's log could not be read"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Site {
    /// Takes in what the log has behind the place where this container stopped.
    async fn read_log(&self) -> Result<()> {
        let log = self.log().await?;
        let mut place = self.blocking(|keeper| keeper.log_place()).await?;
        let Some((_, last)) = log.bounds().await? else { return Ok(()) };
        if place > last {
            tracing::warn!(place, last, "the site's log is shorter than it was; it is read from its start");
            place = 0;
        }
        loop {
            let page = log.read(place, PAGE).await?;
            let Some(end) = page.last().map(|logged| logged.place) else { return Ok(()) };
            for logged in page {
                if let Some(batch) = self.batch_of(&logged)
                    && self.0.heard.send(News::Batch(batch)).await.is_err()
                {
                    return Ok(());
                }
            }
            place = end;
            // Noted behind what was handed on: after a crash some of it is read again.
            if self.0.heard.send(News::Place(place)).await.is_err() {
                return Ok(());
            }
        }
    }

    fn misses(&self) -> Misses {
        let now_ms = self.now_ms();
        Misses {
            disconnects: self.0.parts.bus.describe().disconnects,
            lost: self.0.lost.load(Ordering::Acquire),
            silent: locked(&self.0.members).silent(now_ms).count(),
        }
    }

    /// Everything up to the end of the log was heard as it was told: it need not be read again.
    async fn skip_log(&self, before: &Misses) -> Result<()> {
        let log = self.log().await?;
        let end = log.bounds().await?.map_or(0, |(_, last)| last);
        // What was there before this moment is heard by the end of the next pause, or leaves a gap.
        tokio::time::sleep(Duration::from_secs(2)).await;
        if !self.0.has_gap.load(Ordering::Acquire) && self.misses() == *before {
            let _ = self.0.heard.send(News::Place(end)).await;
        }
        Ok(())
    }

    fn batch_of(&self, logged: &Logged) -> Option<Batch> {
        let (subject, body) = (logged.message.subject.as_str(), &logged.message.body);
        if subject != self.log_subject() {
            return None;
        }
        match self.believe::<Batch>(subject, body) {
            Ok(batch) => Some(batch).filter(|batch| batch.from != self.0.me),
            Err(error) => {
                tracing::warn!(%error, place = logged.place, "an entry of the site's log is not believed");
                None
            }
        }
    }
}

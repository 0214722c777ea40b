//! Beats: saying that this container lives, and hearing it of the others.

use std::sync::atomic::Ordering;

use super::hear::News;
use super::members::{BEAT, Heard};
use super::wire::{self, Beat};
use super::{Site, locked};
use crate::bus::{Message, Subscription};
use crate::error::Result;

impl Site {
    fn beat_subject(&self) -> String {
        format!("mesh.{}.peer.beat", self.0.parts.site)
    }

    /// What this container says of itself, for this subject.
    pub(super) fn signed_beat(&self, subject: &str) -> Result<Vec<u8>> {
        let nth = self.0.beats.fetch_add(1, Ordering::Relaxed) + 1;
        let (vector, shared) = (self.keeper().vector(), self.shared_sum());
        wire::write(&self.ring(), subject, &Beat { vector, shared, ..self.own_beat(nth) })
    }

    /// The same without how far it is, which is for its own site.
    pub(super) fn own_beat(&self, nth: u64) -> Beat {
        let parts = &self.0.parts;
        let (load, takes_changes) = (parts.load)();
        Beat {
            container: self.0.me,
            incarnation: self.keeper().last_dot().incarnation,
            nth,
            sent_ms: self.now_ms(),
            name: parts.container.to_string(),
            url: parts.url.clone(),
            started_ms: self.0.started_ms,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            leaving: self.0.leaving.load(Ordering::Acquire),
            takes_changes,
            load,
            vector: Vec::new(),
            shared: 0,
            clock: self.keeper().last_version(),
        }
    }

    pub(super) async fn say_beat(&self) -> Result<()> {
        let subject = self.beat_subject();
        let beat = self.signed_beat(&subject)?;
        self.publish(&subject, beat).await
    }
}

/// Says it every second.
pub(super) async fn beat(site: Site) {
    loop {
        if let Err(error) = site.say_beat().await {
            tracing::debug!(%error, "the site does not hear that this container lives");
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Hears it of the others.
pub(super) async fn listen(site: Site, mut heard: Subscription) {
    while let Some(message) = site.next(&mut heard, "beats").await {
        if let Err(error) = site.hear_beat(message).await {
            tracing::debug!(%error, "a beat counts for nothing");
        }
    }
}

impl Site {
    async fn hear_beat(&self, message: Message) -> Result<()> {
        let beat: Beat = self.believe(message.subject.as_str(), &message.body)?;
        self.keeper().observe(beat.clock);
        let theirs = beat.shared;
        let (from, vector, name) = (beat.container, beat.vector.clone(), beat.name.clone());
        let is_mine = from == self.0.me;
        if is_mine && beat.incarnation == self.keeper().last_dot().incarnation {
            self.0.echoed_ms.fetch_max(beat.sent_ms, Ordering::AcqRel);
        }
        let outcome = locked(&self.0.members).hear(beat, self.now_ms());
        match outcome {
            Heard::Joined => {
                tracing::info!(container = %name.escape_default(), "a container of the site is here");
                self.0.others.notify_waiters();
                if let Ok(name) = name.parse() {
                    self.note_own(from, &name).await;
                }
            }
            Heard::Left => tracing::info!(container = %name.escape_default(), "a container left the site"),
            Heard::SameName => {
                // Who only asks who is there is not there yet.
                if message.reply.is_none() {
                    locked(&self.0.members).note_double();
                }
                let why = "another container of the site has this one's name; start one of them with another --name";
                tracing::error!(container = %name.escape_default(), "{why}");
            }
            Heard::Twin => {
                let why = "another process runs with this container's identity: its data folder was copied; \
                           start the copy on an empty folder";
                tracing::error!(container = %name.escape_default(), "{why}");
            }
            Heard::Again | Heard::Stale => {}
        }
        if matches!(outcome, Heard::Joined | Heard::Left) {
            let site = self.clone();
            // Who decides has changed, most likely; who asks meanwhile is told to try again.
            tokio::spawn(async move { drop(site.refresh_epoch().await) });
        }
        if matches!(outcome, Heard::Joined | Heard::Again) {
            self.0.books.hear(from, &vector);
            // Whoever takes in what is heard is busy at times; the next beat says the same.
            let _ = self.0.heard.try_send(News::Vector(from, vector));
            self.compare_shared(from, theirs);
        }
        // Who asks is answered, and by all, so that it hears of everybody.
        if let Some(reply) = message.reply.filter(|_| !is_mine) {
            self.publish(reply.as_str(), Vec::new()).await?;
            self.say_beat().await?;
        }
        Ok(())
    }
}

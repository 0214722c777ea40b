//! Voices: what each container tells all sites of the mesh every second, and hears of theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::super::members::{BEAT, Heard};
use super::super::wire::{self, Beat, Said};
use super::super::{Site, locked};
use super::call::{Answer, Call};
use super::far::Noted;
use super::hear::FarNews;
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::limits::ASK_MAX;
use crate::model::{ContainerId, Name};
use crate::nfr::said_by;
use crate::store::{Batch, FarContainer};

#[derive(Serialize, Deserialize)]
struct Voice {
    beat: Beat,
    /// Changes with the collections that the site has.
    directory: u64,
    /// Changes with the sites that it knows.
    roster: u64,
}

impl Said for Voice {
    const KIND: &'static str = "voice 1";
}

/// Says it every second, once there is somebody to hear it.
pub(super) async fn say(site: Site) {
    loop {
        if site.has_sites()
            && let Err(error) = site.say_voice().await
        {
            tracing::debug!(%error, "the other sites do not hear that this container lives");
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Hears it of the others.
pub(super) async fn listen(site: Site, mut voices: Subscription) {
    while let Some(message) = site.next(&mut voices, "voices").await {
        let subject = message.subject.as_str();
        let Some(from) = subject.rsplit('.').next().and_then(|name| name.parse::<Name>().ok()) else { continue };
        if from == site.0.parts.site {
            continue;
        }
        if let Err(error) = site.hear_voice(&from, &message).await {
            tracing::debug!(%error, %from, "a voice counts for nothing");
        }
    }
}

impl Site {
    pub(in crate::site) async fn say_voice(&self) -> Result<()> {
        let subject = format!("mesh.voice.{}", self.0.parts.site);
        let nth = self.0.voices.fetch_add(1, Ordering::Relaxed) + 1;
        let beat = Beat { vector: Vec::new(), shared: 0, ..self.own_beat(nth) };
        let voice = Voice { beat, directory: self.shown_sum(), roster: self.0.mesh.roster.sum() };
        let signed = self.0.mesh.identity.sign(&wire::purpose::<Voice>(&subject), &wire::plain(&voice)?)?;
        self.publish(&subject, signed).await
    }

    /// What a site says to all, if it is on the roster and said it itself.
    pub(super) fn said<'a, T: Said>(&self, site: &Name, subject: &str, signed: &'a [u8]) -> Result<&'a [u8]> {
        let unknown = || Error::new(Kind::Unauthorised, "this site is not one of the mesh").with("site", site);
        let said = self.0.mesh.roster.get(site).ok_or_else(unknown).and_then(|record| {
            // Looked at after the name, so that who is no site costs no check of a signature.
            said_by(&record.keys, &wire::purpose::<T>(subject), signed)
        });
        said.inspect_err(|error| self.meet_stranger(subject, error))
    }

    async fn hear_voice(&self, from: &Name, message: &Message) -> Result<()> {
        let subject = message.subject.as_str();
        let Voice { beat, directory, roster } = wire::from_plain(self.said::<Voice>(from, subject, &message.body)?)?;
        self.keeper().observe(beat.clock);
        let (container, name) = (beat.container, beat.name()?);
        let noted = locked(&self.0.mesh.far).hear(from, beat, directory, self.now_ms());
        let Some(Noted { heard, missed, is_other_directory, is_new }) = noted else {
            let error = Error::new(Kind::Unauthorised, "a site names a container that is another one's");
            self.meet_stranger(subject, &error);
            return Err(error);
        };
        match heard {
            Heard::Joined => {
                tracing::info!(site = %from, container = %name, "a container of another site is here");
                self.0.others.notify_waiters();
                // So that it need not wait for the next second to know of this one.
                self.say_voice().await?;
            }
            Heard::Left => tracing::info!(site = %from, container = %name, "a container of another site left"),
            Heard::Again | Heard::Stale | Heard::SameName | Heard::Twin => {}
        }
        if is_new {
            self.note_far(container, from, &name).await?;
        }
        if is_other_directory {
            self.fetch_directory(from.clone(), name.clone(), directory);
        }
        if roster != self.0.mesh.roster.sum() {
            self.compare_roster(from.clone(), name);
        }
        if heard == Heard::Joined || missed {
            // Whoever takes it in may have ended.
            let _ = self.0.mesh.heard.send(FarNews::Check(from.clone())).await;
        }
        Ok(())
    }

    /// Keeps of which site a container is, for when it is silent.
    async fn note_far(&self, container: ContainerId, site: &Name, name: &Name) -> Result<()> {
        let far = FarContainer { container, site: site.clone(), name: name.clone() };
        self.blocking(move |keeper| {
            let mut batch = Batch::new();
            batch.put_far_container(&far);
            keeper.disk().store().commit_lazily(&batch)
        })
        .await
    }

    /// Whoever knows other sites is asked for them, a few at a time.
    fn compare_roster(&self, site: Name, of: Name) {
        let Ok(turn) = Arc::clone(&self.0.mesh.asking).try_acquire_owned() else { return };
        let me = self.clone();
        self.spawn(async move {
            match me.call(&site, Some(&of), &Call::Roster, ASK_MAX).await {
                Ok(Answer::Roster(records)) => {
                    if let Err(error) = me.adopt_roster(records).await {
                        tracing::warn!(%error, "the sites of the mesh could not be kept");
                    }
                }
                Ok(_) => tracing::debug!(%site, "another site answers something else"),
                Err(error) => tracing::debug!(%error, %site, "the sites that another one knows could not be asked for"),
            }
            drop(turn);
        });
    }
}

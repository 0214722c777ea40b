//! Voices: what each container tells all sites of the mesh every second, or less often where there are many, and hears
//! of theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::super::members::{BEAT, Heard};
use super::super::wire::{self, Beat, Said};
use super::super::{Site, locked};
use super::call::{Answer, Call};
use super::far::{Noted, Sums};
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::limits::ASK_MAX;
use crate::model::{ContainerId, Name};
use crate::nfr::said_by;
use crate::store::{Batch, FarContainer};

/// The version of what sites say to each other, before each voice: a site that speaks another one is not heard, and one
/// says so instead of taking it for a stranger. It grows with each change of what is said between sites.
const SPOKEN: u8 = 3;

/// Voices that a site hears in a second, about: where there are more containers than this, each speaks less often.
const VOICES_PER_S: u32 = 20;

/// The longest that a container is silent.
const PERIOD_MAX: Duration = Duration::from_secs(30);

/// The part of its period in which a container says nothing after it has said something, whatever happens.
const QUIET_PART: u32 = 5;

#[derive(Serialize, Deserialize)]
struct Voice {
    beat: Beat,
    sums: Sums,
    /// When it speaks again at the latest.
    next_ms: u32,
}

impl Said for Voice {
    const KIND: &'static str = "voice 1";
}

/// Says it again and again, once there is somebody to hear it.
pub(super) async fn say(site: Site) {
    loop {
        if site.has_sites()
            && let Err(error) = site.say_voice().await
        {
            tracing::debug!(%error, "the other sites do not hear that this container lives");
        }
        let period = site.voice_period();
        let quiet = period / QUIET_PART;
        tokio::time::sleep(quiet).await;
        // Whoever came a moment ago need not wait until then.
        let _ = timeout(period - quiet, site.0.mesh.heard_of.notified()).await;
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
        let sums = Sums {
            directory: self.shown_sum(),
            roster: self.0.mesh.roster.sum(),
            policies: self.0.parts.policies.sum(),
            chains: self.chains_begun(),
        };
        let next_ms = self.voice_period().as_millis() as u32;
        let voice = Voice { beat: self.own_beat(nth), sums, next_ms };
        let signed = self.0.mesh.identity.sign(&wire::purpose::<Voice>(&subject), &wire::plain(&voice)?)?;
        self.publish(&subject, [&[SPOKEN], &signed[..]].concat()).await
    }

    /// How often each container speaks: so that with many of them nobody hears more than with a few.
    fn voice_period(&self) -> Duration {
        let now_ms = self.now_ms();
        let own = locked(&self.0.members).alive(now_ms).count() + 1;
        let all = own + locked(&self.0.mesh.far).count_alive(now_ms);
        (BEAT * all.min(u32::MAX as usize) as u32 / VOICES_PER_S).clamp(BEAT, PERIOD_MAX)
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
        let said = match message.body.split_first() {
            Some((&SPOKEN, said)) => said,
            other => return Err(self.hear_another_tongue(from, subject, other.map_or(0, |(spoken, _)| *spoken))),
        };
        let Voice { beat, sums, next_ms } = wire::from_plain(self.said::<Voice>(from, subject, said)?)?;
        self.keeper().observe(beat.clock);
        let (container, name) = (beat.container, beat.name()?);
        let period = Duration::from_millis(u64::from(next_ms)).clamp(BEAT, PERIOD_MAX);
        let noted = match self.is_own(container) {
            true => None,
            false => locked(&self.0.mesh.far).hear(from, beat, (sums, period.as_millis() as u64), self.now_ms()),
        };
        let Some(Noted { heard, missed, is_other_directory, is_new }) = noted else {
            let error = Error::new(Kind::Unauthorised, "a site names a container that is another one's");
            self.meet_stranger(subject, &error);
            return Err(error);
        };
        match heard {
            Heard::Joined => {
                tracing::info!(site = %from, container = %name, "a container of another site is here");
                self.0.others.notify_waiters();
                self.0.mesh.heard_of.notify_one();
            }
            Heard::Left => tracing::info!(site = %from, container = %name, "a container of another site left"),
            Heard::Again | Heard::Stale | Heard::SameName | Heard::Twin => {}
        }
        if is_new {
            self.note_far(container, from, &name).await?;
        }
        if is_other_directory {
            self.fetch_directory(from.clone(), name.clone(), sums.directory);
        }
        if sums.roster != self.0.mesh.roster.sum() {
            self.compare_roster(from.clone(), name.clone());
        }
        if heard != Heard::Stale {
            self.compare_policies(from, name, sums.policies);
        }
        if heard == Heard::Joined || missed {
            self.want(|wanted| wanted.sites.extend([from.clone()]));
        }
        Ok(())
    }

    /// It may be what a newer or older version says, so it is said what to look into; it proves nothing.
    fn hear_another_tongue(&self, from: &Name, subject: &str, spoken: u8) -> Error {
        if self.0.mesh.roster.get(from).is_some() {
            locked(&self.0.mesh.far).speaks(from, spoken);
        }
        let why = "a site speaks another version of the mesh than this one, and is not heard; run one version at both";
        let error = Error::new(Kind::Unimplemented, why).with("site", from).with("spoken", spoken).with("here", SPOKEN);
        self.meet_stranger(subject, &error);
        error
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

    /// Whoever knows other sites is asked for them, one at a time.
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

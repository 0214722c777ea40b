//! The scrub actor: reads every sealed byte now and then, at a set pace, and has damage taken out.
//!
//! Owns: the round under way, and what is remembered of those before. Asked by: handle, clockwork. Asks: nfr,
//! disk. Bound: `ACTOR_QUEUE_MAX`; callers wait. A new life goes on from what was last written down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cpu::blocking;
use super::heal::Healer;
use super::nfr::{HandOutStages, Stages, opener};
use super::runtime::{Answer, Ask, Serves};
use crate::error::{Error, Kind, Result};
use crate::limits::{SCRUB_IDLE_POLL, SCRUB_PAUSE_LEAST, SCRUB_SAVE_MS, SCRUB_STRETCH_MAX};
use crate::model::{Address, Level, Manifest};
use crate::store::{Batch, ScrubRecord, ScrubRound, WalkStretch};
use crate::tiers::{Keeper, Source};

/// How the scrub goes about it.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// Sealed bytes read in a second.
    pub bytes_per_s: u64,
    /// The rest between two rounds; `None` when only what is asked for is done.
    pub every: Option<Duration>,
}

/// The actor.
pub struct ScrubActor {
    scrubber: Arc<Scrubber>,
}

/// Begin a round now, unless one is under way.
pub struct StartScrub;

impl Ask for StartScrub {
    type Reply = ScrubRecord;
}

/// Say how far it is and what was found before.
pub struct ShowScrub;

impl Ask for ShowScrub {
    type Reply = ScrubRecord;
}

/// Check what comes next, if it is time. The answer says when to ask again.
pub struct CheckNext;

impl Ask for CheckNext {
    type Reply = Duration;
}

/// What a life of the actor works with.
pub struct Scrubber {
    keeper: Arc<Keeper>,
    healer: Healer,
    options: ScrubOptions,
    /// Held by the one who checks.
    turn: tokio::sync::Mutex<Pace>,
    /// `None` until it was read from the store.
    state: Mutex<Option<ScrubRecord>>,
    /// Set when the container ends, so that a large object does not hold it up.
    ending: Arc<AtomicBool>,
}

impl ScrubActor {
    /// An actor over these tiers.
    pub fn new(keeper: Arc<Keeper>, healer: Healer, options: ScrubOptions, ending: Arc<AtomicBool>) -> Self {
        let turn =
            tokio::sync::Mutex::new(Pace { bytes_per_s: options.bytes_per_s, owed: Duration::ZERO, saved_ms: 0 });
        let state = Mutex::default();
        ScrubActor { scrubber: Arc::new(Scrubber { keeper, healer, options, turn, state, ending }) }
    }
}

impl Serves<StartScrub> for ScrubActor {
    fn serve(&mut self, StartScrub: StartScrub) -> Answer<ScrubRecord> {
        let me = Arc::clone(&self.scrubber);
        Answer::later(async move {
            me.load().await?;
            let now_ms = me.keeper.now_ms();
            me.change(|record| record.begin(now_ms, true));
            me.save().await?;
            Ok(me.record())
        })
    }
}

impl Serves<ShowScrub> for ScrubActor {
    fn serve(&mut self, ShowScrub: ShowScrub) -> Answer<ScrubRecord> {
        let me = Arc::clone(&self.scrubber);
        Answer::later(async move {
            me.load().await?;
            Ok(me.record())
        })
    }
}

impl Serves<CheckNext> for ScrubActor {
    fn serve(&mut self, CheckNext: CheckNext) -> Answer<Duration> {
        Answer::later(Arc::clone(&self.scrubber).check_next())
    }
}

impl Scrubber {
    async fn check_next(self: Arc<Self>) -> Result<Duration> {
        let mut pace = self.turn.lock().await;
        self.load().await?;
        if !self.is_due() || self.is_ending() {
            return Ok(SCRUB_IDLE_POLL);
        }
        let stages = self.healer.nfr.ask(HandOutStages).await?;
        let (keeper, place) = (Arc::clone(&self.keeper), self.record().place);
        let found = blocking(move || keeper.disk().store().walk(place.as_ref(), SCRUB_STRETCH_MAX)).await?;
        let WalkStretch { found, damaged, next } = found;
        for row in damaged {
            tracing::error!(%row, "a record of the store fails its check");
            self.note(|round| round.damaged += 1);
        }
        for (place, address, manifest) in found {
            self.check(&stages, &address, manifest, &mut pace).await;
            if self.is_ending() {
                return Ok(SCRUB_IDLE_POLL);
            }
            self.change(|record| record.place = Some(place));
            // What is checked again after a crash costs less than a commit for every object.
            if self.keeper.now_ms().abs_diff(pace.saved_ms) >= SCRUB_SAVE_MS {
                self.save().await?;
                pace.saved_ms = self.keeper.now_ms();
            }
        }
        let now_ms = self.keeper.now_ms();
        self.change(|record| match next {
            Some(place) => record.place = Some(place),
            None => record.end(now_ms),
        });
        let record = self.record();
        if record.round.is_some() {
            return Ok(Duration::ZERO);
        }
        self.save().await?;
        if let Some(round) = record.history.first() {
            tracing::info!(objects = round.objects, bytes = round.bytes, damaged = round.damaged, "the scrub is done");
        }
        Ok(SCRUB_IDLE_POLL)
    }

    /// Checks one version of one object.
    async fn check(&self, stages: &Arc<Stages>, address: &Address, manifest: Manifest, pace: &mut Pace) {
        let manifest = Arc::new(manifest);
        match self.read(stages, address, &manifest, pace).await {
            Ok(()) => self.note(|round| round.objects += 1),
            // Replaced while it was looked at: its place is taken by something newer.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) if error.kind() == Kind::Corrupt => {
                let known = manifest.seal.as_ref().is_some_and(|seal| self.keeper.disk().is_quarantined(seal.frame));
                let healed = self.healer.take_out(address, &manifest, &error).await;
                self.note(|round| {
                    round.objects += 1;
                    round.damaged += u64::from(!known);
                    round.healed += u64::from(healed);
                });
            }
            Err(error) => {
                tracing::warn!(%address, %error, "the scrub could not check an object");
                self.note(|round| {
                    round.unreadable += 1;
                    round.last_error = Some(error.with("address", address).to_string());
                });
            }
        }
    }

    async fn read(
        &self,
        stages: &Arc<Stages>,
        address: &Address,
        manifest: &Arc<Manifest>,
        pace: &mut Pace,
    ) -> Result<()> {
        let (keeper, looked_up, wanted) = (Arc::clone(&self.keeper), address.clone(), Arc::clone(manifest));
        if manifest.level() == Level::Cloud {
            // Of what the cloud alone holds there is nothing to check here.
            return Ok(());
        }
        let frame = blocking(move || {
            let seal = wanted.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame"))?;
            keeper.disk().reader(&looked_up, wanted.version, seal)
        });
        let frame: Arc<dyn Source> = Arc::new(frame.await?);
        let opened = opener(Arc::clone(stages), address.clone(), Arc::clone(manifest), frame.clone()).await?;
        let mut counted = 0;
        for index in 0..opened.chunks() {
            if self.is_ending() {
                return Err(Error::unavailable("the container ends"));
            }
            let (opened, frame) = (Arc::clone(&opened), Arc::clone(&frame));
            let extent = opened.extent(index);
            let bytes = extent.end - extent.start;
            stages.cpu.wait(move || opened.open_buffer(index, frame.load(extent)?)).await?;
            self.note(|round| round.bytes += bytes);
            counted += bytes;
            pace.keep(bytes).await;
        }
        // Header, footer and trailer.
        let rest = manifest.seal.as_ref().map_or(0, |seal| seal.bytes.saturating_sub(counted));
        self.note(|round| round.bytes += rest);
        pace.keep(rest).await;
        Ok(())
    }

    /// Begins a round when its time has come; says whether one is under way.
    fn is_due(&self) -> bool {
        let now_ms = self.keeper.now_ms();
        self.change(|record| {
            let rested = Duration::from_millis(now_ms.saturating_sub(record.rested_since()));
            if record.round.is_none() && self.options.every.is_some_and(|every| rested >= every) {
                record.begin(now_ms, false);
            }
            record.round.is_some()
        })
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    async fn load(&self) -> Result<()> {
        if self.state().is_some() {
            return Ok(());
        }
        let keeper = Arc::clone(&self.keeper);
        let found = blocking(move || keeper.disk().store().scrub_record()).await?;
        let fresh = found.is_none();
        let found = found.unwrap_or(ScrubRecord { since_ms: self.keeper.now_ms(), ..ScrubRecord::default() });
        self.state().get_or_insert(found);
        // The wait for the first round goes on over restarts.
        if fresh { self.save().await } else { Ok(()) }
    }

    async fn save(&self) -> Result<()> {
        let (keeper, record) = (Arc::clone(&self.keeper), self.record());
        blocking(move || {
            let mut batch = Batch::new();
            batch.put_scrub(&record);
            keeper.disk().store().commit(&batch)
        })
        .await
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Option<ScrubRecord>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> ScrubRecord {
        self.state().clone().unwrap_or_default()
    }

    fn change<T>(&self, change: impl FnOnce(&mut ScrubRecord) -> T) -> T {
        change(self.state().get_or_insert_default())
    }

    fn note(&self, note: impl FnOnce(&mut ScrubRound)) {
        self.change(|record| {
            if let Some(round) = &mut record.round {
                note(round);
            }
        });
    }
}

/// Waits so that no more is read in a second than was set.
struct Pace {
    bytes_per_s: u64,
    owed: Duration,
    /// When it was last written down how far the scrub is.
    saved_ms: u64,
}

impl Pace {
    async fn keep(&mut self, bytes: u64) {
        self.owed += Duration::from_secs_f64(bytes as f64 / self.bytes_per_s.max(1) as f64);
        if self.owed >= SCRUB_PAUSE_LEAST {
            tokio::time::sleep(std::mem::take(&mut self.owed)).await;
        }
    }
}

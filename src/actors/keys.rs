//! The keys actor: makes new keys, lets another one wrap, and has every data key wrapped anew after that.
//!
//! Owns: the way to the keyring's file, and the rewrap under way. Asked by: handle, clockwork. Asks: nfr
//! (which holds the ring that is in use), sync (which tells the cloud). Bound: `ACTOR_QUEUE_MAX`; callers
//! wait. A new life goes on from what was last written down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cpu::blocking;
use super::nfr::{HandOutStages, NfrActor, Rekey, Stages};
use super::runtime::{Answer, Ask, Link, Serves};
use super::sync::{SyncActor, TakeRewrapped};
use crate::control::KeyFile;
use crate::error::{Error, Result};
use crate::limits::{KEYS_LOOK_PERIOD, REWRAP_PAUSE, REWRAP_STRETCH_MAX};
use crate::model::{Address, KeyId, Manifest};
use crate::nfr;
use crate::store::{Batch, RewrapRecord, WalkStretch};
use crate::tiers::{Keeper, Rewrapped};

/// The actor.
pub struct KeysActor {
    keys: Arc<Keys>,
}

/// What is known of the keys: never a key itself.
#[derive(Clone, Debug)]
pub struct KeysView {
    /// The key that wraps.
    pub active: KeyId,
    /// Every key, in the order in which they came.
    pub ids: Vec<KeyId>,
    /// The last rewrap, if there ever was one.
    pub rewrap: Option<RewrapRecord>,
}

/// Say which keys there are, and how far the rewrap is.
pub struct ShowKeys;

impl Ask for ShowKeys {
    type Reply = KeysView;
}

/// What is to become of the keyring.
#[derive(Clone, Copy, Debug)]
pub enum ChangeKeys {
    /// A new key comes in; it wraps nothing yet.
    Create,
    /// Another key wraps from here on: this one, or a new one.
    Rotate(Option<KeyId>),
}

impl Ask for ChangeKeys {
    type Reply = KeysView;
}

/// Wrap anew what comes next, if there is anything. The answer says when to ask again.
pub struct RewrapNext;

impl Ask for RewrapNext {
    type Reply = Duration;
}

/// What a life of the actor works with.
pub struct Keys {
    keeper: Arc<Keeper>,
    file: KeyFile,
    nfr: Link<NfrActor>,
    sync: Link<SyncActor>,
    /// Held by the one who changes keys or wraps.
    turn: tokio::sync::Mutex<()>,
    /// The outer `None` until it was read from the store.
    state: Mutex<Option<Option<RewrapRecord>>>,
}

impl Keys {
    /// The keys of this file, in use by these actors.
    pub fn new(keeper: Arc<Keeper>, file: KeyFile, nfr: Link<NfrActor>, sync: Link<SyncActor>) -> Arc<Self> {
        Arc::new(Keys { keeper, file, nfr, sync, turn: tokio::sync::Mutex::default(), state: Mutex::default() })
    }

    async fn view(&self) -> Result<KeysView> {
        let ring = self.nfr.ask(HandOutStages).await?.keyring();
        self.load().await?;
        Ok(KeysView { active: ring.active(), ids: ring.ids().collect(), rewrap: self.record() })
    }

    async fn change(self: Arc<Self>, change: ChangeKeys) -> Result<KeysView> {
        let _turn = self.turn.lock().await;
        let (me, stages) = (Arc::clone(&self), self.nfr.ask(HandOutStages).await?);
        let changed = blocking(move || {
            me.file.change(|ring| match change {
                _ if !ring.covers(&stages.keyring()) => Err(missing_keys()),
                ChangeKeys::Create => ring.add(&*stages.rng),
                ChangeKeys::Rotate(to) => {
                    let key = to.map_or_else(|| ring.add(&*stages.rng), Ok)?;
                    ring.activate(key).map(|()| key)
                }
            })
        });
        let (ring, key) = changed.await?;
        tracing::info!(%key, active = %ring.active(), "the keyring was changed; keep a copy of it");
        self.nfr.ask(Rekey(ring)).await?;
        self.view().await
    }

    /// Takes over what somebody else wrote into the keyring's file.
    async fn look(self: &Arc<Self>, stages: &Stages) -> Result<()> {
        let me = Arc::clone(self);
        let kept = "the keyring's file changed and cannot be used; the keys before go on";
        match blocking(move || me.file.changed()).await {
            Ok(None) => {}
            // Keys that are in use must not go: what they wrapped could not be opened any more.
            Ok(Some(ring)) if !ring.covers(&stages.keyring()) => {
                tracing::error!(error = %missing_keys(), path = %self.file.path().display(), "{kept}");
            }
            Ok(Some(ring)) => {
                tracing::info!(keys = ring.ids().len(), active = %ring.active(), "the keyring was read again");
                self.nfr.ask(Rekey(ring)).await?;
            }
            Err(error) => tracing::error!(%error, "{kept}"),
        }
        Ok(())
    }

    async fn next(self: Arc<Self>) -> Result<Duration> {
        let _turn = self.turn.lock().await;
        let stages = self.nfr.ask(HandOutStages).await?;
        self.look(&stages).await?;
        self.load().await?;
        let Some(mut record) = self.due(&stages) else { return Ok(KEYS_LOOK_PERIOD) };
        let (keeper, place) = (Arc::clone(&self.keeper), record.place.clone());
        let WalkStretch { found, next, .. } =
            blocking(move || keeper.disk().store().walk(place.as_ref(), REWRAP_STRETCH_MAX)).await?;
        let wrapped = blocking(move || Ok(found.iter().filter_map(|(_, at, it)| wrap(&stages, at, it)).collect()));
        let wrapped: Vec<Result<Rewrapped>> = wrapped.await?;
        let mut keys = Vec::with_capacity(wrapped.len());
        for outcome in wrapped {
            match outcome {
                Ok(rewrapped) => keys.push(rewrapped),
                Err(error) => {
                    tracing::warn!(%error, "a data key cannot be wrapped anew");
                    record.failed += 1;
                    record.last_error = Some(error.to_string());
                }
            }
        }
        let done = if keys.is_empty() { 0 } else { self.sync.ask(TakeRewrapped(keys)).await? as u64 };
        record.rewrapped += done;
        record.this_walk += done;
        record.walked(next, self.keeper.now_ms());
        self.save(record.clone()).await?;
        if record.ended_ms.is_none() {
            return Ok(REWRAP_PAUSE);
        }
        tracing::info!(key = %record.key, rewrapped = record.rewrapped, failed = record.failed, "the rewrap is done");
        Ok(KEYS_LOOK_PERIOD)
    }

    /// The rewrap that is to go on, if there is one: it begins when another key wraps than the last time.
    fn due(&self, stages: &Stages) -> Option<RewrapRecord> {
        let ring = stages.keyring();
        match self.record() {
            Some(record) if record.key == ring.active() => Some(record).filter(|record| record.ended_ms.is_none()),
            // A lone key wrapped all there is.
            None if ring.ids().len() == 1 => None,
            _ => Some(RewrapRecord::begin(ring.active(), self.keeper.now_ms())),
        }
    }

    async fn load(&self) -> Result<()> {
        if self.state().is_some() {
            return Ok(());
        }
        let keeper = Arc::clone(&self.keeper);
        let found = blocking(move || keeper.disk().store().rewrap_record()).await?;
        self.state().get_or_insert(found);
        Ok(())
    }

    async fn save(&self, record: RewrapRecord) -> Result<()> {
        let (keeper, written) = (Arc::clone(&self.keeper), record.clone());
        blocking(move || {
            let mut batch = Batch::new();
            batch.put_rewrap(&written);
            keeper.disk().store().commit(&batch)
        })
        .await?;
        *self.state() = Some(Some(record));
        Ok(())
    }

    fn record(&self) -> Option<RewrapRecord> {
        self.state().clone().flatten()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Option<Option<RewrapRecord>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing_keys() -> Error {
    Error::invalid("keys that are in use are missing in the keyring's file; put them back with `meshstore key import`")
}

/// The data key of one version, wrapped anew; nothing when the active key wraps it already, or none does.
fn wrap(stages: &Stages, address: &Address, manifest: &Manifest) -> Option<Result<Rewrapped>> {
    let seal = manifest.seal.as_ref()?;
    let old = seal.key.as_ref()?;
    let binding = nfr::binding(address, manifest.version, manifest.size, seal);
    let new = stages.keyring().rewrap(&*stages.rng, old, &binding).transpose()?;
    let (address, version) = (address.clone(), manifest.version);
    Some(match new {
        Ok(new) => Ok(Rewrapped { address, version, old: old.clone(), new }),
        Err(error) => Err(error.with("address", address).with("version", version)),
    })
}

impl KeysActor {
    /// A life that works with these.
    pub fn new(keys: Arc<Keys>) -> Self {
        KeysActor { keys }
    }
}

impl Serves<ShowKeys> for KeysActor {
    fn serve(&mut self, ShowKeys: ShowKeys) -> Answer<KeysView> {
        let me = Arc::clone(&self.keys);
        Answer::later(async move { me.view().await })
    }
}

impl Serves<ChangeKeys> for KeysActor {
    fn serve(&mut self, change: ChangeKeys) -> Answer<KeysView> {
        Answer::later(Arc::clone(&self.keys).change(change))
    }
}

impl Serves<RewrapNext> for KeysActor {
    fn serve(&mut self, RewrapNext: RewrapNext) -> Answer<Duration> {
        Answer::later(Arc::clone(&self.keys).next())
    }
}

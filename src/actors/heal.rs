//! Damage on disk: put aside before it is reported, and replaced where another copy of the bytes is.

use std::sync::Arc;

use super::cpu::blocking;
use super::disk::{DiskActor, Persist, Quarantine};
use super::nfr::{HandOutStages, NfrActor, seal_chunks};
use super::runtime::Link;
use crate::error::{Error, Result};
use crate::model::{Address, Manifest};
use crate::tiers::{Change, CloudTier, Job, Keeper, Outcome};

/// What damage is dealt with through.
#[derive(Clone)]
pub struct Healer {
    pub(super) keeper: Arc<Keeper>,
    pub(super) disk: Link<DiskActor>,
    pub(super) nfr: Link<NfrActor>,
    pub(super) cloud: Option<CloudTier>,
}

impl Healer {
    /// Puts a copy aside that failed its check, and replaces it where another one is known. Returns whether
    /// the object can be read again.
    pub async fn take_out(&self, address: &Address, manifest: &Manifest, why: &Error) -> bool {
        let Some(seal) = &manifest.seal else { return false };
        let (address, version, frame) = (address.clone(), manifest.version, seal.frame);
        let aside = Quarantine { address: address.clone(), version, frame, why: why.duplicate() };
        if let Err(error) = self.disk.ask(aside).await {
            tracing::error!(%address, %error, "cannot quarantine a damaged object");
            return false;
        }
        match self.replace(&address, manifest).await {
            Ok(healed) => {
                if healed {
                    tracing::info!(%address, %version, "a damaged object was replaced from another copy");
                }
                healed
            }
            Err(error) => {
                tracing::warn!(%address, %error, "a damaged object could not be replaced from another copy");
                false
            }
        }
    }

    /// Asks one source of other copies after the other.
    async fn replace(&self, address: &Address, manifest: &Manifest) -> Result<bool> {
        Ok(self.by_cloud(address, manifest).await? || self.by_memory(address, manifest).await?)
    }

    /// The cloud may have the very frame: then the disk gives its copy up.
    async fn by_cloud(&self, address: &Address, manifest: &Manifest) -> Result<bool> {
        let Some(cloud) = self.cloud.clone() else { return Ok(false) };
        let (keeper, address, manifest) = (Arc::clone(&self.keeper), address.clone(), manifest.clone());
        blocking(move || {
            let Some((seal, receipt)) = manifest.seal.as_ref().and_then(|seal| Some((seal, seal.rest.receipt()?)))
            else {
                return Ok(false);
            };
            if cloud.check(seal.frame, receipt)? {
                return Ok(!keeper.release(&[(address, manifest.version)])?.is_empty());
            }
            keeper.owe_again(&address, manifest.version)?;
            Ok(false)
        })
        .await
    }

    /// Memory may still show the very version: it is sealed anew.
    async fn by_memory(&self, address: &Address, manifest: &Manifest) -> Result<bool> {
        let resident = self.keeper.memory().peek(address);
        let Some(resident) = resident.filter(|resident| resident.manifest.version == manifest.version) else {
            return Ok(false);
        };
        let stages = self.nfr.ask(HandOutStages).await?;
        let sealed = seal_chunks(stages, self.keeper.disk(), manifest.nfr, &resident.chunks).await?;
        let mut seal = sealed.seal.clone();
        seal.key = (sealed.binding())(address, manifest.version, manifest.size, &seal)?;
        let mended = Box::new(Manifest { seal: Some(seal), ..manifest.clone() });
        let change = Change::Mend { manifest: mended, frame: sealed.frame };
        let outcome =
            self.disk.ask(Persist(Job { address: address.clone(), change, show: None, decision: None })).await?;
        Ok(matches!(outcome, Outcome::Mended))
    }
}

//! A data key is wrapped anew: the record changes, the sealed bytes do not.

use super::Plan;
use crate::error::Result;
use crate::model::{Address, Head, Manifest, Seal, Version, WrappedKey};

/// A data key that was wrapped anew, and what it opens.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// The object.
    pub address: Address,
    /// Its version.
    pub version: Version,
    /// What the record says so far.
    pub old: WrappedKey,
    /// What it is to say.
    pub new: WrappedKey,
}

impl Plan<'_> {
    /// Takes a data key that was wrapped anew into the record of its version, whether or not that is the
    /// newest. Returns whether it did: the record may have changed or gone meanwhile.
    pub fn rewrap(&mut self, Rewrapped { address, version, old, new }: &Rewrapped) -> Result<bool> {
        let renew = |manifest: &mut Manifest| match &mut manifest.seal {
            Some(Seal { key: Some(key), .. }) if key == old => {
                *key = new.clone();
                true
            }
            _ => false,
        };
        if let Some(Head::Object(mut manifest)) = self.head(address)?
            && manifest.version == *version
        {
            let renewed = renew(&mut manifest);
            if renewed {
                self.put_head(address, Head::Object(manifest));
            }
            return Ok(renewed);
        }
        let Some(mut manifest) = self.disk.store.old_version(address, *version)? else { return Ok(false) };
        let renewed = renew(&mut manifest);
        if renewed {
            self.batch.retain_version(address, &manifest);
        }
        Ok(renewed)
    }
}

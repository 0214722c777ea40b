//! What other containers of the site keep: entries in the place of heads, never bytes.

use std::sync::atomic::Ordering;

use super::{DiskTier, Plan};
use crate::error::{Kind, Result};
use crate::model::{Address, Entry, Head};
use crate::store::Ending;

impl DiskTier {
    /// What another container keeps at an address. A container that never heard of others does not look.
    pub fn entry(&self, address: &Address) -> Result<Option<Entry>> {
        if !self.others.load(Ordering::Acquire) {
            return Ok(None);
        }
        match self.store.entry(address) {
            // It holds nothing up: the others can be asked for it again.
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(%address, %error, "what another container keeps is not known any more");
                Ok(None)
            }
            entry => entry,
        }
    }

    /// Whether anything of another container's is known.
    pub fn knows_others(&self) -> bool {
        self.others.load(Ordering::Acquire)
    }
}

impl Plan<'_> {
    /// What another container will be known to keep at an address once the changes so far are committed.
    pub fn entry(&mut self, address: &Address) -> Result<Option<Entry>> {
        if let Some(entry) = self.others.get(address) {
            return Ok(entry.clone());
        }
        let entry = self.disk.entry(address)?;
        // There are none at all where nobody shares the site: no need to remember that for each address.
        if self.disk.knows_others() {
            self.others.insert(address.clone(), entry.clone());
        }
        Ok(entry)
    }

    /// Another container keeps the newest version: what is here is let go, as if it had been replaced here.
    pub fn learn(&mut self, address: &Address, entry: Entry, keep_until: Option<u64>, forget_at: u64) -> Result<()> {
        if self.head(address)?.is_some() {
            let _ = self.let_go(address, keep_until, true)?;
            self.batch.remove_head(address);
            self.heads.insert(address.clone(), None);
        }
        if let Head::Deleted(tombstone) = &entry.head {
            self.batch.end_at(forget_at, &Ending::Tombstone(address.clone(), tombstone.version));
        }
        self.batch.put_entry(address, &entry);
        self.others.insert(address.clone(), Some(entry));
        self.disk.others.store(true, Ordering::Release);
        Ok(())
    }

    /// What is known of another container's at this address is of no use any more.
    pub fn forget_entry(&mut self, address: &Address) -> Result<()> {
        if self.entry(address)?.is_some() {
            self.batch.remove_entry(address);
            self.others.insert(address.clone(), None);
        }
        Ok(())
    }
}

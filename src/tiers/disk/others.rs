//! What other containers of the site keep: entries in the place of heads, never bytes.

use std::sync::atomic::Ordering;

use super::{DiskTier, Plan};
use crate::error::{Kind, Result};
use crate::model::{Address, Entry, Head, Rest};
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

    /// Another container has taken over the very version that is kept here. What is here stays readable for those who
    /// are in the middle of it; what the cloud has of it may be that one's now, and stays.
    pub fn give_over(&mut self, address: &Address, entry: Entry, keep_until: u64) -> Result<()> {
        if let Some(Head::Object(mut own)) = self.head(address)? {
            self.owe_elsewhere(address, &own)?;
            if let Some(seal) = own.seal.as_mut().filter(|seal| seal.rest.on_disk()) {
                seal.rest = Rest::Disk;
                self.batch.retain_version(address, &own);
                self.batch.end_at(keep_until, &Ending::Version(address.clone(), own.version));
            }
        }
        self.batch.remove_head(address);
        self.heads.insert(address.clone(), None);
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

//! The handle's side of what is owed to the cloud: what doors may ask and set going.

use std::sync::Arc;
use std::time::Duration;

use super::cpu::blocking;
use super::handle::Handle;
use super::push::within;
use super::release::Which;
use super::sync::{EvictDisk, Flush};
use crate::error::{Error, Result};
use crate::limits::LIST_LIMIT_MAX;
use crate::model::{Usage, Version};
use crate::store::Owed;

/// What is asked about owed work.
#[derive(Clone, Debug)]
pub struct OwedQuery {
    /// Of which objects.
    pub which: Which,
    /// Behind this version.
    pub after: Option<Version>,
    /// So many at most.
    pub limit: usize,
}

/// A page of what the cloud is still to get, oldest first.
#[derive(Clone, Debug)]
pub struct OwedPage {
    /// Versions and what is owed for them.
    pub items: Vec<(Version, Owed)>,
    /// Where the next page starts, if there is one.
    pub next: Option<Version>,
}

impl Handle {
    /// Refuses a question about a collection that is not there: a slip must not look like nothing to do.
    pub(super) fn check_known(&self, which: &Which) -> Result<()> {
        let name = match which {
            Which::Object(address) => address.collection(),
            Which::Collection(name) => name.as_str(),
            Which::Any => return Ok(()),
        };
        match self.0.crew.collections.get(name) {
            Ok(None) => Err(Error::not_found("there is no such collection").with("collection", name)),
            // What a damaged policy asks for is of no interest here.
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    /// A page of what the cloud is still to get.
    pub async fn owed(&self, OwedQuery { which, after, limit }: OwedQuery) -> Result<OwedPage> {
        if !(1..=LIST_LIMIT_MAX).contains(&limit) {
            return Err(Error::invalid("a page holds 1 to 1000 entries").with("limit", limit));
        }
        self.check_known(&which)?;
        let keeper = Arc::clone(&self.0.crew.keeper);
        blocking(move || {
            // One object owes one thing at most: its newest version.
            let mut items = match &which {
                Which::Object(address) => keeper.owed_at(address)?.into_iter().collect(),
                _ => keeper.disk().store().owed_page(after, limit + 1, &|_, owed| which.fits(&owed.address))?,
            };
            let more = items.len() > limit;
            items.truncate(limit);
            let next = items.last().map(|(version, _)| *version).filter(|_| more);
            Ok(OwedPage { items, next })
        })
        .await
    }

    /// Pays what is owed now. Answers with what the cloud got, and what is still owed.
    pub async fn flush(&self, which: Which, deadline: Duration) -> Result<(Usage, Usage)> {
        self.check_known(&which)?;
        let flush = self.0.crew.sync.ask(Flush(which));
        let paid = within(deadline, "not all could be sent in time; it stays owed", flush).await?;
        Ok((paid, self.0.crew.keeper.holding().owed))
    }

    /// Lets the disk go of objects, once the cloud has them.
    pub async fn evict_disk(&self, which: Which, bytes: Option<u64>, deadline: Duration) -> Result<Usage> {
        self.check_known(&which)?;
        self.0.crew.may_evict(&which)?;
        let evict = self.0.crew.sync.ask(EvictDisk { which, bytes });
        within(deadline, "the disk could not be emptied in time; it goes on", evict).await
    }

    /// Level 3, if the container has one, with what it holds.
    pub fn cloud_holds(&self) -> Option<Usage> {
        self.0.crew.cloud.as_ref().map(|_| self.0.crew.keeper.holding().cloud)
    }

    /// Sealed bytes that the disk should hold at most.
    pub fn disk_budget(&self) -> u64 {
        self.0.crew.disk_budget
    }
}

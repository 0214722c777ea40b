//! The handle's side of collections: what doors ask about policies, and what their objects come to.

use std::sync::Arc;

use super::cpu::blocking;
use super::handle::Handle;
use crate::control::Collection;
use crate::error::Result;
use crate::limits::REQUEST_DEADLINE_DEFAULT;
use crate::model::{CollectionPolicy, Name, Usage};

/// A collection and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionView {
    /// The collection.
    pub collection: Arc<Collection>,
    /// Its current objects.
    pub usage: Usage,
}

impl Handle {
    /// A collection and what it holds.
    pub fn collection(&self, name: &Name) -> Result<CollectionView> {
        Ok(self.view(self.0.crew.collections.need(name)?))
    }

    /// Every collection, by name.
    pub fn collections(&self) -> Vec<CollectionView> {
        self.0.crew.collections.list().into_iter().map(|collection| self.view(collection)).collect()
    }

    /// Sets a collection's policy; `expected` names the revision it replaces, 0 for none. Says whether the
    /// collection is new.
    pub async fn put_collection(
        &self,
        name: Name,
        policy: CollectionPolicy,
        expected: Option<u64>,
    ) -> Result<(CollectionView, bool)> {
        let _permits = self.permits_to_change(0, REQUEST_DEADLINE_DEFAULT).await?;
        let collections = Arc::clone(&self.0.crew.collections);
        let (collection, created) = blocking(move || collections.put(&name, policy, expected)).await?;
        Ok((self.view(collection), created))
    }

    /// Removes an empty collection. Says whether there was one.
    pub async fn remove_collection(&self, name: Name, expected: Option<u64>) -> Result<bool> {
        let _permits = self.permits_to_change(0, REQUEST_DEADLINE_DEFAULT).await?;
        let (collections, keeper) = (Arc::clone(&self.0.crew.collections), Arc::clone(&self.0.crew.keeper));
        blocking(move || {
            // Objects that have ended no longer count, also where nobody has cleared them away yet.
            while keeper.sweep()?.more {}
            // No commit runs meanwhile, so nothing is stored into a collection that is on its way out.
            keeper.while_still(|| {
                let is_empty = || Ok(keeper.usage_of(name.as_str()) == Usage::default());
                let removed = collections.remove(&name, expected, is_empty)?;
                keeper.forget_collection(name.as_str());
                Ok(removed)
            })
        })
        .await
    }

    fn view(&self, collection: Arc<Collection>) -> CollectionView {
        let usage = self.0.crew.keeper.usage_of(collection.name.as_str());
        CollectionView { collection, usage }
    }
}

//! The handle's side of collections: what doors ask about policies, and what their objects come to.

use std::sync::Arc;

use super::cpu::blocking;
use super::handle::Handle;
use crate::control::Collection;
use crate::error::Result;
use crate::limits::REQUEST_DEADLINE_DEFAULT;
use crate::model::{CollectionPolicy, Name, Usage};
use crate::telemetry::events::CollectionChange;

/// A collection and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionView {
    /// The collection.
    pub collection: Arc<Collection>,
    /// Its current objects.
    pub usage: Usage,
    /// Those that the cloud is still to get, with their sealed bytes.
    pub owed: Usage,
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
        self.must_be_joined()?;
        if self.0.crew.collections.get(name.as_str()).is_ok_and(|known| known.is_none()) {
            self.0.crew.find_collection(&name).await;
        }
        let collections = Arc::clone(&self.0.crew.collections);
        let (collection, created) = blocking(move || collections.put(&name, policy, expected)).await?;
        let change = if created { CollectionChange::Created } else { CollectionChange::Set };
        self.0.crew.teller.collection(&collection.name, change, Some(collection.revision));
        Ok((self.view(collection), created))
    }

    /// Removes an empty collection. Says whether there was one.
    pub async fn remove_collection(&self, name: Name, expected: Option<u64>) -> Result<bool> {
        let _permits = self.permits_to_change(0, REQUEST_DEADLINE_DEFAULT).await?;
        let (collections, keeper) = (Arc::clone(&self.0.crew.collections), Arc::clone(&self.0.crew.keeper));
        let (wanted, teller, sweeper) = (name.clone(), &self.0.crew.teller, self.0.crew.teller.clone());
        let removed = blocking(move || {
            // Objects that have ended no longer count, also where nobody has cleared them away yet.
            loop {
                let swept = keeper.sweep()?;
                sweeper.swept(&swept);
                if !swept.more {
                    break;
                }
            }
            // No commit runs meanwhile, so nothing is stored into a collection that is on its way out.
            keeper.while_still(|| {
                let is_empty = || keeper.is_empty(name.as_str());
                let removed = collections.remove(&name, expected, is_empty)?;
                keeper.forget_collection(name.as_str());
                Ok(removed)
            })
        })
        .await?;
        if removed {
            teller.collection(&wanted, CollectionChange::Removed, None);
        }
        Ok(removed)
    }

    fn view(&self, collection: Arc<Collection>) -> CollectionView {
        let keeper = &self.0.crew.keeper;
        let (usage, owed) = (keeper.usage_of(collection.name.as_str()), keeper.owed_of(collection.name.as_str()));
        CollectionView { collection, usage, owed }
    }
}

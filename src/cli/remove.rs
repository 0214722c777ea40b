//! Deleting many objects, several at a time, and knowing how many have gone.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{TryStreamExt, stream};

use crate::client::Client;
use crate::error::Result;
use crate::model::{Address, Name};

/// Deletes on their way at the same time: enough that the container commits them in groups.
const DELETES_MAX: usize = 16;

/// A removal under way.
#[derive(Default)]
pub(super) struct Removal(AtomicU64);

impl Removal {
    /// Deletes every object that the collection holds, page by page.
    pub(super) async fn empty(&self, client: &Client, collection: &Name) -> Result<()> {
        let keys = stream::try_unfold(client.list_all(collection, ""), |mut lister| async move {
            Ok(lister.next().await?.map(|item| (item.key, lister)))
        });
        let deletes = keys.map_ok(|key| async move {
            client.delete(&Address::new(collection, &key)?).await?;
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        deletes.try_buffer_unordered(DELETES_MAX).try_collect::<()>().await
    }

    /// How many have gone so far, also after an error.
    pub(super) fn deleted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

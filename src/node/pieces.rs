//! What this container gives to the others of its site piece by piece, which its HTTP door gives them as well; and what
//! it takes over from them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::actors::{Handle, Pull};
use crate::error::{Error, Result};
use crate::model::{Address, ByteRange, ContainerId, Manifest};
use crate::site::{Part, Pieces, Taking};

/// The objects of a container.
pub struct OwnPieces(pub Handle);

impl Pieces for OwnPieces {
    fn sealed(&self, part: Part) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.0.sealed_piece(pull(part)).await }.boxed()
    }

    fn plain(&self, part: Part) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            self.check_has(&part).await?;
            self.0.read(pull(part)).await?.body.collect().await
        }
        .boxed()
    }
}

impl Taking for OwnPieces {
    fn take_over(
        &self,
        address: Address,
        from: ContainerId,
        manifest: Manifest,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<()>> {
        async move { self.0.take_over(&address, from, manifest, deadline).await }.boxed()
    }
}

impl OwnPieces {
    /// What is not here is not to be asked for anywhere else: two containers that each take the other for the keeper
    /// would ask each other for ever.
    async fn check_has(&self, part: &Part) -> Result<()> {
        let (keeper, address, version) = (Arc::clone(self.0.keeper()), part.address.clone(), part.version);
        let looked = tokio::task::spawn_blocking(move || keeper.own_version(&address, version)).await;
        match looked.map_err(|error| Error::internal("a look into the store broke off").because(error))?? {
            Some(_) => Ok(()),
            None => Err(Error::not_found("this version is not here").with("address", &part.address)),
        }
    }
}

fn pull(part: Part) -> Pull {
    let Part { address, version, range, deadline } = part;
    let range = Some(ByteRange::Between(range.start, range.end.saturating_sub(1)));
    Pull { range, version: Some(version), ..Pull::new(address, deadline) }
}

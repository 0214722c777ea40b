//! What this container does for others over the bus: gives pieces, which its HTTP door gives as well, takes over what
//! another one of its site kept, and changes what another site leaves it to decide.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::{FutureExt, StreamExt};

use crate::actors::{Body, Delete, Handle, Pull, Push, Pushed};
use crate::error::{Error, Result};
use crate::model::{Address, ByteRange, Condition, ContainerId, Dot, Manifest, Version};
use crate::site::{Changes, Part, Pieces, Taking};
use crate::tiers::{Accepted, Handover, Sending};

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

impl Changes for OwnPieces {
    fn push(&self, push: Handover, mut body: Sending, deadline: Duration) -> BoxFuture<'static, Result<Accepted>> {
        let handle = self.0.clone();
        async move {
            handle.must_decide(&push.address)?;
            let (mut sender, arriving) = Body::streamed();
            let sends = async move {
                sender.wanted().await;
                while let Some(piece) = body.next().await {
                    match piece {
                        Ok(piece) => {
                            if sender.send(piece).await.is_err() {
                                // The push has ended already, and says why.
                                return;
                            }
                        }
                        Err(error) => return sender.fail(Error::invalid("the body broke off").because(error)).await,
                    }
                }
                sender.finish();
            };
            let Handover { address, durability, nfr, content_type, meta, expect, condition, ttl_s, size, after } = push;
            let push = Push {
                durability,
                nfr,
                content_type,
                meta,
                expect,
                condition,
                ttl_s,
                size,
                after,
                ..Push::new(address, deadline)
            };
            let Pushed { manifest, created } = match select(pin!(handle.push(push, arriving)), pin!(sends)).await {
                Either::Left((pushed, _)) => pushed?,
                Either::Right(((), pushing)) => pushing.await?,
            };
            let Manifest { version, dot, size, digest, durability, .. } = *manifest;
            Ok(Accepted { version, dot, size, digest, durability, created })
        }
        .boxed()
    }

    fn delete(
        &self,
        address: Address,
        (condition, after): (Condition, Option<Version>),
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Option<(Version, Dot)>>> {
        let handle = self.0.clone();
        let delete = Delete { condition, after, ..Delete::new(address, deadline) };
        async move {
            handle.must_decide(&delete.address)?;
            Ok(handle.delete(delete).await?.gone)
        }
        .boxed()
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

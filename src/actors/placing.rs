//! Which container of the site takes a change, and having another one take it.

use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::body::Body;
use super::container::Crew;
use super::request::{Delete, Deleted, Push, Pushed};
use crate::error::Result;
use crate::model::{Address, Condition, ContainerId, Manifest, NfrSpec};
use crate::tiers::{Accepted, Decision, Handover};

impl Crew {
    /// Another container that is to take a change.
    pub(super) fn better_for(
        &self,
        address: &Address,
        condition: &Condition,
        size: Option<u64>,
        passed_on: bool,
    ) -> Result<Option<ContainerId>> {
        match self.neighbours.get() {
            Some(peers) if !passed_on => {
                peers.better_for(address, *condition != Condition::Always, size.unwrap_or_default())
            }
            _ => Ok(None),
        }
    }

    /// Makes sure that this container may decide a condition, and knows all that counts for it. What is returned
    /// is held until that is committed.
    pub(super) async fn decide(&self, address: &Address, condition: &Condition) -> Result<Option<Decision>> {
        match self.neighbours.get() {
            Some(peers) if *condition != Condition::Always => peers.decide(address).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Has another container store an object.
    pub(super) async fn hand_over(&self, to: ContainerId, push: Push, body: Body) -> Result<Pushed> {
        let handover = Handover {
            address: push.address.clone(),
            durability: push.durability,
            nfr: push.nfr,
            content_type: push.content_type.clone(),
            meta: push.meta.clone(),
            expect: push.expect,
            condition: push.condition,
            ttl_s: push.ttl_s,
            size: push.size,
        };
        let sending = stream::unfold(Some(body), |body| async move {
            let mut body = body?;
            match body.next_chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
                Ok(None) => None,
                Err(error) => Some((Err(io::Error::other(error.to_string())), None)),
            }
        });
        let accepted = self.peers(&push.address)?.hand_over(to, handover, sending.boxed()).await?;
        let Accepted { version, dot, size, digest, durability, created } = accepted;
        let now_ms = self.keeper.now_ms();
        let manifest = Manifest {
            version,
            dot,
            replaces: None,
            size,
            digest,
            content_type: push.content_type,
            meta: push.meta,
            modified_ms: now_ms,
            expires_ms: None,
            nfr: NfrSpec::default().overridden(push.nfr),
            durability,
            seal: None,
        };
        Ok(Pushed { manifest: Arc::new(manifest), created })
    }

    /// Has another container delete an object.
    pub(super) async fn delete_at(&self, to: ContainerId, delete: &Delete) -> Result<Deleted> {
        let gone = self.peers(&delete.address)?.delete_at(to, &delete.address, &delete.condition).await?;
        Ok(Deleted { gone })
    }
}

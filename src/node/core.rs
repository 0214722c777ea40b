//! The actors' handle, as the HTTP door wants it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::actors::{
    Body, CollectionView, Delete, Deleted, Found, Handle, List, Locate, OwedPage, OwedQuery, Page, PolicyView, Pull,
    Pulled, Push, Pushed, Stat, Whereabouts, Which,
};
use crate::error::Result;
use crate::gateway::Core;
use crate::model::{Address, Chunks, CollectionPolicy, Manifest, Name, PolicyRecord, Rule, Usage, Version};
use crate::nfr::Grant;
use crate::telemetry::events::EventBook;

impl Core for Handle {
    fn push(&self, push: Push, body: Body) -> BoxFuture<'static, Result<Pushed>> {
        let me = self.clone();
        Box::pin(async move { Handle::push(&me, push, body).await })
    }

    fn pull(&self, pull: Pull) -> BoxFuture<'static, Result<Pulled>> {
        let me = self.clone();
        Box::pin(async move { Handle::pull(&me, pull).await })
    }

    fn sealed(&self, pull: Pull, has_ticket: bool) -> BoxFuture<'static, Result<Pulled>> {
        let me = self.clone();
        Box::pin(async move { Handle::sealed(&me, pull, has_ticket).await })
    }

    fn stat(&self, stat: Stat) -> BoxFuture<'static, Result<Found>> {
        let me = self.clone();
        Box::pin(async move { Handle::stat(&me, stat).await })
    }

    fn locate(&self, locate: Locate) -> BoxFuture<'static, Result<Whereabouts>> {
        let me = self.clone();
        Box::pin(async move { Handle::locate(&me, locate).await })
    }

    fn delete(&self, delete: Delete) -> BoxFuture<'static, Result<Deleted>> {
        let me = self.clone();
        Box::pin(async move { Handle::delete(&me, delete).await })
    }

    fn list(&self, list: List) -> BoxFuture<'static, Result<Page>> {
        let me = self.clone();
        Box::pin(async move { Handle::list(&me, list).await })
    }

    fn hit(&self, address: &Address) -> Option<(Arc<Manifest>, Chunks)> {
        let resident = Handle::hit(self, address)?;
        Some((Arc::clone(&resident.manifest), resident.chunks.clone()))
    }

    fn metrics(&self) -> String {
        super::metrics::page(self)
    }

    fn collection(&self, name: &Name) -> Result<CollectionView> {
        Handle::collection(self, name)
    }

    fn collections(&self) -> Vec<CollectionView> {
        Handle::collections(self)
    }

    fn put_collection(
        &self,
        name: Name,
        policy: CollectionPolicy,
        expected: Option<u64>,
    ) -> BoxFuture<'static, Result<(CollectionView, bool)>> {
        let me = self.clone();
        Box::pin(async move { Handle::put_collection(&me, name, policy, expected).await })
    }

    fn remove_collection(&self, name: Name, expected: Option<u64>) -> BoxFuture<'static, Result<bool>> {
        let me = self.clone();
        Box::pin(async move { Handle::remove_collection(&me, name, expected).await })
    }

    fn policies(&self) -> BoxFuture<'static, Result<Vec<PolicyView>>> {
        let me = self.clone();
        Box::pin(async move { me.policy_views().await })
    }

    fn policy(&self, name: Name) -> BoxFuture<'static, Result<Option<PolicyView>>> {
        let me = self.clone();
        Box::pin(async move { me.policy_view(name).await })
    }

    fn put_policy(
        &self,
        name: Name,
        rule: Option<Rule>,
        expected: Option<Option<Version>>,
    ) -> BoxFuture<'static, Result<(PolicyRecord, bool)>> {
        let me = self.clone();
        Box::pin(async move { Handle::put_policy(&me, name, rule, expected).await })
    }

    fn owed(&self, query: OwedQuery) -> BoxFuture<'static, Result<OwedPage>> {
        let me = self.clone();
        Box::pin(async move { Handle::owed(&me, query).await })
    }

    fn flush(&self, which: Which, deadline: Duration) -> BoxFuture<'static, Result<(Usage, Usage)>> {
        let me = self.clone();
        Box::pin(async move { Handle::flush(&me, which, deadline).await })
    }

    fn ticket(&self, address: &Address, grant: Grant, expires_ms: u64) -> Result<String> {
        self.keyring().ticket(address, grant, expires_ms)
    }

    fn admits(&self, ticket: &str, address: &Address, grant: Grant, now_ms: u64) -> Result<()> {
        self.keyring().admits(ticket, address, grant, now_ms)
    }

    fn events(&self) -> Arc<EventBook> {
        Arc::clone(Handle::events(self))
    }

    fn ready(&self) -> bool {
        Handle::ready(self)
    }
}

//! What the door asks of the container behind it: a trait, so that the door can be tested alone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::actors::{
    Body, CollectionView, Delete, Deleted, Found, List, Locate, OwedPage, OwedQuery, Page, PolicyView, Pull, Pulled,
    Push, Pushed, Stat, Whereabouts, Which,
};
use crate::error::Result;
use crate::model::{Address, Chunks, CollectionPolicy, Manifest, Name, PolicyRecord, Rule, Usage, Version};
use crate::nfr::Grant;
use crate::telemetry::events::EventBook;

/// The container as the door sees it.
///
/// Its futures are polled on the door's worker threads and may be dropped half-way, when the
/// caller's time is up: a push that is dropped, or whose body ends unfinished, stores nothing.
pub trait Core: Send + Sync + 'static {
    /// Stores an object.
    fn push(&self, push: Push, body: Body) -> BoxFuture<'static, Result<Pushed>>;

    /// Reads an object or a range of it; ready once its first chunk has been checked.
    fn pull(&self, pull: Pull) -> BoxFuture<'static, Result<Pulled>>;

    /// Reads the sealed bytes of a version that this container has, or a range of them. Whoever has a ticket for them was
    /// looked at where it was given.
    fn sealed(&self, pull: Pull, has_ticket: bool) -> BoxFuture<'static, Result<Pulled>>;

    /// What is known of an object.
    fn stat(&self, stat: Stat) -> BoxFuture<'static, Result<Found>>;

    /// Every copy of an object in the site.
    fn locate(&self, locate: Locate) -> BoxFuture<'static, Result<Whereabouts>>;

    /// Deletes an object.
    fn delete(&self, delete: Delete) -> BoxFuture<'static, Result<Deleted>>;

    /// Reads a page of a collection's keys.
    fn list(&self, list: List) -> BoxFuture<'static, Result<Page>>;

    /// A hit in memory, answered without waiting for anything: the hot path.
    fn hit(&self, address: &Address) -> Option<(Arc<Manifest>, Chunks)>;

    /// The page of all metrics. It may wait for the disk.
    fn metrics(&self) -> String;

    /// A collection and what it holds.
    fn collection(&self, name: &Name) -> Result<CollectionView>;

    /// Every collection, by name.
    fn collections(&self) -> Vec<CollectionView>;

    /// Sets a collection's policy; `expected` names the revision it replaces, 0 for none. Says whether the
    /// collection is new.
    fn put_collection(
        &self,
        name: Name,
        policy: CollectionPolicy,
        expected: Option<u64>,
    ) -> BoxFuture<'static, Result<(CollectionView, bool)>>;

    /// Removes an empty collection. Says whether there was one.
    fn remove_collection(&self, name: Name, expected: Option<u64>) -> BoxFuture<'static, Result<bool>>;

    /// The policies of the mesh, by name.
    fn policies(&self) -> BoxFuture<'static, Result<Vec<PolicyView>>>;

    /// One of them, also one that was removed.
    fn policy(&self, name: Name) -> BoxFuture<'static, Result<Option<PolicyView>>>;

    /// Sets a policy of the mesh, or removes it; `expected` names the version that it replaces, and `Some(None)` says
    /// that none may rule. Returns the new version, and whether none ruled before.
    fn put_policy(
        &self,
        name: Name,
        rule: Option<Rule>,
        expected: Option<Option<Version>>,
    ) -> BoxFuture<'static, Result<(PolicyRecord, bool)>>;

    /// A page of what the cloud is still to get.
    fn owed(&self, query: OwedQuery) -> BoxFuture<'static, Result<OwedPage>>;

    /// Pays now what is owed to the cloud: what it got, and what is still owed.
    fn flush(&self, which: Which, deadline: Duration) -> BoxFuture<'static, Result<(Usage, Usage)>>;

    /// A ticket for what it names, good until then.
    fn ticket(&self, address: &Address, grant: Grant, expires_ms: u64) -> Result<String>;

    /// Whether a ticket of this site allows this now.
    fn admits(&self, ticket: &str, address: &Address, grant: Grant, now_ms: u64) -> Result<()>;

    /// What happens in the container.
    fn events(&self) -> Arc<EventBook>;

    /// Whether requests can be served now.
    fn ready(&self) -> bool;
}

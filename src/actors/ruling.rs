//! What the policies of the mesh allow, where requests come in: each control point asks here, and who is refused is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::container::Crew;
use super::cpu::blocking;
use super::handle::Handle;
use super::release::{Release, Which};
use crate::control::{Policies, Policy, Verdict};
use crate::error::{Error, Result};
use crate::limits::{LIST_LIMIT_MAX, REQUEST_DEADLINE_DEFAULT};
use crate::model::{Address, CopyRule, Head, Manifest, Name, PolicyRecord, Rule, Version};
use crate::telemetry::metrics::labels::Point;

/// Bytes of what another site keeps of which a copy is made without being asked for.
const COPIED_UNASKED_MAX: u64 = 4 << 20;

/// A policy, and how much here goes against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// Its name.
    pub name: Name,
    /// What it says, and said.
    pub policy: Policy,
    /// Objects of this container that it does not let rest at this site.
    pub against: u64,
}

impl Crew {
    /// What the policies say at a point.
    fn must(&self, collection: &str, point: Point, ask: impl FnOnce(&Verdict) -> Result<()>) -> Result<()> {
        let Some(verdict) = self.policies.on(collection) else { return Ok(()) };
        ask(&verdict).inspect_err(|_| self.telemetry.metrics.policy_refusals.one(point))
    }

    /// Names the policy whose quota is reached, if it is one's.
    pub(super) fn name_quota(&self, address: &Address, error: Error) -> Error {
        let limit = error.context("limit").and_then(|limit| limit.parse().ok());
        let (Some(what), Some(limit), Some(verdict)) =
            (error.context("quota"), limit, self.policies.on(address.collection()))
        else {
            return error;
        };
        match verdict.of_quota(what, limit) {
            Some(policy) => {
                self.telemetry.metrics.policy_refusals.one(Point::Push);
                error.with("policy", policy).with("point", Point::Push.name())
            }
            None => error,
        }
    }

    pub(super) fn may_change(&self, address: &Address, size: Option<u64>) -> Result<()> {
        let outcome = self.must(address.collection(), Point::Push, |verdict| verdict.may_push(size));
        outcome.map_err(|error| error.with("address", address))
    }

    pub(super) fn may_delete(&self, address: &Address) -> Result<()> {
        let outcome = self.must(address.collection(), Point::Push, Verdict::may_delete);
        outcome.map_err(|error| error.with("address", address))
    }

    /// Whether another site may be given what is in an object.
    pub(super) fn may_leave(&self, address: &Address, to: &Name) -> Result<()> {
        let outcome = self.must(address.collection(), Point::Leave, |verdict| verdict.may_leave(to));
        outcome.map_err(|error| error.with("address", address))
    }

    /// Whether it may be read here, for who asks once more where it may not.
    pub(super) fn lets_pull(&self, address: &Address) -> bool {
        self.policies.on(address.collection()).is_none_or(|verdict| verdict.may_pull().is_ok())
    }

    pub(super) fn may_pull(&self, address: &Address) -> Result<()> {
        let outcome = self.must(address.collection(), Point::Pull, Verdict::may_pull);
        outcome.map_err(|error| error.with("address", address))
    }

    pub(super) fn may_evict(&self, which: &Which) -> Result<()> {
        let collection = match which {
            Which::Object(address) => address.collection(),
            Which::Collection(name) => name.as_str(),
            // The others go, and those stay.
            Which::Any => return Ok(()),
        };
        self.must(collection, Point::Evict, Verdict::may_evict)
    }

    /// Whether copies may rest here.
    pub(super) fn may_hold(&self, collection: &str) -> bool {
        self.policies.on(collection).is_none_or(|verdict| verdict.may_hold())
    }

    /// Whether a read from another site is to leave a copy of so many bytes, where the request or the collection asks
    /// for one, or for none.
    pub(super) fn leaves_copy(&self, collection: &str, bytes: u64, asked: Option<bool>) -> bool {
        match self.policies.on(collection).map_or(CopyRule::default(), |verdict| verdict.copies()) {
            CopyRule::None => false,
            CopyRule::Small => asked.unwrap_or(bytes <= COPIED_UNASKED_MAX),
            CopyRule::All => true,
        }
    }

    /// The plain bytes that an object may have.
    pub(super) fn bytes_max(&self, collection: &str) -> u64 {
        let by_policy = self.policies.on(collection).and_then(|verdict| Some(verdict.object_bytes()?.1));
        self.object_bytes_max.min(by_policy.unwrap_or(u64::MAX))
    }

    /// Lets go of copies that policies do not let rest here any more. What fails for one collection holds up no other.
    pub(super) async fn obey(&self) -> Result<()> {
        let mut outcome = Ok(());
        for collection in self.collections.list().into_iter().filter(|one| !self.may_hold(one.name.as_str())) {
            outcome = outcome.and(self.let_go_of(&collection.name).await);
        }
        outcome
    }

    async fn let_go_of(&self, name: &Name) -> Result<()> {
        let (keeper, copies, collection) = (Arc::clone(&self.keeper), Arc::clone(&self.copies), name.clone());
        let dropped = blocking(move || {
            let mut after: Option<String> = None;
            loop {
                let (store, now_ms) = (keeper.disk().store(), keeper.now_ms());
                let page = store.list_entries((collection.as_str(), "", after.as_deref()), LIST_LIMIT_MAX, now_ms)?;
                for (key, head) in &page.found {
                    if let Head::Object(Manifest { seal: Some(seal), .. }) = head {
                        copies.drop_copy(&Address::new(&collection, key)?, seal.frame);
                    }
                }
                let last = page.found.into_iter().next_back().map(|(key, _)| key);
                match page.cut.or(last) {
                    Some(last) => after = Some(last),
                    None => return Ok(()),
                }
            }
        });
        dropped.await?;
        self.memory.ask(Release { which: Which::Collection(name.clone()), bytes: None }).await.map(drop)
    }
}

impl Handle {
    /// The policies of the mesh.
    pub fn mesh_policies(&self) -> &Arc<Policies> {
        &self.0.crew.policies
    }

    /// Each policy of the mesh, by name.
    pub async fn policy_views(&self) -> Result<Vec<PolicyView>> {
        let me = self.clone();
        blocking(move || {
            let mut against = me.against();
            let view = |(name, policy)| PolicyView { against: against.remove(&name).unwrap_or_default(), name, policy };
            Ok(me.mesh_policies().list().into_iter().map(view).collect())
        })
        .await
    }

    /// A policy of the mesh, also one that was removed.
    pub async fn policy_view(&self, name: Name) -> Result<Option<PolicyView>> {
        let me = self.clone();
        blocking(move || {
            let against = me.against().remove(&name).unwrap_or_default();
            Ok(me.mesh_policies().get(&name).map(|policy| PolicyView { name, policy, against }))
        })
        .await
    }

    /// The objects of this container that each policy does not let rest at this site.
    fn against(&self) -> BTreeMap<Name, u64> {
        let mut against = BTreeMap::new();
        for collection in self.0.crew.collections.list() {
            let Some(verdict) = self.mesh_policies().on(collection.name.as_str()) else { continue };
            let objects = self.keeper().usage_of(collection.name.as_str()).objects;
            verdict.held_against().for_each(|policy| *against.entry(policy.clone()).or_default() += objects);
        }
        against
    }

    /// Sets a policy of the mesh or removes it: see [`Policies::put`].
    pub async fn put_policy(
        &self,
        name: Name,
        rule: Option<Rule>,
        expected: Option<Option<Version>>,
    ) -> Result<(PolicyRecord, bool)> {
        let _permits = self.permits_to_change(0, REQUEST_DEADLINE_DEFAULT).await?;
        self.must_be_joined()?;
        let policies = Arc::clone(self.mesh_policies());
        blocking(move || policies.put(&name, rule, expected)).await
    }
}

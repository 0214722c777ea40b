//! What the policies of the mesh allow, where requests come in: each control point asks here, and who is refused is counted.

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
                error.with("policy", policy)
            }
            None => error,
        }
    }

    pub(super) fn may_change(&self, address: &Address, size: Option<u64>) -> Result<()> {
        let outcome = self.must(address.collection(), Point::Push, |verdict| verdict.may_push(size));
        outcome.map_err(|error| error.with("address", address))
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

    /// Lets go of copies that no policy lets rest here any more.
    pub(super) async fn obey(&self) -> Result<()> {
        let collections = self.collections.list();
        for collection in collections.into_iter().filter(|one| !self.may_hold(one.name.as_str())) {
            let name = collection.name.clone();
            self.memory.ask(Release { which: Which::Collection(name.clone()), bytes: None }).await?;
            let (keeper, copies) = (Arc::clone(&self.keeper), Arc::clone(&self.copies));
            blocking(move || {
                let mut after: Option<String> = None;
                loop {
                    let (store, now_ms) = (keeper.disk().store(), keeper.now_ms());
                    let page = store.list_entries((name.as_str(), "", after.as_deref()), LIST_LIMIT_MAX, now_ms)?;
                    for (_, head) in &page.found {
                        if let Head::Object(Manifest { seal: Some(seal), .. }) = head {
                            copies.drop_copy(seal.frame);
                        }
                    }
                    let last = page.found.into_iter().next_back().map(|(key, _)| key);
                    match page.cut.or(last) {
                        Some(last) => after = Some(last),
                        None => return Ok(()),
                    }
                }
            })
            .await?;
        }
        Ok(())
    }
}

impl Handle {
    /// The policies of the mesh.
    pub fn mesh_policies(&self) -> &Arc<Policies> {
        &self.0.crew.policies
    }

    /// Each policy of the mesh, by name.
    pub fn policy_views(&self) -> Vec<PolicyView> {
        self.mesh_policies().list().into_iter().map(|(name, policy)| self.policy_view(name, policy)).collect()
    }

    /// A policy of the mesh and how much here goes against it.
    pub fn policy_view(&self, name: Name, policy: Policy) -> PolicyView {
        let collections = self.0.crew.collections.list();
        let is_against = |collection: &str| {
            let verdict = self.mesh_policies().on(collection);
            verdict.is_some_and(|verdict| verdict.held_against() == Some(&name))
        };
        let against = collections.iter().filter(|one| is_against(one.name.as_str()));
        let against = against.map(|one| self.keeper().usage_of(one.name.as_str()).objects).sum();
        PolicyView { name, policy, against }
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

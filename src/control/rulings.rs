//! Both kinds of policies of a container: what each collection asks for, and what the policies of the mesh leave of it.

use std::sync::Arc;

use super::{Collections, Policies};
use crate::model::{Level, SyncRule};
use crate::tiers::{Rulebook, Rules};

/// What rules in a container.
pub struct Rulings {
    /// What the collections ask for.
    pub collections: Arc<Collections>,
    /// What the mesh allows.
    pub policies: Arc<Policies>,
}

impl Rulebook for Rulings {
    fn rules(&self, collection: &str) -> Option<Rules> {
        let known = self.collections.get(collection).ok().flatten()?;
        let policy = &known.policy;
        let rules = Rules {
            retention_ms: policy.retention_s.saturating_mul(1000),
            quota: policy.quota,
            cloud: policy.allows(Level::Cloud) && policy.sync != SyncRule::Never,
        };
        Some(match self.policies.on(collection) {
            None => rules,
            Some(verdict) => {
                Rules { quota: verdict.quota(rules.quota), cloud: rules.cloud && verdict.may_go_to_cloud(), ..rules }
            }
        })
    }
}

//! What all containers of a site hold alike, over this container's collections and tokens and what it knows of the mesh.

use std::sync::Arc;

use tokio::sync::Notify;

use super::authority::SiteTokens;
use crate::actors::Handle;
use crate::control::to_record;
use crate::error::Result;
use crate::model::Name;
use crate::site::{Roster, Shared, SharedBook};

/// The collections and the tokens of a container, and the sites that it knows.
pub struct SiteBook {
    handle: Handle,
    tokens: SiteTokens,
    roster: Arc<Roster>,
    changed: Arc<Notify>,
}

impl SiteBook {
    /// A book over them. Must be called inside a tokio runtime.
    pub fn new(handle: Handle, tokens: SiteTokens, roster: Arc<Roster>) -> Arc<Self> {
        let changed = Arc::<Notify>::default();
        let mut policies = handle.mesh_policies().changed();
        let mesh = Arc::clone(&changed);
        tokio::spawn(async move {
            while policies.changed().await.is_ok() {
                mesh.notify_one();
            }
        });
        for source in [handle.policies().changed(), tokens.changed(), roster.changed()] {
            let changed = Arc::clone(&changed);
            tokio::spawn(async move {
                loop {
                    source.notified().await;
                    changed.notify_one();
                }
            });
        }
        Arc::new(SiteBook { handle, tokens, roster, changed })
    }
}

impl SharedBook for SiteBook {
    fn all(&self) -> Vec<Shared> {
        let policies = self.handle.policies();
        let collections = policies.list();
        let collections = collections.iter().map(|one| Shared::Collection(one.name.to_string(), to_record(one)));
        let is_gone = |name: &str| policies.get(name).is_ok_and(|now| now.is_none());
        let removed = policies.removed().into_iter().filter(|(name, ..)| is_gone(name));
        let removed = removed.map(|(name, revision, at_ms)| Shared::Removed(name, revision, at_ms));
        let tokens = self.tokens.shared().into_iter().map(Shared::Token);
        // A site that is alone need not be told of itself.
        let sites = if self.roster.has_others() { self.roster.all() } else { Vec::new() };
        let sites = sites.into_iter().map(Shared::Site);
        collections.chain(removed).chain(tokens).chain(sites).collect()
    }

    fn has_collection(&self, name: &str) -> bool {
        self.handle.policies().get(name).is_ok_and(|known| known.is_some())
    }

    fn merge(&self, records: Vec<Shared>) -> Result<()> {
        let (policies, keeper) = (self.handle.policies(), self.handle.keeper());
        let (mut tokens, mut sites, mut mesh) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match record {
                Shared::Collection(name, record) => {
                    if policies.adopt(&name.parse::<Name>()?, record)? {
                        tracing::debug!(collection = name, "took over the policy of a collection");
                    }
                }
                Shared::Removed(name, revision, at_ms) => {
                    let name: Name = name.parse()?;
                    // No commit runs meanwhile, so nothing is stored into a collection that is on its way out.
                    keeper.while_still(|| {
                        let gone = policies.adopt_removal(&name, revision, at_ms, || keeper.is_empty(name.as_str()))?;
                        if gone && policies.get(name.as_str())?.is_none() {
                            keeper.forget_collection(name.as_str());
                        }
                        Ok(())
                    })?;
                }
                Shared::Token(record) => tokens.push(record),
                Shared::Site(record) => sites.push(record),
                Shared::Policy(record) => mesh.push(record),
            }
        }
        self.roster.adopt(sites)?;
        self.handle.mesh_policies().adopt(mesh)?;
        self.tokens.adopt(tokens)
    }

    fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

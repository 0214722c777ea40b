//! Which collections a site has, as far as another one may see them, and what opens the news of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;

use super::super::shared::Shared;
use super::super::{Site, locked, wire};
use super::call::{Answer, Call, Listed};
use super::far::Collections;
use crate::error::{Error, Result};
use crate::limits::ASK_MAX;
use crate::model::{Name, Visibility, fingerprint, mix};
use crate::nfr::SharedKey;
use crate::store::CollectionRecord;

/// The greatest revision of a policy that is believed: nobody changes one so often.
const REVISION_MAX: u64 = 1 << 40;

/// Collections of a page.
const PAGE: usize = 1024;

/// Bytes that a collection takes in it at most.
const LISTED_BYTES: usize = 128;

/// Pages that are asked for of one site.
const PAGES_MAX: usize = 64;

/// What this site shows.
#[derive(Default)]
pub(super) struct Directory {
    /// A number that changes with whatever is in it.
    sum: u64,
    collections: BTreeMap<String, Shown>,
}

struct Shown {
    key: SharedKey,
    record: CollectionRecord,
    /// Changes with the record.
    policy: u64,
}

impl Shown {
    fn is_for(&self, site: &Name) -> bool {
        match &self.record.policy.visibility {
            Visibility::All => true,
            Visibility::Sites(sites) => sites.contains(site),
        }
    }
}

impl Site {
    /// A number that changes with what this site shows.
    pub(in crate::site) fn shown_sum(&self) -> u64 {
        let shown = self.draw_up();
        let sum = shown.sum;
        *locked(&self.0.mesh.shown) = shown;
        sum
    }

    fn draw_up(&self) -> Arc<Directory> {
        let (mut collections, mut sum) = (BTreeMap::new(), 0u64);
        for record in self.0.parts.shared.all() {
            let Shared::Collection(name, record) = record else { continue };
            let Ok(parsed) = name.parse::<Name>() else { continue };
            let mut readers = match &record.policy.visibility {
                Visibility::All => Vec::new(),
                Visibility::Sites(sites) => sites.clone(),
            };
            readers.sort_unstable();
            let key = self.0.mesh.identity.news_key(&parsed, &readers);
            let policy = fingerprint(&wire::plain(&record).unwrap_or_default());
            let one = [name.as_bytes(), key.expose(), &policy.to_be_bytes()].concat();
            sum = sum.wrapping_add(mix(fingerprint(&one)));
            collections.insert(name, Shown { key, record, policy });
        }
        Arc::new(Directory { sum, collections })
    }

    /// What this site shows; drawn up anew where a collection is not in it, which may just have been made.
    fn shown(&self, collection: &str) -> Arc<Directory> {
        let known = Arc::clone(&locked(&self.0.mesh.shown));
        if known.collections.contains_key(collection) {
            return known;
        }
        // What nobody has made is asked for often.
        if !self.0.parts.shared.has_collection(collection) {
            return known;
        }
        let shown = self.draw_up();
        *locked(&self.0.mesh.shown) = Arc::clone(&shown);
        // It was just made: the others are to hear of it now rather than with the next second.
        self.0.mesh.heard_of.notify_one();
        shown
    }

    /// What the news of a collection are sealed with; nothing if nobody else may see it.
    pub(super) fn news_key(&self, collection: &str) -> Option<SharedKey> {
        let shown = self.shown(collection);
        let one = shown.collections.get(collection)?;
        let own = &self.0.parts.site;
        let is_for_others = match &one.record.policy.visibility {
            Visibility::All => true,
            Visibility::Sites(sites) => sites.iter().any(|site| site != own),
        };
        is_for_others.then(|| one.key.clone())
    }

    /// Whether a site may see a collection.
    pub(super) fn is_visible(&self, collection: &str, to: &Name) -> bool {
        self.shown(collection).collections.get(collection).is_some_and(|shown| shown.is_for(to))
    }

    /// The policy of a collection that a site may see.
    pub(super) fn shown_policy(&self, collection: &str, to: &Name) -> Option<CollectionRecord> {
        let shown = self.shown(collection);
        shown.collections.get(collection).filter(|shown| shown.is_for(to)).map(|shown| shown.record.clone())
    }

    /// Takes over the policy of a collection that another site has, if it is newer.
    pub(super) async fn take_policy(&self, site: &Name, collection: &str) -> Result<()> {
        match self.call(site, None, &Call::Policy(collection.to_owned()), ASK_MAX).await? {
            Answer::Policy(None) => Ok(()),
            // Where there is a policy here, who is not admitted by it has no say in it.
            Answer::Policy(Some(record)) if self.admits(collection, site) && record.revision <= REVISION_MAX => {
                self.merge_shared(vec![Shared::Collection(collection.to_owned(), *record)]).await
            }
            Answer::Policy(Some(_)) => Ok(()),
            _ => Err(Error::internal("another site answers something else").with("site", site)),
        }
    }

    /// Whether this site has a collection.
    pub(super) fn has_collection(&self, collection: &str) -> bool {
        self.shown(collection).collections.contains_key(collection)
    }

    /// Whether a site has a say in a collection: its policy here says so, or there is none yet.
    pub(super) fn admits(&self, collection: &str, site: &Name) -> bool {
        self.shown(collection).collections.get(collection).is_none_or(|shown| shown.is_for(site))
    }

    /// Collections that this site and another one have, which nobody listens to yet.
    pub(super) fn common_collections(&self) -> Vec<String> {
        let shown = Arc::clone(&locked(&self.0.mesh.shown));
        let unused = shown.collections.keys().filter(|name| !self.0.mesh.uses.has(name));
        unused.filter(|name| !self.listing_sites(name).is_empty()).cloned().collect()
    }

    /// Collections of other sites that a policy has this one hear of, and which nobody listens to yet.
    pub(super) fn subscribed_collections(&self) -> Vec<String> {
        let policies = &self.0.parts.policies;
        if !policies.is_any() {
            return Vec::new();
        }
        let is_wanted = |name: &String| {
            !self.0.mesh.uses.has(name) && policies.on(name).is_some_and(|verdict| verdict.subscribes())
        };
        let others = self.0.mesh.roster.others();
        let listed = others.iter().flat_map(|site| locked(&self.0.mesh.far).collections(site).unwrap_or_default());
        let wanted: BTreeSet<String> = listed.filter(is_wanted).collect();
        wanted.into_iter().filter(|name| !self.listing_sites(name).is_empty()).collect()
    }

    /// Asks the sites that have a collection for its policy, before it is made here.
    pub(in crate::site) async fn find_policy(&self, collection: &Name) {
        let now_ms = self.now_ms();
        let has = |site: &Name| {
            let far = locked(&self.0.mesh.far);
            far.has(site, collection.as_str()) == Some(true) && !far.alive(site, now_ms).is_empty()
        };
        let sites: Vec<Name> = self.0.mesh.roster.others().into_iter().filter(has).collect();
        let ask = |site: Name| async move { (self.take_policy(&site, collection.as_str()).await, site) };
        for (taken, site) in join_all(sites.into_iter().map(ask)).await {
            if let Err(error) = taken {
                tracing::warn!(%error, %site, %collection, "the policy of a collection could not be asked for");
            }
        }
    }

    /// A page of what a site may see.
    pub(super) fn directory_page(&self, to: &Name, after: Option<&str>) -> Answer {
        let shown = Arc::clone(&locked(&self.0.mesh.shown));
        let behind = |name: &str| after.is_none_or(|after| name > after);
        let wanted = shown.collections.iter().filter(|(name, one)| behind(name) && one.is_for(to));
        let listed =
            |(name, one): (&String, &Shown)| Listed { name: name.clone(), policy: one.policy, key: *one.key.expose() };
        let most = (self.message_room() / LISTED_BYTES).clamp(1, PAGE);
        let page: Vec<Listed> = wanted.map(listed).take(most).collect();
        let next = page.last().filter(|_| page.len() == most).map(|last| last.name.clone());
        Answer::Directory(page, next)
    }

    /// Asks a container of another site for its directory, whose sum it has told.
    pub(super) fn fetch_directory(&self, site: Name, of: Name, sum: u64) {
        let me = self.clone();
        self.spawn(async move {
            let directory = match me.ask_directory(&site, &of).await {
                Ok(directory) => Some((sum, directory)),
                Err(error) => {
                    tracing::debug!(%error, %site, "which collections a site has could not be asked for");
                    None
                }
            };
            let new = locked(&me.0.mesh.far).fetched(&site, directory);
            if !new.is_empty() {
                me.want(|wanted| wanted.listed.extend(new.into_iter().map(|collection| (site.clone(), collection))));
            }
        });
    }

    async fn ask_directory(&self, site: &Name, of: &Name) -> Result<Collections> {
        let (mut all, mut after) = (Collections::new(), None);
        for _ in 0..PAGES_MAX {
            let Answer::Directory(page, next) = self.call(site, Some(of), &Call::Directory(after), ASK_MAX).await?
            else {
                return Err(Error::internal("another site answers something else"));
            };
            all.extend(page.into_iter().map(|one| (one.name, (one.policy, SharedKey::from_bytes(one.key)))));
            match next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
        Err(Error::too_large("a site has more collections than can be listed").with("site", site))
    }
}

impl Site {
    /// The sites that may have something of a collection: those whose directory names it, and those that were not
    /// heard yet; all, where nobody names it.
    pub(super) fn sites_with(&self, collection: &str) -> Vec<Name> {
        let mut others = self.0.mesh.roster.others();
        others.retain(|site| self.admits(collection, site));
        // One that nobody is known to have may just have been made.
        let is_here = self.0.parts.shared.has_collection(collection);
        let far = locked(&self.0.mesh.far);
        if is_here || others.iter().any(|site| far.has(site, collection) == Some(true)) {
            others.retain(|site| far.has(site, collection).unwrap_or(true));
        }
        others
    }

    /// Bytes that a message to another site may have.
    pub(super) fn message_room(&self) -> usize {
        self.0.parts.bus.payload_max().saturating_sub(wire::SLACK_BYTES)
    }
}

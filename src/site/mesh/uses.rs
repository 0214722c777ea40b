//! Which collections of other sites are used here, and how far they were heard: what the one who takes in has come to,
//! for all who ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::{Site, locked};
use super::hear::{FarNews, Wanted};
use crate::limits::ASK_MAX;
use crate::model::{Dot, Incarnation, Name};

#[derive(Default)]
pub(super) struct Uses {
    known: Mutex<BTreeMap<String, Use>>,
    changed: Notify,
}

#[derive(Default)]
struct Use {
    heard: HashMap<Incarnation, u64>,
    /// The sites all of whose entries came in at some time.
    whole: BTreeSet<Name>,
}

impl Uses {
    /// A collection is used from now on.
    pub(super) fn begin(&self, collection: &str) {
        locked(&self.known).entry(collection.to_owned()).or_default();
    }

    pub(super) fn has(&self, collection: &str) -> bool {
        locked(&self.known).contains_key(collection)
    }

    /// It was heard so far.
    pub(super) fn reach(&self, collection: &str, dot: Dot) {
        if let Some(known) = locked(&self.known).get_mut(collection) {
            let heard = known.heard.entry(dot.incarnation).or_default();
            *heard = dot.seq.max(*heard);
        }
    }

    /// All that a site has of it came in.
    pub(super) fn complete(&self, collection: &str, site: &Name) {
        if let Some(known) = locked(&self.known).get_mut(collection) {
            known.whole.insert(site.clone());
        }
        self.changed.notify_waiters();
    }

    fn is_whole(&self, collection: &str, site: &Name) -> bool {
        locked(&self.known).get(collection).is_some_and(|known| known.whole.contains(site))
    }

    fn has_heard(&self, collection: &str, dot: &Dot) -> bool {
        let known = locked(&self.known);
        let heard = known.get(collection).and_then(|known| known.heard.get(&dot.incarnation).copied());
        heard.is_some_and(|seq| seq >= dot.seq)
    }
}

impl Site {
    /// Has the one who takes in look at something.
    pub(super) fn want(&self, add: impl FnOnce(&mut Wanted)) {
        add(&mut locked(&self.0.mesh.wanted));
        // One that is busy looks at it soon anyway.
        let _ = self.0.mesh.heard.try_send(FarNews::Wake);
    }

    /// From now on the news of a collection are listened to, if some site has it.
    pub(super) fn use_collection(&self, collection: &str) {
        if !self.0.mesh.uses.has(collection) && !self.listing_sites(collection).is_empty() {
            self.want(|wanted| wanted.used.extend([collection.to_owned()]));
        }
    }

    /// The sites that have a collection and that this one admits to it.
    pub(super) fn listing_sites(&self, collection: &str) -> Vec<Name> {
        let others = self.0.mesh.roster.others().into_iter();
        others.filter(|site| self.lists(site, collection)).collect()
    }

    /// Whether a site has a collection and this one admits it.
    pub(super) fn lists(&self, site: &Name, collection: &str) -> bool {
        let has = locked(&self.0.mesh.far).has(site, collection) == Some(true);
        has && self.admits(collection, site)
    }

    /// Whether these changes at other sites were heard, as far as they are of this collection.
    pub(in crate::site) fn has_heard_far(&self, collection: &str, dots: &[Dot]) -> bool {
        dots.iter().all(|dot| self.0.mesh.uses.has_heard(collection, dot))
    }

    /// Asks all sites for what they have of a collection and this one lacks.
    pub(in crate::site) fn catch_up_far(&self, collection: &str) {
        if !self.has_sites() {
            return;
        }
        self.want(|wanted| wanted.refreshed.extend([collection.to_owned()]));
    }

    /// Waits until what other sites have of a collection came in, for a second at most. Returns the sites that may have
    /// more.
    pub(in crate::site) async fn gather_far(&self, collection: &str) -> Vec<String> {
        if !self.has_sites() {
            return Vec::new();
        }
        self.use_collection(collection);
        let missing = || {
            let sites = self.sites_with(collection).into_iter();
            sites.filter(|site| !self.0.mesh.uses.is_whole(collection, site)).collect::<Vec<Name>>()
        };
        let is_awaited = |site: &Name| !locked(&self.0.mesh.far).alive(site, self.now_ms()).is_empty();
        let complete = async {
            loop {
                let mut changed = pin!(self.0.mesh.uses.changed.notified());
                changed.as_mut().enable();
                if !missing().iter().any(is_awaited) {
                    return;
                }
                changed.await;
            }
        };
        // Those who are late are named.
        let _ = timeout(ASK_MAX, complete).await;
        let may_have = |site: &Name| !self.0.mesh.uses.is_whole(collection, site) || !is_awaited(site);
        self.sites_with(collection).iter().filter(|site| may_have(site)).map(Name::to_string).collect()
    }
}

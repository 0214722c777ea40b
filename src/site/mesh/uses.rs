//! Which collections of other sites are used here, and how far they were heard: what the one who takes in has come to,
//! for all who ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::{Site, locked};
use super::hear::FarNews;
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
    pub(super) fn begin(&self, collection: &str, heard: &[Dot]) {
        let heard = heard.iter().map(|dot| (dot.incarnation, dot.seq)).collect();
        locked(&self.known).insert(collection.to_owned(), Use { heard, whole: BTreeSet::new() });
    }

    pub(super) fn has(&self, collection: &str) -> bool {
        locked(&self.known).contains_key(collection)
    }

    /// It was heard so far.
    pub(super) fn reach(&self, collection: &str, dot: Dot) {
        if let Some(known) = locked(&self.known).get_mut(collection) {
            known.heard.insert(dot.incarnation, dot.seq);
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

    fn has_heard(&self, collection: &str, dots: &[Dot]) -> bool {
        let known = locked(&self.known);
        let Some(known) = known.get(collection) else { return false };
        dots.iter().all(|dot| known.heard.get(&dot.incarnation).is_some_and(|seq| *seq >= dot.seq))
    }
}

impl Site {
    /// From now on the news of a collection are listened to.
    pub(super) fn use_collection(&self, collection: &str) {
        if !self.0.mesh.uses.has(collection) {
            // Whoever takes it in is busy at times; the next question says the same.
            let _ = self.0.mesh.heard.try_send(FarNews::Use(collection.to_owned()));
        }
    }

    /// Whether these changes at other sites were heard, as far as they are of this collection.
    pub(in crate::site) fn has_heard_far(&self, collection: &str, dots: &[Dot]) -> bool {
        self.0.mesh.uses.has_heard(collection, dots)
    }

    /// Asks all sites for what they have of a collection and this one lacks.
    pub(in crate::site) async fn catch_up_far(&self, collection: &str) {
        if !self.has_sites() {
            return;
        }
        // Whoever takes it in may have ended.
        let _ = self.0.mesh.heard.send(FarNews::Use(collection.to_owned())).await;
        let _ = self.0.mesh.heard.send(FarNews::Refresh(collection.to_owned())).await;
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
        missing().iter().map(Name::to_string).collect()
    }
}

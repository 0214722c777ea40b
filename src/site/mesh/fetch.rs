//! Fetching what another site has of a collection and this one lacks, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::wire::Place;
use super::super::{Site, locked};
use super::call::{Answer, Call};
use super::hear::FarNews;
use crate::error::{Error, Kind, Result};
use crate::model::{ContainerId, Dot, Name};
use crate::store::{Batch, FarContainer};

/// How long a page may take.
const PAGE_MAX: Duration = Duration::from_secs(10);

/// Pages of one collection; a site that has more of them is not believed.
const PAGES_MAX: usize = 100_000;

impl Site {
    /// Fetches it, and tells the one who takes in what came of that.
    pub(super) async fn fetch_collection(&self, site: Name, collection: String, of: Name, seen: Vec<Dot>) {
        let reached = match self.fetch_pages(&site, &collection, &of, seen).await {
            Ok(reached) => Some(reached),
            Err(error) => {
                tracing::debug!(%error, %site, collection, "what is lacking of a collection could not be fetched");
                None
            }
        };
        // Whoever takes it in may have ended.
        let _ = self.0.mesh.heard.send(FarNews::Fetched { site, collection, reached }).await;
    }

    async fn fetch_pages(&self, site: &Name, collection: &str, of: &Name, seen: Vec<Dot>) -> Result<Vec<Dot>> {
        self.take_policy(site, collection).await?;
        if !self.admits(collection, site) {
            let why = "this site's own policy does not admit the other one";
            return Err(Error::new(Kind::Forbidden, why).with("site", site));
        }
        let (mut place, mut reached) = (Place::Memory(None), None);
        for _ in 0..PAGES_MAX {
            let (collection, seen) = (collection.to_owned(), seen.clone());
            let call = Call::Lacking { collection: collection.clone(), seen, place: place.clone() };
            let Answer::Lacking(mut page) = self.call(site, Some(of), &call, PAGE_MAX).await? else {
                return Err(Error::internal("another site answers something else").with("site", site));
            };
            let next = page.next.take();
            // What changed since the first page is told by itself.
            let vector = std::mem::take(&mut page.vector);
            let reached = reached.get_or_insert(vector);
            let (taken, is_taken) = oneshot::channel();
            let heard = FarNews::Page { site: site.clone(), collection, page, taken };
            // The next one is asked for when this one is in: pages do not pile up.
            if self.0.mesh.heard.send(heard).await.is_err() || !is_taken.await.unwrap_or(false) {
                return Err(Error::unavailable("a page could not be taken in"));
            }
            match next {
                Some(next) if next != place => place = next,
                Some(_) => break,
                None => return Ok(std::mem::take(reached)),
            }
        }
        Err(Error::internal("another site's pages do not end").with("site", site))
    }

    /// Notes that these containers are of a site, unless one of them is another one's.
    pub(super) async fn claim_all(&self, site: &Name, keepers: &BTreeMap<ContainerId, Name>) -> Result<()> {
        let mut new = Batch::new();
        for (container, name) in keepers {
            if self.is_own(*container) {
                return Err(self.not_its_own(site));
            }
            match locked(&self.0.mesh.far).claim(*container, site, name) {
                Some(is_new) => {
                    let far = FarContainer { container: *container, site: site.clone(), name: name.clone() };
                    is_new.then(|| new.put_far_container(&far));
                }
                None => return Err(self.not_its_own(site)),
            }
        }
        match new.is_empty() {
            true => Ok(()),
            false => self.blocking(move |keeper| keeper.disk().store().commit_lazily(&new)).await,
        }
    }
}

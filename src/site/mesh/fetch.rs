//! Fetching what another site has of a collection and this one lacks, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::wire::Place;
use super::super::{Site, locked};
use super::call::{Answer, Call, FarPage};
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
        let mut place = Place::first();
        let mut page = self.ask_page(site, collection, of, &seen, &place).await?;
        // What changed since the first page is told by itself.
        let reached = std::mem::take(&mut page.vector);
        for _ in 0..PAGES_MAX {
            let next = page.next.take();
            let (taken, is_taken) = oneshot::channel();
            let heard = FarNews::Page { site: site.clone(), collection: collection.to_owned(), page, taken };
            let unable = || Error::unavailable("a page could not be taken in");
            self.0.mesh.heard.send(heard).await.map_err(|_| unable())?;
            let Some(next) = next else {
                return is_taken.await.is_ok_and(|is_taken| is_taken).then_some(reached).ok_or_else(unable);
            };
            if next == place {
                break;
            }
            place = next;
            // The next one comes while this one is taken in; more of them do not pile up.
            let (asked, is_taken) = tokio::join!(self.ask_page(site, collection, of, &seen, &place), is_taken);
            if !is_taken.unwrap_or(false) {
                return Err(unable());
            }
            page = asked?;
        }
        Err(Error::internal("another site's pages do not end").with("site", site))
    }

    async fn ask_page(&self, site: &Name, collection: &str, of: &Name, seen: &[Dot], place: &Place) -> Result<FarPage> {
        let call = Call::Lacking { collection: collection.to_owned(), seen: seen.to_vec(), place: place.clone() };
        match self.call(site, Some(of), &call, PAGE_MAX).await? {
            Answer::Lacking(page) => Ok(page),
            _ => Err(Error::internal("another site answers something else").with("site", site)),
        }
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

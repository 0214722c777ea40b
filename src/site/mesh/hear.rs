//! Taking in what other sites tell: one task, so that how far their news were heard has one owner.
//!
//! A collection is used here from the first question on that this site asks others about it, or from when both this site
//! and another one have it. What lies behind is fetched from each site once, and again whenever something may have been
//! missed: a gap in the news, a lost voice, a site that was silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::horizon::Horizon;
use super::super::wire::{Place, Told};
use super::super::{Site, locked};
use super::call::{Answer, Call, FarPage};
use super::listen;
use super::tell::Tidings;
use crate::error::{Error, Kind, Result};
use crate::limits::COLLECTIONS_USED_MAX;
use crate::model::{Address, ContainerId, Dot, Entry, Name};
use crate::store::{Batch, FarContainer, NewsPlace};

/// How often what is to be fetched is begun, and what was heard is kept.
const TICK: Duration = Duration::from_millis(500);

/// How long a page may take.
const PAGE_MAX: Duration = Duration::from_secs(10);

/// Entries that one commit takes in: while it lasts, pushes wait.
const LESSONS_MAX: usize = 512;

/// How often it is looked which collections both this site and others have, in ticks.
const COMMON_EVERY: u64 = 2;

/// What was heard.
pub(in crate::site) enum FarNews {
    /// Changes, as they happened.
    Tidings { site: Name, collection: String, news: Tidings },
    /// Something may have been missed of a site.
    Check(Name),
    /// Collections of a site are new, or their policies are.
    Listed(Name, Vec<String>),
    /// A collection is used here from now on.
    Use(String),
    /// All that other sites have of a collection is to be here.
    Refresh(String),
    /// An answer to what was fetched; with it how far all of them together come, in the last one.
    Page { site: Name, collection: String, page: FarPage, reached: Option<Vec<Dot>> },
    /// Nothing more comes of what was fetched.
    Fetched { site: Name, collection: String, failed: bool },
}

struct Used {
    horizon: Horizon,
    /// Whether more was heard than is kept.
    dirty: bool,
    listening: JoinHandle<()>,
}

impl Drop for Used {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Ear {
    site: Site,
    used: BTreeMap<String, Used>,
    /// What is to be fetched, and what is being fetched.
    lacking: BTreeSet<(Name, String)>,
    fetching: BTreeSet<(Name, String)>,
    /// What could not be fetched, and is tried again with the next tick.
    failed: BTreeSet<(Name, String)>,
}

/// Takes in what is heard, until nobody can tell anything any more.
pub(super) async fn take_in(site: Site, mut heard: mpsc::Receiver<FarNews>) {
    let mut ear = Ear {
        site,
        used: BTreeMap::new(),
        lacking: BTreeSet::new(),
        fetching: BTreeSet::new(),
        failed: BTreeSet::new(),
    };
    let known = ear.site.blocking(|keeper| keeper.disk().store().news_places()).await.unwrap_or_default();
    for NewsPlace { collection, heard } in known {
        ear.begin(collection, heard).await;
    }
    let (mut tick, mut ticks) = (tokio::time::interval(TICK), 0u64);
    loop {
        tokio::select! {
            news = heard.recv() => match news {
                Some(news) => ear.take(news).await,
                None => return,
            },
            _ = tick.tick() => {
                ticks += 1;
                if ticks.is_multiple_of(COMMON_EVERY) {
                    ear.use_common().await;
                }
                ear.keep().await;
                ear.lacking.append(&mut ear.failed);
            }
        }
        ear.fetch();
    }
}

impl Ear {
    async fn take(&mut self, news: FarNews) {
        let taken = match news {
            FarNews::Tidings { site, collection, news } => self.take_tidings(site, collection, news).await,
            FarNews::Check(site) => {
                self.check(&site);
                Ok(())
            }
            FarNews::Listed(site, collections) => {
                let used = collections.into_iter().filter(|collection| self.used.contains_key(collection));
                let todo: Vec<_> = used.map(|collection| (site.clone(), collection)).collect();
                self.lacking.extend(todo);
                Ok(())
            }
            FarNews::Use(collection) => {
                self.begin(collection, Vec::new()).await;
                Ok(())
            }
            FarNews::Refresh(collection) => {
                let sites = self.site.0.mesh.roster.others().into_iter();
                self.lacking.extend(sites.map(|site| (site, collection.clone())));
                Ok(())
            }
            FarNews::Page { site, collection, page, reached } => self.take_page(site, collection, page, reached).await,
            FarNews::Fetched { site, collection, failed } => {
                let what = (site, collection);
                self.fetching.remove(&what);
                if failed {
                    self.failed.insert(what);
                    return;
                }
                self.site.0.mesh.uses.complete(&what.1, &what.0);
                if self.used.get(&what.1).is_some_and(|used| !used.horizon.has_gap()) {
                    // Whatever came in meanwhile behind a gap stands behind it no more.
                    self.lacking.remove(&what);
                }
                Ok(())
            }
        };
        if let Err(error) = taken {
            tracing::warn!(%error, "what another site told could not be taken in; it is asked for again");
        }
    }

    /// From now on a collection is listened to, and what is behind is fetched.
    async fn begin(&mut self, collection: String, heard: Vec<Dot>) {
        if self.used.contains_key(&collection) || self.used.len() >= COLLECTIONS_USED_MAX {
            return;
        }
        let news = match self.site.subscribe(&format!("mesh.news.*.{collection}")).await {
            Ok(news) => news,
            Err(error) => return tracing::warn!(%error, collection, "the news of a collection cannot be heard"),
        };
        let listening = tokio::spawn(listen::listen(self.site.clone(), collection.clone(), news));
        self.site.0.mesh.uses.begin(&collection, &heard);
        let used = Used { horizon: Horizon::of(heard), dirty: true, listening };
        self.used.insert(collection.clone(), used);
        for site in self.site.0.mesh.roster.others() {
            self.lacking.insert((site, collection.clone()));
        }
    }

    /// What this site has and another one as well is used.
    async fn use_common(&mut self) {
        for site in self.site.0.mesh.roster.others() {
            let theirs = locked(&self.site.0.mesh.far).collections(&site).unwrap_or_default();
            for collection in theirs {
                if !self.used.contains_key(&collection) && self.site.has_collection(&collection) {
                    self.begin(collection, Vec::new()).await;
                }
            }
        }
    }

    /// Something of a site may have been missed.
    fn check(&mut self, site: &Name) {
        self.lacking.extend(self.used.keys().map(|collection| (site.clone(), collection.clone())));
    }

    async fn take_tidings(&mut self, site: Name, collection: String, news: Tidings) -> Result<()> {
        let Tidings { from, incarnation, after, upto, entries } = news;
        let home = locked(&self.site.0.mesh.far).home(from).map(|(home, _)| home.clone());
        match home {
            Some(home) if home == site => {}
            // Nobody has heard its voice yet; when that comes, what it told is fetched.
            None => return Ok(()),
            Some(_) => return Err(self.site.not_its_own(&site)),
        }
        if entries.iter().any(|Told(_, entry)| entry.keeper != from) {
            return Err(self.site.not_its_own(&site));
        }
        self.learn(&collection, entries).await?;
        let Some(used) = self.used.get_mut(&collection) else { return Ok(()) };
        let reached = used.horizon.hear(incarnation, after, upto);
        if let Some(reached) = reached {
            used.dirty = true;
            self.site.0.mesh.uses.reach(&collection, reached);
        }
        if !used.horizon.has(Dot { incarnation, seq: upto }) {
            self.lacking.insert((site, collection));
        }
        Ok(())
    }

    async fn take_page(
        &mut self,
        site: Name,
        collection: String,
        page: FarPage,
        reached: Option<Vec<Dot>>,
    ) -> Result<()> {
        let FarPage { entries, keepers, .. } = page;
        let keepers: BTreeMap<ContainerId, Name> =
            keepers.into_iter().filter_map(|(id, name)| Some((id, name.parse().ok()?))).collect();
        self.site.claim_all(&site, &keepers).await?;
        if entries.iter().any(|Told(_, entry)| !keepers.contains_key(&entry.keeper)) {
            return Err(self.site.not_its_own(&site));
        }
        self.learn(&collection, entries).await?;
        let Some(used) = self.used.get_mut(&collection) else { return Ok(()) };
        for dot in reached.into_iter().flatten() {
            if let Some(reached) = used.horizon.reach(dot) {
                used.dirty = true;
                self.site.0.mesh.uses.reach(&collection, reached);
            }
        }
        Ok(())
    }

    async fn learn(&self, collection: &str, entries: Vec<Told>) -> Result<()> {
        let lessons = entries.into_iter().filter_map(Told::lesson);
        let mut lessons: Vec<(Address, Entry)> =
            lessons.filter(|(address, _)| address.collection() == collection).collect();
        while !lessons.is_empty() {
            let rest = lessons.split_off(lessons.len().min(LESSONS_MAX));
            self.site.learn_far(std::mem::replace(&mut lessons, rest)).await?;
        }
        Ok(())
    }

    /// Begins to fetch what is lacking of sites that can be asked.
    fn fetch(&mut self) {
        let now_ms = self.site.now_ms();
        let todo: Vec<(Name, String)> = self.lacking.difference(&self.fetching).cloned().collect();
        for (site, collection) in todo {
            let of = {
                let far = locked(&self.site.0.mesh.far);
                if far.has(&site, &collection) != Some(true) {
                    continue;
                }
                far.alive(&site, now_ms).into_iter().next()
            };
            let (Some((_, of)), Some(used)) = (of, self.used.get(&collection)) else { continue };
            let Ok(turn) = Arc::clone(&self.site.0.mesh.asking).try_acquire_owned() else { return };
            let what = (site, collection);
            self.lacking.remove(&what);
            self.fetching.insert(what.clone());
            let (me, seen) = (self.site.clone(), used.horizon.dots());
            self.site.spawn(async move {
                me.fetch_collection(what, of, seen).await;
                drop(turn);
            });
        }
    }

    /// Keeps how far the news were heard. What was taken in is committed before, so a crash only fetches some again.
    async fn keep(&mut self) {
        let mut batch = Batch::new();
        for (collection, used) in self.used.iter_mut().filter(|(_, used)| used.dirty) {
            used.dirty = false;
            batch.put_news_place(&NewsPlace { collection: collection.clone(), heard: used.horizon.dots() });
        }
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.site.blocking(move |keeper| keeper.disk().store().commit_lazily(&batch)).await {
            tracing::debug!(%error, "how far the news of other sites were heard cannot be kept");
        }
    }
}

impl Site {
    /// Whether this site has made a collection.
    fn has_collection(&self, collection: &str) -> bool {
        self.news_key(collection).is_some()
    }

    /// A site told something that is not its to tell.
    pub(super) fn not_its_own(&self, site: &Name) -> Error {
        let error = Error::new(Kind::Unauthorised, "a site tells of what another one keeps").with("site", site);
        self.meet_stranger("mesh.news", &error);
        error
    }

    /// Notes that these containers are of a site, unless one of them is another one's.
    pub(super) async fn claim_all(&self, site: &Name, keepers: &BTreeMap<ContainerId, Name>) -> Result<()> {
        let mut new = Batch::new();
        for (container, name) in keepers {
            let of_own = locked(&self.0.members).get(*container).is_some();
            match locked(&self.0.mesh.far).claim(*container, site, name) {
                Some(is_new) if !of_own => {
                    let far = FarContainer { container: *container, site: site.clone(), name: name.clone() };
                    is_new.then(|| new.put_far_container(&far));
                }
                _ => return Err(self.not_its_own(site)),
            }
        }
        match new.is_empty() {
            true => Ok(()),
            false => self.blocking(move |keeper| keeper.disk().store().commit_lazily(&new)).await,
        }
    }

    /// Takes in what another site keeps. No dot of it is one of this site's row.
    pub(super) async fn learn_far(&self, lessons: Vec<(Address, Entry)>) -> Result<()> {
        for (address, _) in &lessons {
            self.0.asks.forget(address);
        }
        let learnt = self.blocking(move |keeper| keeper.learn(&lessons, &[])).await?;
        self.report(&learnt);
        Ok(())
    }

    async fn fetch_collection(&self, (site, collection): (Name, String), of: Name, seen: Vec<Dot>) {
        let outcome = self.fetch_pages(&site, &collection, &of, seen).await;
        if let Err(error) = &outcome {
            tracing::debug!(%error, %site, collection, "what is lacking of a collection could not be fetched");
        }
        let fetched = FarNews::Fetched { site, collection, failed: outcome.is_err() };
        // Whoever takes it in may have ended.
        let _ = self.0.mesh.heard.send(fetched).await;
    }

    async fn fetch_pages(&self, site: &Name, collection: &str, of: &Name, seen: Vec<Dot>) -> Result<()> {
        self.take_policy(site, collection).await?;
        let (mut place, mut vector) = (Place::Memory(None), None);
        loop {
            let call = Call::Lacking { collection: collection.to_owned(), seen: seen.clone(), place };
            let Answer::Lacking(mut page) = self.call(site, Some(of), &call, PAGE_MAX).await? else {
                return Err(Error::internal("another site answers something else").with("site", site));
            };
            let next = page.next.take();
            // What changed since the first page is told by itself.
            let reached = vector.get_or_insert(std::mem::take(&mut page.vector));
            let reached = next.is_none().then(|| reached.clone());
            let heard = FarNews::Page { site: site.clone(), collection: collection.to_owned(), page, reached };
            if self.0.mesh.heard.send(heard).await.is_err() {
                return Ok(());
            }
            match next {
                Some(next) => place = next,
                None => return Ok(()),
            }
        }
    }
}

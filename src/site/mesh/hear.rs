//! Taking in what other sites tell: one task, so that how far their news were heard has one owner.
//!
//! A collection is used here from the first question on that this site asks others about it, or from when both this site
//! and another one have it. What lies behind is fetched from each site once, and again whenever something may have been
//! missed: a gap in the news, a lost voice, a site that was silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::horizon::Horizon;
use super::super::wire::Told;
use super::super::{Site, locked};
use super::call::FarPage;
use super::listen;
use super::tell::Tidings;
use crate::error::{Error, Kind, Result};
use crate::limits::COLLECTIONS_USED_MAX;
use crate::model::{Address, ContainerId, Dot, Entry, Name};
use crate::store::{Batch, NewsPlace};

/// How often what is to be fetched is begun, and what was heard is kept.
const TICK: Duration = Duration::from_millis(500);

/// How often it is looked which collections both this site and others have, in ticks.
const COMMON_EVERY: u64 = 2;

/// How long it is waited after a fetch that failed, at first and at most.
const RETRY_FIRST_MS: u64 = 500;
const RETRY_MOST_MS: u64 = 30_000;

/// Entries that one commit takes in: while it lasts, pushes wait.
const LESSONS_MAX: usize = 512;

/// What was heard.
pub(in crate::site) enum FarNews {
    /// Changes, as they happened.
    Tidings { site: Name, collection: String, news: Tidings },
    /// Something is to be looked at: see [`Wanted`].
    Wake,
    /// A part of what is fetched, and whom to tell that it was taken in.
    Page { site: Name, collection: String, page: FarPage, taken: oneshot::Sender<bool> },
    /// All of it came, and this is how far it comes; or nothing more comes of it.
    Fetched { site: Name, collection: String, reached: Option<Vec<Dot>> },
}

/// What others want the one who takes in to look at. It is not in the queue: whoever hears voices waits for nobody.
#[derive(Default)]
pub(super) struct Wanted {
    /// Sites of which something may have been missed.
    pub sites: BTreeSet<Name>,
    /// Collections of a site that are new, or whose policies are.
    pub listed: BTreeSet<(Name, String)>,
    /// Collections that are used from now on.
    pub used: BTreeSet<String>,
    /// Collections all of which is to be here.
    pub refreshed: BTreeSet<String>,
}

/// The news of one site of one collection.
#[derive(Default)]
struct Row {
    horizon: Horizon,
    /// Whether more was heard than is kept.
    dirty: bool,
    /// Whether something is to be fetched, and how far it was heard when that was noticed first: what is told meanwhile
    /// proves nothing of what is behind it.
    lacks: Option<Vec<Dot>>,
    /// Fetches that failed, one after the other.
    failed: u32,
    /// When it is tried again.
    not_before_ms: u64,
}

impl Row {
    fn lack(&mut self) {
        if self.lacks.is_none() {
            self.lacks = Some(self.horizon.dots());
        }
    }
}

struct Ear {
    site: Site,
    /// Who listens to each collection that is used.
    listening: BTreeMap<String, Listener>,
    rows: BTreeMap<(Name, String), Row>,
    /// What is being fetched, of each site at most one collection.
    fetching: BTreeMap<Name, Fetch>,
}

struct Fetch {
    collection: String,
    /// Whether something may have been missed since it was begun.
    again: bool,
    /// Whether something came in behind a gap since then.
    met_gap: bool,
}

/// A task that ends with this.
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes in what is heard, until nobody can tell anything any more.
pub(super) async fn take_in(site: Site, mut heard: mpsc::Receiver<FarNews>) {
    let mut ear = Ear { site, listening: BTreeMap::new(), rows: BTreeMap::new(), fetching: BTreeMap::new() };
    let known = ear.site.blocking(|keeper| keeper.disk().store().news_places()).await.unwrap_or_default();
    for NewsPlace { site, collection, heard } in known {
        ear.begin(&collection).await;
        heard.iter().for_each(|dot| ear.site.0.mesh.uses.reach(&collection, *dot));
        let row = Row { horizon: Horizon::of(heard), ..Row::default() };
        ear.rows.insert((site, collection), row);
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
                ear.look().await;
                ear.fetch();
                ear.keep().await;
            }
        }
    }
}

impl Ear {
    async fn take(&mut self, news: FarNews) {
        match news {
            FarNews::Tidings { site, collection, news } => {
                let what = (site, collection);
                if let Err(error) = self.take_tidings(&what, news).await {
                    tracing::warn!(%error, site = %what.0, "what another site told could not be taken in");
                    self.lack(what);
                }
            }
            FarNews::Wake => {
                self.look().await;
                self.fetch();
            }
            FarNews::Page { site, collection, page, taken } => {
                let outcome = self.take_page(&site, &collection, page).await;
                if let Err(error) = &outcome {
                    tracing::warn!(%error, %site, "what another site has could not be taken in; it is asked for again");
                }
                // Who fetches may have been ended.
                let _ = taken.send(outcome.is_ok());
            }
            FarNews::Fetched { site, collection, reached } => {
                self.note_fetched(site, collection, reached);
                // At once: it was much work, and what is not kept of it is done again after a restart.
                self.keep().await;
                self.fetch();
            }
        }
    }

    /// From now on a collection is listened to, and what is behind is fetched.
    async fn begin(&mut self, collection: &str) {
        if self.listening.contains_key(collection) {
            return;
        }
        if self.listening.len() >= COLLECTIONS_USED_MAX {
            return tracing::warn!(collection, "too many collections of other sites are used; misses ask for this one");
        }
        let news = match self.site.subscribe(&format!("mesh.news.*.{collection}")).await {
            Ok(news) => news,
            Err(error) => return tracing::warn!(%error, collection, "the news of a collection cannot be heard"),
        };
        let listening = tokio::spawn(listen::listen(self.site.clone(), collection.to_owned(), news));
        self.listening.insert(collection.to_owned(), Listener(listening));
        self.site.0.mesh.uses.begin(collection);
        self.lack_of_all(collection);
    }

    /// What every site that has a collection has of it is to be here.
    fn lack_of_all(&mut self, collection: &str) {
        for site in self.site.listing_sites(collection) {
            self.lack((site, collection.to_owned()));
        }
    }

    fn lack(&mut self, what: (Name, String)) {
        if let Some(fetch) = self.fetching.get_mut(&what.0).filter(|fetch| fetch.collection == what.1) {
            fetch.again = true;
        }
        self.rows.entry(what).or_default().lack();
    }

    /// What this site has and another one as well is used, and what a policy says.
    async fn use_common(&mut self) {
        let common = self.site.common_collections();
        let subscribed = self.site.subscribed_collections();
        for collection in common.into_iter().chain(subscribed) {
            self.begin(&collection).await;
        }
    }

    /// Looks at what others want.
    async fn look(&mut self) {
        let Wanted { sites, listed, used, refreshed } = std::mem::take(&mut *locked(&self.site.0.mesh.wanted));
        for collection in used.iter().chain(&refreshed) {
            self.begin(collection).await;
        }
        refreshed.iter().for_each(|collection| self.lack_of_all(collection));
        let is_used = |what: &(Name, String)| self.listening.contains_key(&what.1);
        let mut todo: Vec<(Name, String)> = listed.into_iter().filter(is_used).collect();
        todo.extend(self.rows.keys().filter(|(site, _)| sites.contains(site)).cloned());
        todo.into_iter().for_each(|what| self.lack(what));
    }

    async fn take_tidings(&mut self, what: &(Name, String), news: Tidings) -> Result<()> {
        let (site, collection) = what;
        let Tidings { from, incarnation, after, upto, entries } = news;
        let home = locked(&self.site.0.mesh.far).home(from).map(|(home, _)| home.clone());
        match home {
            Some(home) if home == *site && !self.site.is_own(from) => {}
            // Nobody has heard its voice yet; when that comes, what it told is fetched.
            None => return Ok(()),
            Some(_) => return Err(self.site.not_its_own(site)),
        }
        if entries.iter().any(|Told(_, entry)| entry.keeper != from) {
            return Err(self.site.not_its_own(site));
        }
        // The policy here says who has a say in it.
        if !self.site.admits(collection, site) {
            return Ok(());
        }
        let row = self.rows.entry(what.clone()).or_default();
        let end = Dot { incarnation, seq: upto };
        // What comes a second time says nothing new.
        if entries.is_empty() && row.horizon.has(end) {
            return Ok(());
        }
        self.learn(collection, entries).await?;
        let row = self.rows.entry(what.clone()).or_default();
        if let Some(reached) = row.horizon.hear(incarnation, after, upto) {
            row.dirty = true;
            self.site.0.mesh.uses.reach(collection, reached);
        }
        if !row.horizon.has(end) {
            if let Some(fetch) = self.fetching.get_mut(site).filter(|fetch| fetch.collection == *collection) {
                fetch.met_gap = true;
            }
            self.rows.entry(what.clone()).or_default().lack();
            self.fetch();
        }
        Ok(())
    }

    async fn take_page(&mut self, site: &Name, collection: &str, page: FarPage) -> Result<()> {
        if !self.site.admits(collection, site) {
            return Err(Error::new(Kind::Forbidden, "the policy here does not admit the site").with("site", site));
        }
        let FarPage { entries, keepers, .. } = page;
        let keepers: BTreeMap<ContainerId, Name> =
            keepers.into_iter().filter_map(|(id, name)| Some((id, name.parse().ok()?))).collect();
        self.site.claim_all(site, &keepers).await?;
        if entries.iter().any(|Told(_, entry)| !keepers.contains_key(&entry.keeper)) {
            return Err(self.site.not_its_own(site));
        }
        self.learn(collection, entries).await
    }

    fn note_fetched(&mut self, site: Name, collection: String, reached: Option<Vec<Dot>>) {
        let fetch = self.fetching.remove(&site);
        let now_ms = self.site.now_ms();
        let row = self.rows.entry((site.clone(), collection.clone())).or_default();
        let Some(reached) = reached else {
            row.failed += 1;
            let wait = RETRY_FIRST_MS << (row.failed - 1).min(10);
            row.not_before_ms = now_ms + wait.min(RETRY_MOST_MS);
            return;
        };
        for dot in reached {
            if let Some(reached) = row.horizon.reach(dot) {
                row.dirty = true;
                self.site.0.mesh.uses.reach(&collection, reached);
            }
        }
        (row.failed, row.lacks) = (0, None);
        // Whatever came in meanwhile behind a gap stands behind it no more, as a rule.
        if fetch.is_some_and(|fetch| fetch.again || fetch.met_gap && row.horizon.has_gap()) {
            row.lack();
            row.not_before_ms = now_ms + RETRY_FIRST_MS;
        }
        self.site.0.mesh.uses.complete(&collection, &site);
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

    /// Begins to fetch what is lacking of sites that can be asked, one collection of each at a time.
    fn fetch(&mut self) {
        let now_ms = self.site.now_ms();
        let is_due = |(site, _): &&(Name, String), row: &Row| {
            row.lacks.is_some() && row.not_before_ms <= now_ms && !self.fetching.contains_key(site)
        };
        let due: Vec<_> = self.rows.iter().filter(|(what, row)| is_due(what, row)).collect();
        let mut todo: BTreeMap<Name, (String, Vec<Dot>, u32)> = BTreeMap::new();
        for ((site, collection), row) in due {
            if self.site.lists(site, collection) {
                let seen = row.lacks.clone().unwrap_or_default();
                todo.entry(site.clone()).or_insert_with(|| (collection.clone(), seen, row.failed));
            }
        }
        for (site, (collection, seen, failed)) in todo {
            let alive = locked(&self.site.0.mesh.far).alive(&site, now_ms);
            // Where one could not tell, another one may.
            let Some((_, of)) = alive.get(failed as usize % alive.len().max(1)).cloned() else { continue };
            let Ok(turn) = Arc::clone(&self.site.0.mesh.walks).try_acquire_owned() else { return };
            let fetch = Fetch { collection: collection.clone(), again: false, met_gap: false };
            self.fetching.insert(site.clone(), fetch);
            let me = self.site.clone();
            self.site.spawn(async move {
                me.fetch_collection(site, collection, of, seen).await;
                drop(turn);
            });
        }
    }

    /// Keeps how far the news were heard. What was taken in is committed before, so a crash only fetches some again.
    async fn keep(&mut self) {
        let mut batch = Batch::new();
        for ((site, collection), row) in self.rows.iter_mut().filter(|(_, row)| row.dirty) {
            row.dirty = false;
            let (site, collection) = (site.clone(), collection.clone());
            batch.put_news_place(&NewsPlace { site, collection, heard: row.horizon.dots() });
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
    /// A site told something that is not its to tell.
    pub(super) fn not_its_own(&self, site: &Name) -> Error {
        let error = Error::new(Kind::Unauthorised, "a site tells of what another one keeps").with("site", site);
        self.meet_stranger("mesh.news", &error);
        error
    }

    /// Takes in what another site keeps. No dot of it is one of this site's row.
    pub(super) async fn learn_far(&self, lessons: Vec<(Address, Entry)>) -> Result<()> {
        for (address, _) in &lessons {
            self.0.asks.forget(address);
        }
        let learnt = self.blocking(move |keeper| keeper.learn_of_sites(&lessons)).await?;
        self.report(&learnt);
        Ok(())
    }
}

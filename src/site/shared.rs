//! What every container of a site holds alike: the policies of collections, tokens, and the sites and policies of the mesh. There is little of it and it
//! changes seldom, so each beat carries a sum over all of it, and where sums differ one asks the other for the whole.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::wire::{self, Question, Reply};
use super::{Site, locked};
use crate::error::{Error, Result};
use crate::limits::ASK_MAX;
use crate::model::{ContainerId, Name, PolicyRecord, SiteRecord, TokenRecord, fingerprint, mix};
use crate::store::CollectionRecord;

/// How long a page of it may take.
const PAGE_MAX: Duration = Duration::from_secs(5);

/// A record that all hold alike. The newer one of two with the same key wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shared {
    /// A collection.
    Collection(String, CollectionRecord),
    /// A collection that was removed at this revision, at this moment.
    Removed(String, u64, u64),
    /// A token, without its secret.
    Token(TokenRecord),
    /// A site of the mesh.
    Site(SiteRecord),
    /// A version of a policy of the mesh.
    Policy(PolicyRecord),
}

impl Shared {
    /// What it is about; sorted by this.
    pub fn key(&self) -> String {
        match self {
            Shared::Collection(name, _) | Shared::Removed(name, ..) => format!("collection {name}"),
            Shared::Token(record) => format!("token {}", record.id),
            Shared::Site(record) => format!("site {}", record.name),
            Shared::Policy(record) => format!("policy {} {}", record.name, record.version),
        }
    }

    /// The key of a collection.
    pub fn key_of(name: &Name) -> String {
        format!("collection {name}")
    }

    /// A number that all who hold the same have alike, and hardly anybody else.
    fn sum(&self) -> u64 {
        mix(fingerprint(&wire::plain(self).unwrap_or_default()))
    }
}

/// Where this container holds it.
pub trait SharedBook: Send + Sync {
    /// All of it but for the policies of the mesh.
    fn all(&self) -> Vec<Shared>;

    /// Whether there is a collection of this name.
    fn has_collection(&self, name: &str) -> bool;

    /// Takes in what is newer than what is here. It waits for the disk.
    fn merge(&self, records: Vec<Shared>) -> Result<()>;

    /// Rung when it was changed here.
    fn changed(&self) -> Arc<Notify>;
}

/// Tells the others at once that something was changed here.
pub(super) async fn tell(site: Site) {
    let changed = site.0.parts.shared.changed();
    loop {
        changed.notified().await;
        // What this site shows from now on, before anybody asks.
        site.shown_sum();
        site.0.mesh.heard_of.notify_one();
        if let Err(error) = site.say_beat().await {
            tracing::debug!(%error, "the others will hear later of a changed policy or token");
        }
    }
}

impl Site {
    /// The sum over all that is held alike, in whatever order.
    pub(super) fn shared_sum(&self) -> u64 {
        let records = self.0.parts.shared.all();
        records.iter().fold(self.0.parts.policies.sum(), |sum, record| sum.wrapping_add(record.sum()))
    }

    /// Whoever holds something else is asked for it, one at a time.
    pub(super) fn compare_shared(&self, from: ContainerId, theirs: u64) {
        if theirs == self.shared_sum() {
            return;
        }
        if let Ok(turn) = Arc::clone(&self.0.sharing).try_acquire_owned() {
            let site = self.clone();
            tokio::spawn(async move {
                if let Err(error) = site.take_shared(from).await {
                    tracing::debug!(%error, "policies and tokens of another container could not be asked for");
                }
                drop(turn);
            });
        }
    }

    async fn take_shared(&self, from: ContainerId) -> Result<()> {
        let name = locked(&self.0.members).get(from).map(|member| member.name.clone());
        let Some(name) = name else { return Ok(()) };
        let mut after = None;
        loop {
            let (records, next) = self.ask_shared(&name, after, None).await?;
            self.merge_shared(records).await?;
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn ask_shared(
        &self,
        name: &Name,
        after: Option<String>,
        only: Option<String>,
    ) -> Result<(Vec<Shared>, Option<String>)> {
        match self.ask_one(name, &Question::Shared { after, only }, PAGE_MAX.min(ASK_MAX)).await? {
            Reply::Shared(records, next) => Ok((records, next)),
            Reply::Refused(why) => Err(Error::unavailable("another container refuses").because(why)),
            _ => Err(Error::internal("another container answers something else")),
        }
    }

    pub(super) async fn merge_shared(&self, records: Vec<Shared>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let site = self.clone();
        let merged = tokio::task::spawn_blocking(move || site.0.parts.shared.merge(records)).await;
        merged.map_err(|error| Error::internal("policies could not be taken in").because(error))?
    }

    /// Asks all others for a collection that is not known here, before it is made.
    pub(super) async fn find_collection(&self, name: &Name) {
        join(self.find_here(name), self.find_policy(name)).await;
    }

    async fn find_here(&self, name: &Name) {
        let now_ms = self.now_ms();
        let others: Vec<Name> = locked(&self.0.members).alive(now_ms).map(|member| member.name.clone()).collect();
        let key = Shared::key_of(name);
        let ask = |other: Name| {
            let key = key.clone();
            async move { self.ask_shared(&other, None, Some(key)).await }
        };
        for (records, _) in join_all(others.into_iter().map(ask)).await.into_iter().flatten() {
            if let Err(error) = self.merge_shared(records).await {
                tracing::warn!(%error, collection = %name, "the policy of a collection could not be taken over");
            }
        }
    }

    /// A page of what is held here.
    pub(super) fn shared_page(
        &self,
        after: Option<&str>,
        only: Option<&str>,
        room: usize,
    ) -> (Vec<Shared>, Option<String>) {
        let wanted = |record: &Shared| {
            let key = record.key();
            only.is_none_or(|only| key == only) && after.is_none_or(|after| key.as_str() > after)
        };
        let (mut page, mut bytes) = (Vec::new(), 0);
        let policies = self.0.parts.policies.records().into_iter().map(Shared::Policy);
        let mut all: Vec<Shared> = self.0.parts.shared.all().into_iter().chain(policies).filter(wanted).collect();
        all.sort_by_cached_key(Shared::key);
        for record in all {
            bytes += wire::plain(&record).map_or(0, |plain| plain.len());
            if bytes > room && !page.is_empty() {
                let last = page.last().map(Shared::key);
                return (page, last);
            }
            page.push(record);
        }
        (page, None)
    }
}

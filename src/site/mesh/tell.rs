//! Telling other sites what changes here, a collection at a time, and in between how far that has come: what was lost on
//! the way shows in what comes next, at the latest after a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::wire::{self, Said, Told};
use super::super::{Site, locked};
use crate::error::Result;
use crate::model::{Address, ContainerId, Entry, Incarnation};
use crate::nfr::SystemRng;

/// How often it is looked whether something is to be repeated.
const LOOK: Duration = Duration::from_millis(250);

/// After how long it is said again how far the news of a collection have come, each time four times as long.
const FIRST_REPEAT_MS: u64 = 500;
const LAST_REPEAT_MS: u64 = 60_000;

/// Entries of one message, before it is measured.
const ENTRIES_MAX: usize = 256;

/// Changes of a collection by one life of a container, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::site) struct Tidings {
    pub from: ContainerId,
    pub incarnation: Incarnation,
    /// Every change of the collection behind this one…
    pub after: u64,
    /// …up to this one is in here, or was replaced since.
    pub upto: u64,
    pub entries: Vec<Told>,
}

impl Said for Tidings {
    const KIND: &'static str = "news 1";
}

/// How far others were told of each collection.
#[derive(Default)]
pub(super) struct Chains {
    /// Behind which change nothing was left out, of a collection that nothing was told of yet.
    base: u64,
    /// How often something was left out.
    begun: u64,
    ends: BTreeMap<String, End>,
}

struct End {
    upto: u64,
    repeat_ms: u64,
    /// When it is said again; never where nobody may hear it.
    due_ms: Option<u64>,
}

impl Chains {
    fn after(&self, collection: &str) -> u64 {
        self.ends.get(collection).map_or(self.base, |end| end.upto)
    }

    fn told(&mut self, collection: &str, upto: u64, now_ms: u64) {
        let end = End { upto, repeat_ms: FIRST_REPEAT_MS, due_ms: Some(now_ms + FIRST_REPEAT_MS) };
        self.ends.insert(collection.to_owned(), end);
    }

    /// Nobody may hear it. Whoever may later finds a gap before what it hears then.
    fn passed_over(&mut self, collection: &str, upto: u64) {
        let end = End { upto, repeat_ms: LAST_REPEAT_MS, due_ms: None };
        self.ends.insert(collection.to_owned(), end);
    }

    fn due(&mut self, now_ms: u64) -> Vec<(String, u64)> {
        let due = self.ends.iter_mut().filter(|(_, end)| end.due_ms.is_some_and(|due_ms| due_ms <= now_ms));
        due.map(|(collection, end)| {
            end.repeat_ms = (end.repeat_ms * 4).min(LAST_REPEAT_MS);
            end.due_ms = Some(now_ms + end.repeat_ms);
            (collection.clone(), end.upto)
        })
        .collect()
    }
}

/// Says now and then how far each collection has come.
pub(super) async fn repeat(site: Site) {
    loop {
        tokio::time::sleep(LOOK).await;
        let due = locked(&site.0.mesh.chains).due(site.now_ms());
        for (collection, upto) in due {
            let own = site.keeper().last_dot().incarnation;
            let news = Tidings { from: site.0.me, incarnation: own, after: upto, upto, entries: Vec::new() };
            if let Err(error) = site.publish_news(&collection, &news).await {
                tracing::debug!(%error, collection, "other sites are not told how far a collection has come");
            }
        }
    }
}

impl Site {
    /// From here on again: what was before is asked for by whoever lacks it.
    pub(in crate::site) fn begin_chains(&self, base: u64) {
        let mut chains = locked(&self.0.mesh.chains);
        *chains = Chains { base, begun: chains.begun + 1, ends: BTreeMap::new() };
    }

    /// How often that was so: who hears another number than before asks.
    pub(super) fn chains_begun(&self) -> u64 {
        locked(&self.0.mesh.chains).begun
    }

    /// There is nobody to tell: whoever comes asks for what is here.
    pub(in crate::site) fn pass_over(&self, upto: u64) {
        let mut chains = locked(&self.0.mesh.chains);
        (chains.base, chains.ends) = (upto, BTreeMap::new());
    }

    /// Tells the other sites what changed here up to this change, in the order of the dots.
    pub(in crate::site) async fn tell_sites(
        &self,
        own: Incarnation,
        upto: u64,
        changes: &[(Address, Entry)],
    ) -> Result<()> {
        let mut collections: BTreeMap<&str, Vec<&(Address, Entry)>> = BTreeMap::new();
        changes.iter().for_each(|change| collections.entry(change.0.collection()).or_default().push(change));
        for (collection, changes) in collections {
            let mut todo = changes.as_slice();
            let mut most = ENTRIES_MAX;
            while !todo.is_empty() {
                let (now, later) = todo.split_at(todo.len().min(most));
                let last = now.last().map_or(0, |(_, entry)| entry.head.dot().seq);
                let after = locked(&self.0.mesh.chains).after(collection);
                let to = if later.is_empty() { upto.max(after) } else { last.clamp(after, upto.max(after)) };
                let told = now.iter().map(|(address, entry)| Told::new(address, entry.for_others()));
                let news = Tidings { from: self.0.me, incarnation: own, after, upto: to, entries: told.collect() };
                if now.len() > 1 && wire::plain(&news)?.len() > self.message_room() {
                    most = now.len() / 2;
                    continue;
                }
                if !self.publish_news(collection, &news).await? {
                    locked(&self.0.mesh.chains).passed_over(collection, upto.max(after));
                    break;
                }
                locked(&self.0.mesh.chains).told(collection, to, self.now_ms());
                todo = later;
            }
        }
        Ok(())
    }

    /// Says it to whoever may see the collection. Returns whether anybody may.
    async fn publish_news(&self, collection: &str, news: &Tidings) -> Result<bool> {
        let Some(key) = self.news_key(collection) else { return Ok(false) };
        let subject = format!("mesh.news.{}.{collection}", self.0.parts.site);
        let purpose = wire::purpose::<Tidings>(&subject);
        let sealed = key.seal(&SystemRng, &purpose, &wire::plain(news)?)?;
        let signed = self.0.mesh.identity.sign(&purpose, &sealed)?;
        self.publish(&subject, signed).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_collection_has_come_is_repeated_more_and_more_seldom() {
        let mut chains = Chains { base: 7, ..Chains::default() };
        assert_eq!(chains.after("c"), 7);
        chains.told("c", 9, 1_000);
        assert_eq!((chains.after("c"), chains.due(1_499)), (9, vec![]));
        let mut at = 1_500;
        for next in [2_000, 8_000, 32_000, 60_000, 60_000] {
            assert_eq!(chains.due(at), [("c".to_owned(), 9)], "{at}");
            assert!(chains.due(at + next - 1).is_empty());
            at += next;
        }
        chains.told("c", 12, at);
        assert_eq!(chains.due(at + FIRST_REPEAT_MS), [("c".to_owned(), 12)]);
        chains.passed_over("c", 15);
        assert_eq!((chains.after("c"), chains.due(u64::MAX)), (15, vec![]));
    }
}

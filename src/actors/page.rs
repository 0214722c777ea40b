//! A page of a collection: what is on disk or in the cloud, merged with what memory alone holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::request::{Found, List, Listed, Page};
use crate::error::Result;
use crate::model::{Address, Head, Level, Manifest};
use crate::tiers::Keeper;

/// Reads a page.
pub(super) fn page(keeper: &Keeper, List { collection, prefix, after, limit, .. }: &List) -> Result<Page> {
    // One more than asked for says whether there is another page.
    let (collection, after, most) = (collection.as_str(), after.as_deref(), limit + 1);
    let now_ms = keeper.now_ms();
    let listing = keeper.disk().store().list(collection, prefix, after, most, now_ms)?;
    let mut entries: BTreeMap<String, (Arc<Manifest>, Level)> = BTreeMap::new();
    let mut cut = listing.cut;
    for (key, head) in listing.found {
        if let Head::Object(manifest) = head {
            let level = manifest.level();
            entries.insert(key, (Arc::new(manifest), level));
        }
    }
    if keeper.disk().knows_others() {
        let others = keeper.disk().store().list_entries((collection, prefix, after), most, now_ms)?;
        for (key, head) in others.found {
            if let Head::Object(manifest) = head {
                // What is here as well is a copy of it.
                let place = entries.entry(key);
                place.or_insert_with(|| (Arc::new(manifest), Level::Peer));
            }
        }
        cut = [cut, others.cut].into_iter().flatten().min();
    }
    for (address, resident) in keeper.memory().dirty_page(collection, prefix, after, most) {
        match resident.manifest.is_expired(now_ms) {
            true => drop(entries.remove(address.key())),
            false => drop(entries.insert(address.key().to_owned(), (Arc::clone(&resident.manifest), Level::Ram))),
        }
    }
    if let Some(cut) = &cut {
        // Behind the cut nothing was looked at on disk, so memory's entries there wait for the next page.
        entries.retain(|key, _| key <= cut);
    }
    let mut items: Vec<Listed> = Vec::with_capacity(entries.len().min(most));
    for (key, (manifest, level)) in entries.into_iter().take(most) {
        let found = in_memory(keeper, collection, &key).unwrap_or(Found { manifest, level });
        items.push(Listed { key, found });
    }
    let more = items.len() > *limit;
    items.truncate(*limit);
    let next = items.last().filter(|_| more).map(|item| item.key.clone());
    Ok(Page { items, next: next.or(cut), incomplete: keeper.disk().is_incomplete(), silent: Vec::new() })
}

fn in_memory(keeper: &Keeper, collection: &str, key: &str) -> Option<Found> {
    let address: Address = format!("{collection}/{key}").parse().ok()?;
    let resident = keeper.memory().peek(&address)?;
    let manifest: Arc<Manifest> = Arc::clone(&resident.manifest);
    Some(Found { manifest, level: Level::Ram })
}

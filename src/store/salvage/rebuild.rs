//! Makes a new store from the rows of a damaged one, and derives again what follows from others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::record::{MISSING_MAX, SalvageRecord, named};
use super::walk::{Stop, Tables, Walker};
use crate::error::Result;
use crate::limits::{RETENTION_S_DEFAULT, TOMBSTONE_MS, VERSION_RESERVE_MS};
use crate::model::{Address, ContainerId, Head, Holding, Level, Manifest, Rng, SyncRule, Usage};
use crate::store::batch::{Batch, CEILING_KEY, CONTAINER_KEY, FORMAT_KEY, Op, Table};
use crate::store::fs::Fs;
use crate::store::records::{self, CollectionRecord, Ending, Owed};
use crate::store::rows::Urgency;
use crate::store::typed::{FORMAT, Store};
use crate::store::walk::address_of;

/// Bytes of rows that are copied in one commit.
const COPY_BYTES: usize = 8 << 20;

/// Copies what can be read into an empty store. What the record says so far is completed and remembered in the new store.
pub(super) fn rebuild(
    walker: &Walker<'_>,
    tables: Tables,
    certain: bool,
    store: &Store,
    (fs, root): (&dyn Fs, &Path),
    rng: &dyn Rng,
    mut record: SalvageRecord,
) -> Result<SalvageRecord> {
    record.lost_pages = tables.losses.pages;
    let (mut missing, mut ruleless) = (BTreeSet::new(), BTreeSet::new());
    for table in Table::ALL {
        let root = tables.roots.get(&table).copied();
        let mut copy = Copy { store, table, ops: Vec::new(), bytes: 0, rows: 0 };
        let losses = walker.rows(table, root.flatten(), &mut |key, row| copy.row(key, row));
        let losses = losses.map_err(|stop| match stop {
            Stop::Disk(error) => crate::store::io_error(error, "cannot read the damaged store"),
            Stop::Seen(error) => error,
        })?;
        copy.flush()?;
        record.rows += copy.rows;
        record.lost_pages += losses.pages;
        record.lost_rows += losses.rows;
        // A table that was lost with the list of tables is not known to have been there.
        if !losses.is_none() || root.is_none() && !tables.losses.is_none() {
            record.tables.push(table.name().to_owned());
        }
        missing.extend(losses.keys.iter().filter_map(|key| named(table, key)));
        if table == Table::Collections {
            ruleless.extend(losses.keys.iter().filter_map(|key| String::from_utf8(key.clone()).ok()));
        }
    }
    // What was committed last: where it lies over what was lost, it is not lost.
    let missed = store.rows.absorb_journal(fs, root)?;
    store.forget_news_places()?;
    let before = store.salvage_record().ok().flatten().is_some_and(|before| before.incomplete);
    record.incomplete = before || missed.is_some() || !certain || record.lost_pages > 0 || record.lost_rows > 0;
    missing
        .retain(|address| address.parse().is_ok_and(|address: Address| !matches!(store.head(&address), Ok(Some(_)))));
    missing.extend(store.headless(MISSING_MAX)?);
    record.missing = missing.into_iter().take(MISSING_MAX).collect();
    derive(store, &record, &ruleless, rng)?;
    Ok(record)
}

/// Rows on their way into one table.
struct Copy<'a> {
    store: &'a Store,
    table: Table,
    ops: Vec<Op>,
    bytes: usize,
    rows: u64,
}

impl Copy<'_> {
    fn row(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        self.rows += 1;
        self.bytes += key.len() + row.len();
        self.ops.push(Op::Put(self.table, key.to_vec(), row.to_vec()));
        if self.bytes < COPY_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.ops.is_empty() {
            self.store.rows.commit(&self.ops, Urgency::Durable, false)?;
        }
        self.bytes = 0;
        self.ops.clear();
        Ok(())
    }
}

/// What heads and old versions say about everything else.
#[derive(Default)]
struct Derived {
    holdings: BTreeMap<String, Holding>,
    sealed: u64,
    newest: u64,
    container: BTreeMap<u64, u64>,
}

impl Derived {
    fn version(&mut self, version: crate::model::Version) {
        self.newest = self.newest.max(version.time);
        *self.container.entry(version.container.0).or_default() += 1;
    }
}

/// `ruleless` are collections whose own row is seen to be lost.
fn derive(store: &Store, record: &SalvageRecord, ruleless: &BTreeSet<String>, rng: &dyn Rng) -> Result<()> {
    let mut derived = Derived::default();
    let mut batch = Batch::new();
    let all: BTreeSet<&str> = record.tables.iter().map(String::as_str).collect();
    let endings = all.contains(Table::Deadlines.name());
    let collections = store.collections()?;
    let leaves =
        |record: &CollectionRecord| record.policy.allows(Level::Cloud) && record.policy.sync != SyncRule::Never;
    // Of a collection whose policy is lost the usual holds: the cloud gets its objects.
    let never = collections.iter().filter(|(_, record)| record.as_ref().is_some_and(|record| !leaves(record)));
    let never: BTreeSet<&str> = never.map(|(name, _)| name.as_str()).collect();
    for (version, _) in store.owed_page(None, usize::MAX, &|_, _| true)? {
        // What is owed follows from the objects; a row without its object would be owed for ever.
        batch.settle(version);
        flush(store, &mut batch)?;
    }
    store.rows.scan(Table::Heads, &[], &mut |key, row| {
        let head = records::decode::<Head>(Table::Heads, key, row.to_vec());
        let (Some(address), Ok(head)) = (address_of(key), head) else { return Ok(true) };
        derived.version(head.version());
        let holding = derived.holdings.entry(address.collection().to_owned()).or_default();
        match head {
            Head::Object(manifest) => {
                holding.usage = holding.usage.plus(Usage::of(manifest.size));
                owe(&mut batch, holding, &address, &manifest, !never.contains(address.collection()));
                own(&mut batch, &mut derived, &address, &manifest);
                if let Some(end) = manifest.expires_ms {
                    batch.end_at(end, &Ending::Life(address, manifest.version));
                }
            }
            Head::Deleted(trace) if endings => {
                let end = trace.deleted_ms.saturating_add(TOMBSTONE_MS);
                batch.end_at(end, &Ending::Tombstone(address, trace.version));
            }
            Head::Deleted(_) => {}
        }
        flush(store, &mut batch)?;
        Ok(true)
    })?;
    store.rows.scan(Table::Versions, &[], &mut |key, row| {
        let manifest = records::decode::<Manifest>(Table::Versions, key, row.to_vec());
        let (Some(address), Ok(manifest)) = (address_of(key), manifest) else { return Ok(true) };
        derived.version(manifest.version);
        own(&mut batch, &mut derived, &address, &manifest);
        if endings {
            // How long it was to be kept is lost; the usual time from now on is safe.
            let end = record.at_ms.saturating_add(RETENTION_S_DEFAULT * 1000);
            batch.end_at(end, &Ending::Version(address, manifest.version));
        }
        flush(store, &mut batch)?;
        Ok(true)
    })?;
    let known: BTreeSet<&str> = collections.iter().map(|(name, _)| name.as_str()).collect();
    for (collection, holding) in &derived.holdings {
        batch.put_holding(collection, *holding);
        // One that was removed leaves traces of deletes and old versions behind, and no row is missing then.
        let lived = holding.usage.objects > 0 || ruleless.contains(collection);
        if lived && !known.contains(collection.as_str()) {
            // An empty row fails its check: the policy is known to be lost, and the default one does not
            // take its place unseen.
            batch.put(Table::Collections, collection.as_bytes().to_vec(), Vec::new());
        }
    }
    batch.put_sealed_bytes(derived.sealed);
    batch.put_number(FORMAT_KEY, FORMAT);
    if store.number(CONTAINER_KEY).ok().flatten().is_none() {
        let most = derived.container.iter().max_by_key(|(_, count)| **count).map(|(container, _)| *container);
        batch.put_number(CONTAINER_KEY, ContainerId(most.unwrap_or_else(|| rng.u64())).0);
    }
    // A version may have been given right up to a ceiling that is lost.
    let reserve = VERSION_RESERVE_MS << 16;
    let lost = derived.newest.max(record.at_ms << 16).saturating_add(2 * reserve);
    let ceiling = store.number(CEILING_KEY).ok().flatten().unwrap_or_default();
    let whole = !record.incomplete && ceiling > 0;
    batch.put_number(CEILING_KEY, if whole { ceiling } else { ceiling.max(lost) });
    batch.put_salvage(record);
    store.commit(&batch)
}

/// The newest version is in the cloud, or owed to it. Whether an upload had begun is lost; it may have.
fn owe(batch: &mut Batch, holding: &mut Holding, address: &Address, manifest: &Manifest, leaves: bool) {
    let Some(seal) = &manifest.seal else { return };
    let usage = Usage::of(seal.bytes);
    if seal.rest.receipt().is_some() {
        holding.cloud = holding.cloud.plus(usage);
    } else if leaves {
        holding.owed = holding.owed.plus(usage);
        let owed = Owed { address: address.clone(), bytes: seal.bytes, begun: true, behind: true };
        batch.owe(manifest.version, &owed);
    }
}

/// The frame of an object is its own, and counts.
fn own(batch: &mut Batch, derived: &mut Derived, address: &Address, manifest: &Manifest) {
    if let Some(seal) = manifest.seal.as_ref().filter(|seal| seal.rest.on_disk()) {
        derived.sealed = derived.sealed.saturating_add(seal.bytes);
        if !seal.inline {
            batch.own_frame(seal.frame, address);
        }
    }
}

fn flush(store: &Store, batch: &mut Batch) -> Result<()> {
    if batch.bytes() >= COPY_BYTES {
        store.commit(batch)?;
        *batch = Batch::new();
    }
    Ok(())
}

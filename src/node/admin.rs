//! The container as its admin door shows it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::boot::Container;
use super::overview::load;
use super::site;
use crate::actors::{Handle, LastError, Release, Which};
use crate::bus::Gauge;
use crate::config::{Config, Origin, Origins};
use crate::error::{Error, Result};
use crate::gateway::Admin;
use crate::gateway::admin::{
    ActorReport, ContainerReport, DrainReport, Entry, ErrorReport, EvictReport, Evictable, HandedOverReport, KeyChange,
    KeysReport, ObjectsPage, ObjectsQuery, OwnReport, PeerReport, QueueReport, RecoveryReport, RepairReport,
    ScrubReport, SettingReport, SiteReport, TierReport,
};
use crate::model::{Clock, Level, Manifest, SystemClock, Usage};
use crate::site::{Departure, Site};
use crate::tiers::Keeper;

/// What the answer to a drain may take on its way.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// A running container, seen by its operator.
pub struct Overseer {
    handle: Handle,
    config: Vec<SettingReport>,
    site: String,
    name: String,
    started_ms: u64,
    recovery: RecoveryReport,
    scrub_bytes_per_s: u64,
    http: OnceLock<String>,
    joined: OnceLock<Site>,
    asked: OnceLock<Vec<(&'static str, Gauge)>>,
}

impl Overseer {
    /// The view on a container that was started with this configuration.
    pub fn new(config: &Config, origins: &Origins, container: &Container) -> Self {
        let from = |key: &str| origins.get(key).unwrap_or(&Origin::Default).to_string();
        let recovery = container.recovery();
        Overseer {
            handle: container.handle().clone(),
            config: config
                .entries()
                .into_iter()
                .map(|(key, value)| SettingReport { key: key.path, value: key.shown(&value), from: from(key.path) })
                .collect(),
            site: config.site.name.to_string(),
            name: config.container.name.to_string(),
            started_ms: SystemClock.now_ms(),
            recovery: RecoveryReport {
                unfinished: recovery.unfinished as u64,
                orphans: recovery.orphans as u64,
                discarded: recovery.discarded as u64,
            },
            scrub_bytes_per_s: config.scrub.bytes_per_s,
            http: OnceLock::new(),
            joined: OnceLock::new(),
            asked: OnceLock::new(),
        }
    }

    /// Takes note of where the HTTP door is.
    pub fn opened(&self, url: String) {
        // A second door would be another process' matter.
        let _ = self.http.set(url);
    }

    /// Takes note of the site, once it is joined.
    pub fn joined(&self, site: Site) {
        // Joined once in a life.
        let _ = self.joined.set(site);
    }

    /// Takes note of the queues before what is asked on the bus.
    pub fn asked_on(&self, queues: Vec<(&'static str, Gauge)>) {
        let _ = self.asked.set(queues);
    }

    pub(super) fn site(&self) -> Option<&Site> {
        self.joined.get()
    }

    pub(super) fn asked(&self) -> &[(&'static str, Gauge)] {
        self.asked.get().map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn site_name(&self) -> &str {
        &self.site
    }

    pub(super) fn own_report(&self) -> ContainerReport {
        let http = self.http.get().cloned();
        ContainerReport {
            name: self.name.clone(),
            id: format!("{:016x}", self.handle.keeper().me().0),
            site: self.site.clone(),
            here: true,
            alive: true,
            left: false,
            takes_changes: self.handle.ready(),
            url: self.site().map(|site| site.url().to_owned()).or_else(|| http.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            heard_ms_ago: 0,
            load: load(&site::load(&self.handle)),
            own: Some(OwnReport {
                uptime_s: SystemClock.now_ms().saturating_sub(self.started_ms) / 1000,
                clock_ms: SystemClock.now_ms(),
                pid: std::process::id(),
                ready: self.handle.ready(),
                http,
                recovery: self.recovery,
            }),
        }
    }
}

impl Admin for Overseer {
    fn tiers(&self) -> BoxFuture<'static, Result<Vec<TierReport>>> {
        let keeper = Arc::clone(self.handle.keeper());
        let (budget, cloud) = (self.handle.disk_budget(), self.handle.cloud_holds());
        blocking(move || {
            let levels = [Some(ram(&keeper)), Some(disk(&keeper, budget)?), cloud.map(in_cloud)];
            Ok(levels.into_iter().flatten().collect())
        })
    }

    fn objects(&self, level: Level, query: ObjectsQuery) -> BoxFuture<'static, Result<ObjectsPage>> {
        let keeper = Arc::clone(self.handle.keeper());
        blocking(move || page(&keeper, level, &query))
    }

    fn actors(&self) -> Vec<ActorReport> {
        let error = |LastError { text, at_ms }| ErrorReport { text, at_ms };
        let report = |health: crate::actors::ActorHealth| ActorReport {
            name: health.name,
            queued: health.queued,
            bound: health.bound,
            restarts: health.restarts,
            last_error: health.last_error.map(error),
        };
        self.handle.actors().into_iter().map(report).collect()
    }

    fn queues(&self) -> BoxFuture<'static, Result<Vec<QueueReport>>> {
        let (handle, outer) = (self.handle.clone(), self.outer_queues());
        blocking(move || {
            let in_use = handle.in_use();
            let commit = handle.actors().into_iter().find(|actor| actor.name == "disk");
            let (queued, bound) = commit.map_or((0, 0), |disk| (disk.queued, disk.bound));
            let queue = |name, unit, used, bound| QueueReport { name, unit, used, bound, lost: None };
            let mut queues = vec![
                queue("commit", "changes", queued as u64, Some(bound as u64)),
                queue("discards", "frames", handle.keeper().disk().usage()?.discards, None),
                queue("requests", "requests", in_use.requests as u64, Some(in_use.bounds.requests_max as u64)),
                queue("bodies", "bytes", in_use.body_bytes, Some(in_use.bounds.body_bytes_max)),
            ];
            queues.extend(outer);
            Ok(queues)
        })
    }

    fn sites(&self) -> Vec<SiteReport> {
        self.site_reports()
    }

    fn containers(&self) -> Vec<ContainerReport> {
        self.container_reports()
    }

    fn peers(&self) -> Vec<PeerReport> {
        self.peer_reports()
    }

    fn config(&self) -> Vec<SettingReport> {
        self.config.clone()
    }

    fn evict(&self, evict: Evictable, deadline: Duration) -> BoxFuture<'static, Result<EvictReport>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let which = match (evict.address, evict.collection) {
                (Some(address), _) => Which::Object(address),
                (None, Some(collection)) => Which::Collection(collection),
                (None, None) => Which::Any,
            };
            match evict.level {
                Level::Ram => {}
                Level::Disk => {
                    let left = handle.evict_disk(which, evict.bytes, deadline).await?;
                    return Ok(EvictReport { level: Level::Disk.name(), objects: left.objects, bytes: left.bytes });
                }
                Level::Cloud | Level::Peer => {
                    let why = "nothing leaves the cloud but what is deleted; evict from ram or disk";
                    return Err(Error::invalid(why).with("level", evict.level.name()));
                }
            }
            let released = handle.release(Release { which, bytes: evict.bytes }, deadline).await?;
            Ok(EvictReport { level: Level::Ram.name(), objects: released.objects, bytes: released.bytes })
        })
    }

    fn scrub(&self, start: bool) -> BoxFuture<'static, Result<ScrubReport>> {
        Box::pin(super::scrub::report(self.handle.clone(), start, self.scrub_bytes_per_s))
    }

    fn repair(&self, accept: bool) -> BoxFuture<'static, Result<RepairReport>> {
        Box::pin(super::scrub::losses(self.handle.clone(), accept))
    }

    fn keys(&self) -> BoxFuture<'static, Result<KeysReport>> {
        Box::pin(super::keys::report(self.handle.clone(), None))
    }

    fn change_keys(&self, change: KeyChange) -> BoxFuture<'static, Result<KeysReport>> {
        Box::pin(super::keys::report(self.handle.clone(), Some(change)))
    }

    fn drain(&self, deadline: Duration, hand_over: bool) -> BoxFuture<'static, Result<DrainReport>> {
        let (handle, site) = (self.handle.clone(), self.joined.get().cloned());
        Box::pin(async move {
            if hand_over && site.is_none() {
                return Err(Error::unavailable("this container has not joined its site yet; try again"));
            }
            let began_ns = handle.telemetry().ticks_ns();
            let drained = handle.retire(deadline).await?;
            tracing::info!(objects = drained.objects, bytes = drained.bytes, "drained; no more changes are taken");
            let left = || deadline.saturating_sub(Duration::from_nanos(handle.telemetry().since_ns(began_ns)));
            if let Some(site) = &site {
                // What it would have to store it does not decide either. Where that takes long the site sees to it.
                let _ = tokio::time::timeout(left() / 2, site.retreat()).await;
            }
            let handed_over = match site.filter(|_| hand_over) {
                // It goes on after the answer, which is to come in time.
                Some(site) => Some(handed_over(site.depart(left().saturating_sub(ANSWER_MAX)).await)),
                None => None,
            };
            Ok(DrainReport { objects: drained.objects, bytes: drained.bytes, handed_over })
        })
    }
}

fn ram(keeper: &Keeper) -> TierReport {
    let usage = keeper.memory().usage();
    TierReport {
        level: Level::Ram.name(),
        objects: usage.objects,
        bytes: usage.bytes,
        budget: Some(usage.budget),
        fill: TierReport::part(usage.bytes, usage.budget),
        hits: usage.hits,
        misses: usage.misses,
        hit_ratio: TierReport::part(usage.hits, usage.hits + usage.misses),
        evictions: usage.evictions,
        dirty_objects: usage.dirty,
        dirty_bytes: usage.dirty_bytes,
        pinned_bytes: usage.pins.bytes,
        pinned_bytes_max: Some(usage.pins.bytes_max),
        spilled_bytes: usage.pins.spilled,
        quarantined: 0,
    }
}

/// Dirty is what the cloud is still to get.
fn disk(keeper: &Keeper, budget: u64) -> Result<TierReport> {
    let (usage, owed) = (keeper.disk().usage()?, keeper.holding().owed);
    Ok(TierReport {
        level: Level::Disk.name(),
        objects: usage.objects,
        bytes: usage.bytes,
        budget: Some(budget),
        fill: TierReport::part(usage.bytes, budget),
        hits: usage.hits,
        misses: usage.misses,
        hit_ratio: TierReport::part(usage.hits, usage.hits + usage.misses),
        evictions: usage.evictions,
        dirty_objects: owed.objects,
        dirty_bytes: owed.bytes,
        pinned_bytes: 0,
        pinned_bytes_max: None,
        spilled_bytes: 0,
        quarantined: usage.quarantined,
    })
}

fn in_cloud(holds: Usage) -> TierReport {
    TierReport {
        level: Level::Cloud.name(),
        objects: holds.objects,
        bytes: holds.bytes,
        budget: None,
        fill: None,
        hits: 0,
        misses: 0,
        hit_ratio: None,
        evictions: 0,
        dirty_objects: 0,
        dirty_bytes: 0,
        pinned_bytes: 0,
        pinned_bytes_max: None,
        spilled_bytes: 0,
        quarantined: 0,
    }
}

fn page(keeper: &Keeper, level: Level, ObjectsQuery { prefix, after, limit }: &ObjectsQuery) -> Result<ObjectsPage> {
    // One more than asked for says whether there is another page.
    let (after, most) = (after.as_ref(), limit + 1);
    let mut items: Vec<Entry> = match level {
        Level::Ram => {
            let page = keeper.memory().page(prefix, after, most).into_iter();
            page.map(|(address, resident)| entry(address.as_str(), &resident.manifest, resident.cost(), resident.dirty))
                .collect()
        }
        Level::Disk => {
            let page = keeper.disk().store().entries(prefix, after, most)?.into_iter();
            page.map(|(address, manifest)| {
                let sealed = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
                entry(address.as_str(), &manifest, sealed, false)
            })
            .collect()
        }
        Level::Cloud | Level::Peer => {
            return Err(Error::unimplemented("the cloud level cannot be listed yet; use ram or disk"));
        }
    };
    let more = items.len() > *limit;
    items.truncate(*limit);
    let next = items.last().filter(|_| more).map(|item| item.address.clone());
    Ok(ObjectsPage { items, next })
}

fn entry(address: &str, manifest: &Manifest, bytes: u64, dirty: bool) -> Entry {
    Entry {
        address: address.to_owned(),
        version: manifest.version.to_string(),
        size: manifest.size,
        bytes,
        durability: manifest.durability.name(),
        dirty,
        modified_ms: manifest.modified_ms,
    }
}

/// What reads the store runs away from the door's threads.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> BoxFuture<'static, Result<T>> {
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Error::internal("the report could not be made").because(error))?
    })
}

fn handed_over(Departure { objects, bytes, left, last_error, ended }: Departure) -> HandedOverReport {
    HandedOverReport { objects, bytes, left, last_error, ended }
}

//! From a configuration to a running container, and back down in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::{Actors, Bounds, CrewOptions, EvictionOptions, Handle, ScrubOptions};
use crate::client::HttpCollector;
use crate::config::{CloudConfig, Config, in_flight_bytes};
use crate::control::{Collections, KeyFile, Policies, Rulings};
use crate::error::{Error, Result};
use crate::limits::RESERVE_BYTES;
use crate::model::{Clock, Incarnation, Name, Rng, SteadyClock, SystemClock, SystemTimer};
use crate::nfr::{Keyring, SystemRng};
use crate::store::{Fs, LockGuard, RealFs, Store, StoreOptions, TimedFs, io_error};
use crate::sys;
use crate::telemetry::Telemetry;
use crate::telemetry::otlp::{Export, Resource};
use crate::tiers::{CloudParts, CloudTier, Copies, DiskTier, Keeper, MemoryTier, Recovery, Sequencer};

use super::authority::SiteTokens;

const LOCK_FILE: &str = "lock";

/// Copies of what other containers keep may come to this part of what the disk should hold, beside it.
const COPIES_SHARE: u64 = 10;

/// How long the last spans may take on their way to the collector at a stop.
const EXPORT_GRACE: Duration = Duration::from_secs(2);

/// The durable side of a container, over any file system and clock: what a simulation builds as well.
pub struct Parts {
    /// Both tiers and the order of changes.
    pub keeper: Keeper,
    /// What the collections ask for, and what the policies of the mesh allow.
    pub rulings: Arc<Rulings>,
    /// What the last life left behind.
    pub recovery: Recovery,
    /// Where it all lies.
    pub fs: Arc<dyn Fs>,
}

impl Parts {
    /// Opens the store and the tiers below `root`, or makes them there.
    pub fn open(
        fs: Arc<dyn Fs>,
        root: &Path,
        clock: Arc<dyn Clock>,
        rng: &dyn Rng,
        sizes: Sizes,
        site: &Name,
    ) -> Result<Self> {
        fs.create_dir_all(root)
            .map_err(|error| io_error(error, "cannot make the data folder").with("path", root.display()))?;
        let options = StoreOptions { cache_bytes: sizes.cache_bytes as usize };
        let mut store = Store::open_in(&fs, root, options, rng, clock.now_ms())?;
        store.keep_room(Arc::clone(&fs), root, sizes.reserve_bytes);
        let identity = store.identity()?;
        let sequencer =
            Sequencer::resume(identity.container, identity.ceiling, Incarnation(rng.u64()), Arc::clone(&clock));
        let store = Arc::new(store);
        let collections = Arc::new(Collections::open(Arc::clone(&store), Arc::clone(&clock))?);
        let me = (identity.container, site.clone());
        let policies = Arc::new(Policies::open(Arc::clone(&store), Arc::clone(&clock), me)?);
        let rulings = Arc::new(Rulings { collections, policies });
        let (disk, recovery) = DiskTier::open(Arc::clone(&fs), root, store, clock)?;
        let rulebook = Arc::clone(&rulings);
        let keeper = Keeper::open(MemoryTier::new(sizes.level1_bytes), disk, sequencer, rulebook)?;
        Ok(Parts { keeper, rulings, recovery, fs })
    }
}

/// How much memory the durable side may use, and what it keeps free.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Plain bytes in level 1.
    pub level1_bytes: u64,
    /// Pages of the store.
    pub cache_bytes: u64,
    /// Room on the disk for deletes and receipts when it is full.
    pub reserve_bytes: u64,
}

/// A running container without its doors.
pub struct Container {
    actors: Actors,
    tokens: SiteTokens,
    recovery: Recovery,
    export: Option<Export>,
    /// Last, so that nobody else opens the folder before all else is gone.
    _lock: LockGuard,
}

impl Container {
    /// Starts a container. What takes time runs on the current tokio runtime.
    pub fn start(config: &Config) -> Result<Self> {
        let root = &config.data.dir;
        std::fs::create_dir_all(root)
            .map_err(|error| io_error(error, "cannot make the data folder").with("path", root.display()))?;
        let lock = lock(&root.join(LOCK_FILE))?;
        let sizes = Sizes {
            level1_bytes: config.memory.level1_bytes,
            cache_bytes: config.store.cache_bytes,
            reserve_bytes: RESERVE_BYTES,
        };
        let (telemetry, export) = telemetry(config)?;
        let fs = Arc::new(TimedFs::new(Arc::new(RealFs), Arc::clone(&telemetry)));
        // One for all that ends by itself: objects, old versions, tokens.
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::new(SystemClock));
        let parts = Parts::open(fs, root, Arc::clone(&clock), &SystemRng, sizes, &config.site.name)?;
        // The disk may hold nothing although objects are known: those in the cloud alone need the keyring too.
        let sealing = parts.keeper.disk().store().sealing_key()?;
        let sealed = sealing.is_some() || parts.keeper.disk().usage()?.objects > 0;
        let file = KeyFile::at(&config.keys.file);
        let keyring = file.load_or_make(&SystemRng, sealed)?;
        if sealing.is_some_and(|key| !keyring.holds(key)) {
            // What is pushed from here on would be sealed with a key that does not belong to this folder.
            let why = "this keyring does not open the objects that are here; start with the one they were sealed with";
            return Err(Error::invalid(why).with("path", config.keys.file.display()));
        }
        let cloud = open_cloud(&config.cloud)?;
        let budget = disk_budget(config, &parts.keeper);
        let copies = Copies::open(parts.fs, root, budget / COPIES_SHARE)?;
        let recovery = parts.recovery;
        let levels = (cloud, copies, budget);
        let actors = start_actors(config, parts.keeper, parts.rulings, (keyring, file), levels, telemetry)?;
        let tokens = SiteTokens::open(config, Arc::clone(actors.handle().keeper()), clock)?;
        Ok(Container { actors, tokens, recovery, export, _lock: lock })
    }

    /// What doors hold.
    pub fn handle(&self) -> &Handle {
        self.actors.handle()
    }

    /// Who may use it.
    pub fn tokens(&self) -> &SiteTokens {
        &self.tokens
    }

    /// What the last life left behind.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Finishes what is at work within `grace`, writes out what memory alone holds, and ends.
    pub async fn stop(self, grace: Duration) -> Result<usize> {
        let written = self.handle().drain(grace).await;
        // Joining the actors' threads waits; it must not hold up the runtime they finish on.
        let (actors, keeper) = {
            let keeper = Arc::clone(self.handle().keeper());
            (self.actors, keeper)
        };
        let stopped = move || {
            actors.stop();
            if let Err(error) = keeper.settle_clock() {
                tracing::debug!(%error, "the next life begins a little ahead of time");
            }
            keeper.disk().store().close();
        };
        tokio::task::spawn_blocking(stopped)
            .await
            .map_err(|error| Error::internal("the actors did not stop cleanly").because(error))?;
        if let Some(export) = self.export {
            export.stop(EXPORT_GRACE).await;
        }
        written
    }
}

/// Telemetry, and the way to the trace collector if there is one.
fn telemetry(config: &Config) -> Result<(Arc<Telemetry>, Option<Export>)> {
    let clock = Arc::new(SystemClock);
    let Some(url) = &config.telemetry.otlp_url else { return Ok((Telemetry::new(clock, &SystemRng), None)) };
    let collector = Box::new(HttpCollector::new(url)?);
    let (telemetry, spans) = Telemetry::exporting(clock, &SystemRng, config.telemetry.sample);
    let resource = Resource { site: config.site.name.to_string(), container: config.container.name.to_string() };
    let export = Export::start(Arc::clone(&telemetry), spans, resource, collector);
    Ok((telemetry, Some(export)))
}

/// Sealed bytes that the disk should hold at most.
fn disk_budget(config: &Config, keeper: &Keeper) -> u64 {
    config.data.budget_bytes.unwrap_or_else(|| {
        let free = sys::free_bytes(&config.data.dir).unwrap_or(u64::MAX / 2);
        keeper.disk().sealed_bytes().saturating_add(free / 10 * 9)
    })
}

fn open_cloud(config: &CloudConfig) -> Result<Option<CloudTier>> {
    let Some(url) = &config.url else { return Ok(None) };
    let parts = CloudParts {
        clock: Arc::new(SystemClock),
        timer: Arc::new(SystemTimer),
        rng: Arc::new(SystemRng),
        concurrency: config.concurrency,
        timeout: Duration::from_millis(config.timeout_ms),
        upload_timeout: Duration::from_millis(config.upload_timeout_ms),
    };
    CloudTier::open(url, parts).map(Some)
}

fn start_actors(
    config: &Config,
    keeper: Keeper,
    rulings: Arc<Rulings>,
    keys: (Keyring, KeyFile),
    (cloud, copies, disk_budget): (Option<CloudTier>, Copies, u64),
    telemetry: Arc<Telemetry>,
) -> Result<Actors> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = CrewOptions {
        workers: if config.nfr.workers == 0 { cores } else { config.nfr.workers },
        eviction: EvictionOptions {
            kind: config.memory.eviction,
            pinned_percent_max: config.memory.pinned_percent_max as u64,
        },
        object_bytes_max: config.limits.object_bytes_max,
        disk_budget,
        scrub: ScrubOptions { bytes_per_s: config.scrub.bytes_per_s, every: config.scrub.every },
        bounds: Bounds {
            requests_max: config.limits.requests_max,
            body_bytes_max: in_flight_bytes(
                config.memory.budget_bytes,
                config.memory.level1_bytes,
                config.store.cache_bytes,
            ),
        },
        telemetry,
    };
    let main = tokio::runtime::Handle::current();
    Actors::start(main, Arc::new(keeper), rulings, keys, (cloud, copies), Arc::new(SystemRng), options)
}

fn lock(path: &Path) -> Result<LockGuard> {
    RealFs::lock(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::unavailable(
            "another container is running on this data folder; stop it or name another folder with --data",
        )
        .with("path", path.display()),
        _ => io_error(error, "cannot lock the data folder").with("path", path.display()),
    })
}

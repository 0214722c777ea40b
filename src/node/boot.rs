//! From a configuration to a running container, and back down in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::{Actors, Bounds, CrewOptions, Handle};
use crate::config::{CloudConfig, Config, in_flight_bytes};
use crate::control::Collections;
use crate::error::{Error, Result};
use crate::model::{Clock, Incarnation, Rng, SystemClock, SystemTimer};
use crate::nfr::{Keyring, SystemRng};
use crate::store::{Fs, LockGuard, RealFs, Store, StoreOptions, io_error};
use crate::tiers::{CloudParts, CloudTier, DiskTier, Keeper, MemoryTier, Recovery, Sequencer};

use super::authority::SiteTokens;
use super::keys;

const STORE_FILE: &str = "store.redb";
const LOCK_FILE: &str = "lock";

/// The durable side of a container, over any file system and clock: what a simulation builds as well.
pub struct Parts {
    /// Both tiers and the order of changes.
    pub keeper: Keeper,
    /// The collections and their policies.
    pub collections: Arc<Collections>,
    /// What the last life left behind.
    pub recovery: Recovery,
}

impl Parts {
    /// Opens the store and the tiers below `root`, or makes them there.
    pub fn open(fs: Arc<dyn Fs>, root: &Path, clock: Arc<dyn Clock>, rng: &dyn Rng, sizes: Sizes) -> Result<Self> {
        let at = |error, what| io_error(error, what).with("path", root.display());
        fs.create_dir_all(root).map_err(|error| at(error, "cannot make the data folder"))?;
        let path = root.join(STORE_FILE);
        let exists = fs.exists(&path).map_err(|error| at(error, "cannot look into the data folder"))?;
        let file = if exists { fs.open(&path) } else { fs.create(&path) };
        let file = file.map_err(|error| at(error, "cannot open the store"))?;
        // The store's own name must be durable before anything in it is acknowledged.
        fs.sync_dir(root).map_err(|error| at(error, "cannot sync the data folder"))?;
        let options = StoreOptions { cache_bytes: sizes.cache_bytes as usize };
        let store = Store::open(file, options, rng).map_err(|error| error.with("path", path.display()))?;
        let identity = store.identity()?;
        let sequencer =
            Sequencer::resume(identity.container, identity.ceiling, Incarnation(rng.u64()), Arc::clone(&clock));
        let store = Arc::new(store);
        let collections = Arc::new(Collections::open(Arc::clone(&store), Arc::clone(&clock))?);
        let (disk, recovery) = DiskTier::open(fs, root, store, clock)?;
        let rulebook = Arc::clone(&collections);
        let keeper = Keeper::open(MemoryTier::new(sizes.level1_bytes), disk, sequencer, rulebook)?;
        Ok(Parts { keeper, collections, recovery })
    }
}

/// How much memory the durable side may use.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Plain bytes in level 1.
    pub level1_bytes: u64,
    /// Pages of the store.
    pub cache_bytes: u64,
}

/// A running container without its doors.
pub struct Container {
    actors: Actors,
    tokens: SiteTokens,
    recovery: Recovery,
    cloud: Option<CloudTier>,
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
        let sizes = Sizes { level1_bytes: config.memory.level1_bytes, cache_bytes: config.store.cache_bytes };
        let parts = Parts::open(Arc::new(RealFs), root, Arc::new(SystemClock), &SystemRng, sizes)?;
        let sealed = parts.keeper.disk().usage()?.objects > 0;
        let keyring = keys::load_or_make(&config.keys.file, &SystemRng, sealed)?;
        let cloud = open_cloud(&config.cloud)?;
        let recovery = parts.recovery;
        let actors = start_actors(config, parts.keeper, parts.collections, keyring)?;
        let tokens = SiteTokens::open(config, Arc::clone(actors.handle().keeper()))?;
        Ok(Container { actors, tokens, recovery, cloud, _lock: lock })
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

    /// Level 3, unless it is switched off. Its methods block: call them from blocking threads.
    pub fn cloud(&self) -> Option<&CloudTier> {
        self.cloud.as_ref()
    }

    /// Finishes what is at work within `grace`, writes out what memory alone holds, and ends.
    pub async fn stop(self, grace: Duration) -> Result<usize> {
        let written = self.handle().drain(grace).await;
        // Joining the actors' threads waits; it must not hold up the runtime they finish on.
        let actors = self.actors;
        tokio::task::spawn_blocking(move || actors.stop())
            .await
            .map_err(|error| Error::internal("the actors did not stop cleanly").because(error))?;
        written
    }
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

fn start_actors(config: &Config, keeper: Keeper, collections: Arc<Collections>, keyring: Keyring) -> Result<Actors> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = CrewOptions {
        workers: if config.nfr.workers == 0 { cores } else { config.nfr.workers },
        eviction: config.memory.eviction,
        object_bytes_max: config.limits.object_bytes_max,
        bounds: Bounds {
            requests_max: config.limits.requests_max,
            body_bytes_max: in_flight_bytes(
                config.memory.budget_bytes,
                config.memory.level1_bytes,
                config.store.cache_bytes,
            ),
        },
    };
    let main = tokio::runtime::Handle::current();
    Actors::start(main, Arc::new(keeper), collections, keyring, Arc::new(SystemRng), options)
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

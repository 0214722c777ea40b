//! The caches that are compared, behind one trait.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

use meshstore::model::EvictionKind;
use meshstore::tiers::eviction::{Policy, policy_seeded};

/// The order of [`Caches::all`]: ours first.
pub const NAMES: [&str; 6] = ["lru", "lfu", "w-tinylfu", "moka", "quick_cache", "foyer"];

/// The same hashes in each run.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// A cache of a size in bytes.
pub trait Cache {
    /// Uses a key: says whether it was here, and offers it to the cache if it was not.
    fn access(&mut self, key: u64, size: u64) -> bool;
}

/// How large the caches are.
pub struct Caches {
    pub budget: u64,
    /// How many entries that comes to, for those that want to know.
    pub entries: u64,
}

impl Caches {
    /// An empty cache of each kind. Those of others as they come: what they take by default, in one shard.
    pub fn all(&self) -> [Box<dyn Cache>; 6] {
        let ours = |kind| -> Box<dyn Cache> {
            let policy = policy_seeded(kind, self.budget, 7);
            Box::new(Ours { policy, held: HashSet::new(), budget: self.budget })
        };
        let weigh = |_: &u64, size: &u64| u32::try_from(*size).unwrap_or(u32::MAX);
        let moka = moka::sync::Cache::builder().max_capacity(self.budget).weigher(weigh);
        let quick = quick_cache::unsync::Cache::with(
            self.entries as usize,
            self.budget,
            Weigh,
            Hasher::default(),
            quick_cache::unsync::DefaultLifecycle::default(),
        );
        let foyer = foyer_memory::CacheBuilder::new(self.budget as usize)
            .with_shards(1)
            .with_eviction_config(foyer_memory::LfuConfig::default())
            .with_hash_builder(Hasher::default())
            .with_weighter(|_: &u64, size: &u64| *size as usize);
        [
            ours(EvictionKind::Lru),
            ours(EvictionKind::Lfu),
            ours(EvictionKind::WTinyLfu),
            Box::new(Moka(moka.build_with_hasher(Hasher::default()))),
            Box::new(Quick(quick)),
            Box::new(Foyer(foyer.build())),
        ]
    }
}

/// One of our policies, asked as the actors ask it.
struct Ours {
    policy: Box<dyn Policy<u64>>,
    held: HashSet<u64>,
    budget: u64,
}

impl Cache for Ours {
    fn access(&mut self, key: u64, size: u64) -> bool {
        if self.held.contains(&key) {
            self.policy.touch(&key);
            return true;
        }
        self.policy.miss(&key);
        let free = self.budget - self.policy.cost();
        if self.policy.admits(&key, size, free) {
            for gone in self.policy.victims(size.saturating_sub(free), &|_| false) {
                self.held.remove(&gone);
            }
            self.policy.insert(key, size);
            self.held.insert(key);
        }
        false
    }
}

struct Moka(moka::sync::Cache<u64, u64, Hasher>);

impl Cache for Moka {
    fn access(&mut self, key: u64, size: u64) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, size);
        }
        // Its books lag behind otherwise, and the outcome would hang on the clock.
        self.0.run_pending_tasks();
        hit
    }
}

#[derive(Clone)]
struct Weigh;

impl quick_cache::Weighter<u64, u64> for Weigh {
    fn weight(&self, _: &u64, size: &u64) -> u64 {
        *size
    }
}

struct Quick(quick_cache::unsync::Cache<u64, u64, Weigh, Hasher>);

impl Cache for Quick {
    fn access(&mut self, key: u64, size: u64) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, size);
        }
        hit
    }
}

struct Foyer(foyer_memory::Cache<u64, u64, Hasher>);

impl Cache for Foyer {
    fn access(&mut self, key: u64, size: u64) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, size);
        }
        hit
    }
}

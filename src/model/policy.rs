//! What a collection asks for its objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::Name;
use super::manifest::Level;
use super::nfr::NfrSpec;
use crate::error::{Error, Result};
use crate::limits::RETENTION_S_DEFAULT;

/// When a push is acknowledged, and so what it survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In level 1 of one container.
    Ram,
    /// Sealed bytes and manifest are on disk and synced.
    Disk,
}

impl Durability {
    /// The class's name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            Durability::Ram => "ram",
            Durability::Disk => "disk",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ram" => Ok(Durability::Ram),
            "disk" => Ok(Durability::Disk),
            later if later == "cloud" || later.starts_with("replicas:") => {
                Err(Error::unimplemented("this durability class is not built yet; use ram or disk")
                    .with("durability", later.escape_default()))
            }
            _ => Err(Error::invalid("durability is ram or disk").with("durability", text.escape_default())),
        }
    }
}

/// Which entries leave a full level first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EvictionKind {
    /// The least recently used.
    #[serde(rename = "lru")]
    Lru,
    /// The least frequently used; old fame fades.
    #[serde(rename = "lfu")]
    Lfu,
    /// Frequency decides who may enter, recency who leaves.
    #[serde(rename = "w-tinylfu")]
    WTinyLfu,
}

impl EvictionKind {
    /// Every policy there is.
    pub const ALL: [EvictionKind; 3] = [EvictionKind::Lru, EvictionKind::Lfu, EvictionKind::WTinyLfu];

    /// The policy's name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            EvictionKind::Lru => "lru",
            EvictionKind::Lfu => "lfu",
            EvictionKind::WTinyLfu => "w-tinylfu",
        }
    }
}

impl FromStr for EvictionKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        EvictionKind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            Error::invalid("an eviction policy is w-tinylfu, lfu or lru").with("eviction", text.escape_default())
        })
    }
}

/// Which sites may see a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// Every site of the mesh.
    All,
    /// These sites.
    Sites(Vec<Name>),
}

/// When objects are copied to the cloud tier. It is kept with the policy; what is owed is written down
/// with each object, and paid by whoever pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncRule {
    /// On a signal or a command, or when the disk fills up.
    Signal,
    /// Soon after each write.
    Write,
    /// Once an object is this many seconds old.
    Age(u64),
    /// Never; such a collection never leaves the site.
    Never,
}

/// How an object that another container of the site keeps is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// From where it is to who reads it; only memory may hold a copy here.
    #[default]
    Direct,
    /// To this container's disk first, as a copy for the next reader.
    Storage,
}

impl Mode {
    /// The name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Direct => "direct",
            Mode::Storage => "storage",
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "direct" => Ok(Mode::Direct),
            "storage" => Ok(Mode::Storage),
            other => Err(Error::invalid("a mode is direct or storage").with("mode", other.escape_default())),
        }
    }
}

/// How much a collection may hold; no limit where it is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Plain bytes of its current objects.
    pub bytes: Option<u64>,
    /// Current objects.
    pub objects: Option<u64>,
}

/// The policy of a collection. The default is what the first push to an unknown collection gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionPolicy {
    /// When a push is acknowledged.
    pub durability: Durability,
    /// How objects are sealed.
    pub nfr: NfrSpec,
    /// Who leaves a full level first; the level's own policy where it is `None`.
    pub eviction: Option<EvictionKind>,
    /// Whether its objects stay in level 1 once they are there.
    pub pinned: bool,
    /// How long an object lives, in seconds.
    pub ttl_s: Option<u64>,
    /// How much the collection may hold.
    pub quota: Quota,
    /// How long replaced and deleted versions stay readable, in seconds.
    pub retention_s: u64,
    /// The levels that may hold its objects, in the order of their speed.
    pub levels: Vec<Level>,
    /// Which sites may see it.
    pub visibility: Visibility,
    /// When objects are copied to the cloud.
    pub sync: SyncRule,
    /// The site that decides conditional requests for the whole mesh; each site for itself where it is `None`.
    pub home_site: Option<Name>,
    /// How what other containers keep is read.
    pub mode: Mode,
}

impl CollectionPolicy {
    /// Whether objects may rest at this level.
    pub fn allows(&self, level: Level) -> bool {
        self.levels.contains(&level)
    }
}

impl Default for CollectionPolicy {
    fn default() -> Self {
        CollectionPolicy {
            durability: Durability::Disk,
            nfr: NfrSpec::default(),
            eviction: None,
            pinned: false,
            ttl_s: None,
            quota: Quota::default(),
            retention_s: RETENTION_S_DEFAULT,
            levels: Level::ALL.to_vec(),
            visibility: Visibility::All,
            sync: SyncRule::Signal,
            home_site: None,
            mode: Mode::Direct,
        }
    }
}

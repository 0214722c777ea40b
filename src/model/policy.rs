//! What a collection asks for its objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::nfr::NfrSpec;
use crate::error::{Error, Result};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EvictionKind {
    /// The least recently used.
    #[serde(rename = "lru")]
    Lru,
    /// Frequency decides who may enter, recency who leaves.
    #[serde(rename = "w-tinylfu")]
    WTinyLfu,
}

impl EvictionKind {
    /// The policy's name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            EvictionKind::Lru => "lru",
            EvictionKind::WTinyLfu => "w-tinylfu",
        }
    }
}

impl FromStr for EvictionKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "lru" => Ok(EvictionKind::Lru),
            "w-tinylfu" => Ok(EvictionKind::WTinyLfu),
            _ => Err(Error::invalid("an eviction policy is lru or w-tinylfu").with("eviction", text.escape_default())),
        }
    }
}

/// The policy of a collection. The default is what the first push to an unknown collection gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionPolicy {
    /// When a push is acknowledged.
    pub durability: Durability,
    /// How objects are sealed.
    pub nfr: NfrSpec,
}

impl Default for CollectionPolicy {
    fn default() -> Self {
        CollectionPolicy { durability: Durability::Disk, nfr: NfrSpec::default() }
    }
}

//! What can happen in a container, in words for whoever watches it.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::{Address, Durability, Level, Manifest, Name, Version};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number in the life of the container, from 1.
    pub seq: u64,
    /// Wall-clock milliseconds since 1970.
    pub at_ms: u64,
    /// What it was.
    pub happened: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A version of an object was acknowledged.
    Push {
        /// Where.
        address: Address,
        /// Which.
        version: Version,
        /// Plain bytes.
        size: u64,
        /// The class reached.
        durability: Durability,
        /// Whether the address held nothing before.
        created: bool,
    },
    /// An object was deleted.
    Delete {
        /// Where.
        address: Address,
        /// The version of the delete.
        version: Version,
    },
    /// The time of an object was over.
    Expire {
        /// Where.
        address: Address,
        /// The version of its end.
        version: Version,
    },
    /// An object left a level; it is still at another one.
    Evict {
        /// Which.
        address: Address,
        /// From which level.
        level: Level,
        /// Bytes of the level's budget that are free now.
        bytes: u64,
    },
    /// A collection was made, changed or removed.
    Collection {
        /// Which.
        name: Name,
        /// What was done.
        change: CollectionChange,
        /// Its revision from now on; the last one of a collection that is gone is not told.
        revision: Option<u64>,
    },
    /// A conditional change met another version than the one it named, and was refused.
    Conflict {
        /// Where.
        address: Address,
        /// What was wrong.
        why: String,
    },
}

/// What was done to a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionChange {
    /// It is new.
    Created,
    /// Its policy was set.
    Set,
    /// It is gone.
    Removed,
}

impl CollectionChange {
    /// Its name on the doors.
    pub const fn name(self) -> &'static str {
        match self {
            CollectionChange::Created => "created",
            CollectionChange::Set => "set",
            CollectionChange::Removed => "removed",
        }
    }
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventKind {
    Push,
    Delete,
    Expire,
    Evict,
    Collection,
    Conflict,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 6] = [
        EventKind::Push,
        EventKind::Delete,
        EventKind::Expire,
        EventKind::Evict,
        EventKind::Collection,
        EventKind::Conflict,
    ];

    /// Its name on the doors.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Push => "push",
            EventKind::Delete => "delete",
            EventKind::Expire => "expire",
            EventKind::Evict => "evict",
            EventKind::Collection => "collection",
            EventKind::Conflict => "conflict",
        }
    }
}

impl FromStr for EventKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        EventKind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            Error::invalid("a kind of event is push, delete, expire, evict, collection or conflict")
                .with("kind", text.escape_default())
        })
    }
}

impl Happened {
    /// The push that made this version.
    pub fn push(address: &Address, manifest: &Manifest, created: bool) -> Self {
        Happened::Push {
            address: address.clone(),
            version: manifest.version,
            size: manifest.size,
            durability: manifest.durability,
            created,
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> EventKind {
        match self {
            Happened::Push { .. } => EventKind::Push,
            Happened::Delete { .. } => EventKind::Delete,
            Happened::Expire { .. } => EventKind::Expire,
            Happened::Evict { .. } => EventKind::Evict,
            Happened::Collection { .. } => EventKind::Collection,
            Happened::Conflict { .. } => EventKind::Conflict,
        }
    }

    /// The collection it happened in.
    pub fn collection(&self) -> &str {
        match self {
            Happened::Push { address, .. }
            | Happened::Delete { address, .. }
            | Happened::Expire { address, .. }
            | Happened::Evict { address, .. }
            | Happened::Conflict { address, .. } => address.collection(),
            Happened::Collection { name, .. } => name.as_str(),
        }
    }
}

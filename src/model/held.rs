//! Where the versions of one object are, as each container tells of itself.

use serde::{Deserialize, Serialize};

use super::manifest::Level;
use super::version::{ContainerId, Version};

/// What a copy of a version is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyState {
    /// The durable copy of its keeper, which owes nothing for it.
    Kept,
    /// The durable copy of its keeper, and the cloud is still to get it.
    Owed,
    /// In memory alone: it is written to disk before it leaves.
    Dirty,
    /// A copy that may go at any time; another one is durable.
    Cached,
    /// Of a version that was replaced or deleted, readable for the collection's retention.
    Old,
    /// Its bytes failed their check, and are not read.
    Quarantined,
    /// Known of, at a container that cannot be asked.
    Away,
}

impl CopyState {
    /// The state's name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            CopyState::Kept => "kept",
            CopyState::Owed => "owed",
            CopyState::Dirty => "dirty",
            CopyState::Cached => "cached",
            CopyState::Old => "old",
            CopyState::Quarantined => "quarantined",
            CopyState::Away => "away",
        }
    }
}

/// A copy of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Of what.
    pub version: Version,
    /// Where it rests.
    pub level: Level,
    /// What it is good for.
    pub state: CopyState,
}

/// The newest that a container knows of an address, whoever keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// Of the object or of its delete.
    pub version: Version,
    /// Whose copy is the durable one.
    pub keeper: ContainerId,
    /// Where that copy rests, as its keeper told last; nowhere once it was deleted or has ended.
    pub level: Option<Level>,
}

/// What one container has and knows of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// What it has itself, newest first.
    pub copies: Vec<Held>,
    /// What it knows.
    pub newest: Option<Newest>,
}

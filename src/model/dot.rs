//! The name of one change, so that what a container has seen can be told from what was deleted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One life of a container process: drawn at random at each start, so that two lives never share dots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// The n-th change made by one incarnation of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who made the change.
    pub incarnation: Incarnation,
    /// Dense, from 1.
    pub seq: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.incarnation.0, self.seq)
    }
}

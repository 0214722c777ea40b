//! How much is there, and whether more may come.

use serde::{Deserialize, Serialize};

use super::policy::Quota;
use crate::error::{Error, Result};

/// Objects and their plain bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many objects.
    pub objects: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

impl Usage {
    /// One object of this size.
    pub const fn of(bytes: u64) -> Self {
        Usage { objects: 1, bytes }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Usage) -> Self {
        Usage { objects: self.objects.saturating_add(other.objects), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// What is left without the other.
    #[must_use]
    pub fn minus(self, other: Usage) -> Self {
        Usage { objects: self.objects.saturating_sub(other.objects), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

impl Quota {
    /// Whether a collection may grow to `after`. What was over its quota before may still shrink.
    pub fn check(&self, after: Usage) -> Result<()> {
        let over = |what: &'static str, limit: u64, would: u64| {
            Error::too_large(
                "the collection's quota is reached; delete objects or raise it with `meshstore collection set`",
            )
            .with("quota", what)
            .with("limit", limit)
            .with("would_be", would)
        };
        match (self.bytes, self.objects) {
            (Some(limit), _) if after.bytes > limit => Err(over("bytes", limit, after.bytes)),
            (_, Some(limit)) if after.objects > limit => Err(over("objects", limit, after.objects)),
            _ => Ok(()),
        }
    }
}

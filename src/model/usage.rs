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
    /// Whether a collection may go from `now` to `after`. What is over its quota already may still shrink.
    pub fn check(&self, now: Usage, after: Usage) -> Result<()> {
        let over = |what: &'static str, limit: Option<u64>, now: u64, after: u64| match limit {
            Some(limit) if after > limit && after > now => {
                let why =
                    "the collection's quota is reached; delete objects or raise it with `meshstore collection set`";
                Err(Error::too_large(why)
                    .with("quota", what)
                    .with("limit", limit)
                    .with("used", now)
                    .with("would_be", after))
            }
            _ => Ok(()),
        };
        over("bytes", self.bytes, now.bytes, after.bytes)?;
        over("objects", self.objects, now.objects, after.objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_grows_up_to_its_quota_and_may_always_shrink() {
        let quota = Quota { bytes: Some(10), objects: Some(2) };
        let check = |now: (u64, u64), after: (u64, u64)| {
            let usage = |(objects, bytes)| Usage { objects, bytes };
            quota.check(usage(now), usage(after)).map_err(|error| error.context("quota").map(str::to_owned))
        };
        assert_eq!(check((1, 5), (2, 10)), Ok(()));
        assert_eq!(check((1, 5), (2, 11)), Err(Some("bytes".into())));
        assert_eq!(check((2, 5), (3, 6)), Err(Some("objects".into())));
        // The quota was lowered below what is there.
        assert_eq!(check((5, 50), (5, 40)), Ok(()));
        assert_eq!(check((5, 50), (5, 51)), Err(Some("bytes".into())));
        assert_eq!(check((5, 50), (6, 50)), Err(Some("objects".into())));
        assert!(Quota::default().check(Usage::default(), Usage { objects: u64::MAX, bytes: u64::MAX }).is_ok());
    }
}

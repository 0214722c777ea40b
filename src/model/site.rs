//! Sites as others know them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::Name;
use super::hex::{from_hex, write_hex};
use crate::error::{Error, Result};

const KEY_BYTES: usize = 32;

/// What a site is known by: nobody without its keyring has the other halves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SiteKeys {
    /// Agrees on a key with another site (X25519).
    pub agreement: [u8; KEY_BYTES],
    /// Proves what the site says to all (Ed25519).
    pub signing: [u8; KEY_BYTES],
}

impl SiteKeys {
    /// Both, one behind the other.
    pub fn to_bytes(self) -> [u8; 2 * KEY_BYTES] {
        let mut bytes = [0; 2 * KEY_BYTES];
        let parts = self.agreement.iter().chain(&self.signing);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// What [`SiteKeys::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8; 2 * KEY_BYTES]) -> Self {
        let (agreement, signing) = bytes.split_at(KEY_BYTES);
        let half = |part: &[u8]| part.try_into().unwrap_or([0; KEY_BYTES]);
        SiteKeys { agreement: half(agreement), signing: half(signing) }
    }
}

impl fmt::Display for SiteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.to_bytes())
    }
}

impl fmt::Debug for SiteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for SiteKeys {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = from_hex(text).ok_or_else(|| Error::invalid("the keys of a site are 128 hex digits"))?;
        Ok(SiteKeys::from_bytes(&bytes))
    }
}

/// A site of the mesh, as all sites hold it alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// Its name.
    pub name: Name,
    /// What proves that somebody speaks for it.
    pub keys: SiteKeys,
    /// Wall-clock milliseconds since 1970 at which it was let in.
    pub since_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_shown() {
        let keys = SiteKeys { agreement: [1; 32], signing: [0xfe; 32] };
        assert_eq!(keys.to_string().parse::<SiteKeys>().unwrap(), keys);
        for bad in ["", "00", &keys.to_string()[1..], &format!("{keys}0")] {
            assert!(bad.parse::<SiteKeys>().is_err(), "{bad}");
        }
    }
}

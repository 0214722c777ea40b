//! The fingerprint of an object's plain bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hex::{from_hex, write_hex};
use crate::error::{Error, Result};

/// Which hash made a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestKind {
    /// The default: fast, and chunks can be hashed in parallel.
    Blake3,
    /// For those who must compare with other tools.
    Sha256,
}

impl DigestKind {
    /// The name in headers and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            DigestKind::Blake3 => "blake3",
            DigestKind::Sha256 => "sha256",
        }
    }
}

/// A digest of plain bytes; as text `blake3:<hex>` or `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest {
    /// The hash that made it.
    pub kind: DigestKind,
    /// Its value; both hashes have 32 bytes.
    pub bytes: [u8; 32],
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        f.write_str(":")?;
        write_hex(f, &self.bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("a digest is blake3:<64 hex digits> or sha256:<64 hex digits>")
                .with("digest", text.escape_default())
        };
        let (kind, hex) = text.split_once(':').ok_or_else(bad)?;
        let kind = match kind {
            "blake3" => DigestKind::Blake3,
            "sha256" => DigestKind::Sha256,
            _ => return Err(bad()),
        };
        let bytes = from_hex(hex).ok_or_else(bad)?;
        Ok(Digest { kind, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_nonsense_is_refused() {
        let digest = Digest { kind: DigestKind::Blake3, bytes: [0xa5; 32] };
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for bad in ["", "blake3:", "md5:00", "sha256:zz", &format!("sha256:{}", "+1".repeat(32))] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}

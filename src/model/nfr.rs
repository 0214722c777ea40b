//! Non-functional requirements of an object: how it is to be sealed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::DigestKind;
use crate::error::{Error, Result};

/// How sealed bytes are kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// AES-256-GCM with a fresh data key for each sealing.
    Aes256Gcm,
    /// Readable at rest; still checked by BLAKE3.
    None,
}

/// How sealed bytes are made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A probe of the first bytes decides between zstd and none.
    Auto,
    /// Zstandard, level 1.
    Zstd,
    /// LZ4 block format.
    Lz4,
    /// Kept as it is.
    None,
}

/// The full set of requirements for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NfrSpec {
    /// Confidentiality.
    pub encrypt: Encryption,
    /// Size.
    pub compress: Compression,
    /// The digest of the plain bytes that is shown to users.
    pub digest: DigestKind,
}

impl Default for NfrSpec {
    fn default() -> Self {
        NfrSpec { encrypt: Encryption::Aes256Gcm, compress: Compression::Auto, digest: DigestKind::Blake3 }
    }
}

impl NfrSpec {
    /// These requirements with what a request overrides.
    #[must_use]
    pub fn overridden(self, by: NfrOverride) -> Self {
        NfrSpec {
            encrypt: by.encrypt.unwrap_or(self.encrypt),
            compress: by.compress.unwrap_or(self.compress),
            digest: by.digest.unwrap_or(self.digest),
        }
    }
}

impl fmt::Display for NfrSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypt = match self.encrypt {
            Encryption::Aes256Gcm => "aes256gcm",
            Encryption::None => "none",
        };
        let compress = match self.compress {
            Compression::Auto => "auto",
            Compression::Zstd => "zstd",
            Compression::Lz4 => "lz4",
            Compression::None => "none",
        };
        write!(f, "encrypt={encrypt}; compress={compress}; digest={}", self.digest.name())
    }
}

/// What one request asks for (`Mesh-Nfr: encrypt=…; compress=…; digest=…`); the rest comes from the
/// collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NfrOverride {
    /// Confidentiality, if named.
    pub encrypt: Option<Encryption>,
    /// Size, if named.
    pub compress: Option<Compression>,
    /// Digest, if named.
    pub digest: Option<DigestKind>,
}

impl fmt::Display for NfrOverride {
    /// As it is read: only what is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = NfrSpec::default().overridden(*self).to_string();
        let named = [("encrypt", self.encrypt.is_some()), ("compress", self.compress.is_some())];
        let named = named.into_iter().chain([("digest", self.digest.is_some())]);
        let parts = whole.split("; ").filter(|part| {
            let name = part.split('=').next().unwrap_or_default();
            named.clone().any(|(known, is_named)| known == name && is_named)
        });
        f.write_str(&parts.collect::<Vec<_>>().join("; "))
    }
}

impl FromStr for NfrOverride {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut out = NfrOverride::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |why: &'static str| Error::invalid(why).with("nfr", part.escape_default());
            let (name, value) =
                part.split_once('=').ok_or_else(|| bad("an nfr is name=value; use encrypt, compress or digest"))?;
            let repeated = match name.trim() {
                "encrypt" => {
                    let value = match value.trim() {
                        "aes256gcm" => Encryption::Aes256Gcm,
                        "none" => Encryption::None,
                        _ => return Err(bad("encrypt is aes256gcm or none")),
                    };
                    out.encrypt.replace(value).is_some()
                }
                "compress" => {
                    let value = match value.trim() {
                        "auto" => Compression::Auto,
                        "zstd" => Compression::Zstd,
                        "lz4" => Compression::Lz4,
                        "none" => Compression::None,
                        _ => return Err(bad("compress is auto, zstd, lz4 or none")),
                    };
                    out.compress.replace(value).is_some()
                }
                "digest" => {
                    let value = match value.trim() {
                        "blake3" => DigestKind::Blake3,
                        "sha256" => DigestKind::Sha256,
                        _ => return Err(bad("digest is blake3 or sha256")),
                    };
                    out.digest.replace(value).is_some()
                }
                _ => return Err(bad("an nfr is encrypt, compress or digest")),
            };
            if repeated {
                return Err(bad("an nfr may be named once"));
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_back_what_it_prints() {
        let spec = NfrSpec { encrypt: Encryption::None, compress: Compression::Lz4, digest: DigestKind::Sha256 };
        let read: NfrOverride = spec.to_string().parse().unwrap();
        assert_eq!(NfrSpec::default().overridden(read), spec);
        assert_eq!(NfrSpec::default().overridden("compress=none".parse().unwrap()).encrypt, Encryption::Aes256Gcm);
    }

    #[test]
    fn nonsense_is_named() {
        for bad in ["encrypt", "encrypt=rot13", "colour=red", "digest=md5", "compress=zstd; compress=lz4"] {
            let error = bad.parse::<NfrOverride>().unwrap_err();
            assert!(error.context("nfr").is_some(), "{error}");
        }
    }
}

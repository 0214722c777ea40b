//! What the fuzz targets (docs/fuzzing.md) need to make frames and exports cheaply and to forge them: a build
//! without tests and without `cfg(fuzzing)` has no such module.

use super::Sealer;
use super::export::export_at;
use super::frame::HEADER_BYTES;
use super::keyring::Keyring;
use super::sealer::footer_hash;
use crate::error::Result;
use crate::model::{NfrSpec, Rng};

/// A sealer of frames with chunks of another size than [`crate::limits::CHUNK_BYTES`].
pub fn sealer(spec: NfrSpec, rng: &dyn Rng, first: &[u8], chunk_log2: u8) -> Result<Sealer> {
    Sealer::sized(spec, rng, first, chunk_log2)
}

/// The footer hash of a manifest that a forger wrote to fit header and footer.
pub fn forged(header: &[u8; HEADER_BYTES], footer: &[u8]) -> [u8; 32] {
    footer_hash(header, footer)
}

/// An export whose key is drawn at the least cost there is.
pub fn cheap_export(ring: &Keyring, passphrase: &str, rng: &dyn Rng) -> Result<String> {
    export_at(8, 1, ring, passphrase, rng)
}

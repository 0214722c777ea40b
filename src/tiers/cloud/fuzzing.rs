//! The names and heads of level 3, for the fuzz targets (docs/fuzzing.md): a build without tests and without
//! `cfg(fuzzing)` has no such module.

use super::{head, layout};
use crate::error::Result;
use crate::model::{Address, Manifest, Version};

/// Where the head of a version lies.
pub fn head_path(address: &Address, version: Version) -> String {
    layout::head(address, version).as_ref().to_owned()
}

/// What the bytes of a head say.
pub fn read_head(bytes: &[u8]) -> Result<(Address, Manifest)> {
    head::decode(bytes)
}

/// The bytes of a head.
pub fn write_head(address: &Address, manifest: &Manifest) -> Result<Vec<u8>> {
    head::encode(address, manifest).map(Into::into)
}

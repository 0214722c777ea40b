//! A head: the manifest of an object as JSON, with its address and a checksum, so that a site can
//! be rebuilt from the cloud alone.
//!
//! `{"head":{"format":1,"address":"…","manifest":{…}},"blake3":"…"}`; the checksum is of the bytes of
//! the inner object as they stand, so that it holds whatever a later format adds.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Address, Manifest};

const FORMAT: u32 = 1;
const LEAD: &[u8] = b"{\"head\":";
const CHECK: &[u8] = b",\"blake3\":\"";
const END: &[u8] = b"\"}";
const HEX_BYTES: usize = 64;

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    address: &'a str,
    manifest: &'a Manifest,
}

#[derive(Deserialize)]
struct Read {
    format: u32,
    address: String,
    manifest: Manifest,
}

/// The bytes of a head.
pub fn encode(address: &Address, manifest: &Manifest) -> Result<Bytes> {
    let written = Written { format: FORMAT, address: address.as_str(), manifest };
    let inner = serde_json::to_vec(&written)
        .map_err(|error| Error::internal("cannot write a manifest as JSON").with("address", address).because(error))?;
    let check = blake3::hash(&inner).to_hex();
    Ok([LEAD, &inner, CHECK, check.as_bytes(), END].concat().into())
}

/// What a head says, once checked.
pub fn decode(bytes: &[u8]) -> Result<(Address, Manifest)> {
    let inner = checked(bytes).ok_or_else(|| Error::corrupt("a head in the cloud fails its check"))?;
    let bad = |error| Error::corrupt("a head in the cloud cannot be read").because(error);
    let Read { format, address, manifest } = serde_json::from_slice(inner).map_err(bad)?;
    if format != FORMAT {
        return Err(Error::corrupt("a head in the cloud has an unknown format; a newer program wrote it")
            .with("format", format));
    }
    Ok((address.parse()?, manifest))
}

/// The inner object, if the checksum behind it is its own.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.strip_prefix(LEAD)?.strip_suffix(END)?;
    let (rest, check) = body.split_at_checked(body.len().checked_sub(HEX_BYTES)?)?;
    let inner = rest.strip_suffix(CHECK)?;
    (blake3::hash(inner).to_hex().as_bytes() == check).then_some(inner)
}

//! The metadata map of an object: what it is, how it was sealed, and where its durable bytes rest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::cloud::Receipt;
use super::digest::Digest;
use super::dot::Dot;
use super::hex::write_hex;
use super::key::KeyId;
use super::nfr::{Encryption, NfrSpec};
use super::policy::Durability;
use super::version::Version;

/// Names one sealing attempt: random, never used twice, so two attempts at one object never share
/// a file, a data key or a nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrameId(pub [u8; 16]);

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a copy rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Level 1: plain bytes in memory.
    Ram,
    /// Level 2: sealed bytes on a local disk.
    Disk,
    /// Level 3: the same sealed bytes in the cloud.
    Cloud,
    /// No level of this container's own: another container of the site holds it.
    Peer,
}

impl Level {
    /// Every level that a container has, fastest first.
    pub const ALL: [Level; 3] = [Level::Ram, Level::Disk, Level::Cloud];

    /// The level's name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ram => "ram",
            Level::Disk => "disk",
            Level::Cloud => "cloud",
            Level::Peer => "peer",
        }
    }
}

/// A data key, encrypted by a key of the keyring and bound to the object and version it opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The keyring's key that wrapped it.
    pub key: KeyId,
    /// Fresh for each wrap.
    pub nonce: [u8; 12],
    /// The data key's 32 bytes, encrypted, and the tag.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedKey(…)")
    }
}

/// How and where an object's sealed bytes rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The frame that holds them.
    pub frame: FrameId,
    /// The frame's length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the frame's footer, which lists every chunk.
    pub footer: [u8; 32],
    /// The data key, when the frame is encrypted.
    pub key: Option<WrappedKey>,
    /// Whether the frame rests inside the store rather than in a file of its own.
    pub inline: bool,
    /// Which levels hold the frame.
    pub rest: Rest,
}

/// Which of the levels that keep sealed bytes hold a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// The local disk alone.
    #[default]
    Disk,
    /// The disk and the cloud, as this receipt says.
    Both(Receipt),
    /// The cloud alone.
    Cloud(Receipt),
}

impl Rest {
    /// Whether the local disk holds it.
    pub fn on_disk(&self) -> bool {
        !matches!(self, Rest::Cloud(_))
    }

    /// What the cloud has answered for it.
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Rest::Disk => None,
            Rest::Both(receipt) | Rest::Cloud(receipt) => Some(receipt),
        }
    }
}

/// What is known of one version of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// This version.
    pub version: Version,
    /// The change that made it.
    pub dot: Dot,
    /// The version it replaced, so that concurrent overwrites are told from sequential ones.
    pub replaces: Option<Version>,
    /// Plain bytes.
    pub size: u64,
    /// Of the plain bytes.
    pub digest: Digest,
    /// As the pusher named it.
    pub content_type: Option<String>,
    /// The pusher's own metadata (`Mesh-Meta-*`, names in lower case).
    pub meta: BTreeMap<String, String>,
    /// Wall-clock milliseconds since 1970 at the push.
    pub modified_ms: u64,
    /// When it ends by itself, in wall-clock milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// How it is sealed, as asked for.
    pub nfr: NfrSpec,
    /// The class it was acknowledged with.
    pub durability: Durability,
    /// Its sealed bytes; `None` while it rests in memory only.
    pub seal: Option<Seal>,
    /// How often another container took it over from its keeper. Rows from before this was counted end without it.
    #[serde(default, deserialize_with = "or_never")]
    pub moves: u32,
}

/// A row is proven by its checksum before it is read: where it ends here it was written so.
fn or_never<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    Ok(u32::deserialize(from).unwrap_or_default())
}

impl Manifest {
    /// The fastest level that holds its sealed bytes.
    pub fn level(&self) -> Level {
        match &self.seal {
            Some(seal) if !seal.rest.on_disk() => Level::Cloud,
            _ => Level::Disk,
        }
    }

    /// Whether its bytes are encrypted, and what opens them is still to be asked for.
    pub fn lacks_key(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.key.is_none()) && self.nfr.encrypt != Encryption::None
    }

    /// Whether it has ended by itself.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now_ms)
    }
}

/// What is left of a deleted object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The version of the delete.
    pub version: Version,
    /// The change that made it.
    pub dot: Dot,
    /// What it deleted.
    pub replaces: Option<Version>,
    /// Wall-clock milliseconds since 1970.
    pub deleted_ms: u64,
}

/// The newest thing known at an address.
// Heads live for the length of a call; a box for each would cost more than the room it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// It is here.
    Object(Manifest),
    /// It was deleted.
    Deleted(Tombstone),
}

impl Head {
    /// The version of the object or of its delete.
    pub fn version(&self) -> Version {
        match self {
            Head::Object(manifest) => manifest.version,
            Head::Deleted(tombstone) => tombstone.version,
        }
    }

    /// The change that made it.
    pub fn dot(&self) -> Dot {
        match self {
            Head::Object(manifest) => manifest.dot,
            Head::Deleted(tombstone) => tombstone.dot,
        }
    }

    /// The version it replaced.
    pub fn replaces(&self) -> Option<Version> {
        match self {
            Head::Object(manifest) => manifest.replaces,
            Head::Deleted(tombstone) => tombstone.replaces,
        }
    }

    /// The manifest, unless it was deleted.
    pub fn object(&self) -> Option<&Manifest> {
        match self {
            Head::Object(manifest) => Some(manifest),
            Head::Deleted(_) => None,
        }
    }
}

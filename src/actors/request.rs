//! What doors ask and what they are told. Every door (REST, NATS, the demo) builds the same structs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::body::PullBody;
use crate::model::{
    Address, ByteRange, Condition, Digest, Dot, Durability, Level, Manifest, Mode, Name, NfrOverride, Session, Version,
};

/// Store an object. What is `None` comes from the collection's policy.
#[derive(Clone, Debug)]
pub struct Push {
    /// Where to.
    pub address: Address,
    /// When to acknowledge.
    pub durability: Option<Durability>,
    /// How to seal.
    pub nfr: NfrOverride,
    /// Kept and given back.
    pub content_type: Option<String>,
    /// Kept and given back; names in lower case.
    pub meta: BTreeMap<String, String>,
    /// Checked before the acknowledgement; a body that differs is refused and nothing changes.
    pub expect: Option<Digest>,
    /// The body's length where the door knows it; a body that differs is refused.
    pub size: Option<u64>,
    /// What must hold for it.
    pub condition: Condition,
    /// How long the object lives, in seconds.
    pub ttl_s: Option<u64>,
    /// What the caller knows of the object: the new version is greater.
    pub after: Option<Version>,
    /// Whether another container of the site passed it on to this one, which is not to pass it on again.
    pub passed_on: bool,
    /// How long the caller waits.
    pub deadline: Duration,
}

impl Push {
    /// A push that leaves everything to the collection's policy.
    pub fn new(address: Address, deadline: Duration) -> Self {
        Push {
            address,
            durability: None,
            nfr: NfrOverride::default(),
            content_type: None,
            meta: BTreeMap::new(),
            expect: None,
            size: None,
            condition: Condition::Always,
            ttl_s: None,
            after: None,
            passed_on: false,
            deadline,
        }
    }
}

/// The acknowledgement of a push.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The manifest as stored; `manifest.durability` is the class reached.
    pub manifest: Arc<Manifest>,
    /// Whether the address held nothing before.
    pub created: bool,
}

/// Read an object or a range of it.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Where from.
    pub address: Address,
    /// Which bytes; all when `None`.
    pub range: Option<ByteRange>,
    /// Which version; the newest when `None`.
    pub version: Option<Version>,
    /// What the caller has seen: the answer is not older.
    pub session: Option<Session>,
    /// How what another container keeps is read; as the collection says when `None`.
    pub mode: Option<Mode>,
    /// How long the caller waits for the first byte.
    pub deadline: Duration,
}

impl Pull {
    /// A pull of the whole object in its newest version.
    pub fn new(address: Address, deadline: Duration) -> Self {
        Pull { address, range: None, version: None, session: None, mode: None, deadline }
    }
}

/// Say what is known of an object.
#[derive(Clone, Debug)]
pub struct Stat {
    /// Of which one.
    pub address: Address,
    /// Which version; the newest when `None`.
    pub version: Option<Version>,
    /// What the caller has seen: the answer is not older.
    pub session: Option<Session>,
    /// How long the caller waits.
    pub deadline: Duration,
}

impl Stat {
    /// A look at the newest version.
    pub fn new(address: Address, deadline: Duration) -> Self {
        Stat { address, version: None, session: None, deadline }
    }
}

/// An object on its way to the caller. Its first chunk has been checked already.
#[derive(Debug)]
pub struct Pulled {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// Where it came from.
    pub level: Level,
    /// The bytes of the object that the body holds.
    pub range: Range<u64>,
    /// The bytes themselves.
    pub body: PullBody,
}

/// What is known of an object, without its bytes.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// The fastest level that holds it.
    pub level: Level,
}

/// Delete an object; deleting what is not there succeeds.
#[derive(Clone, Debug)]
pub struct Delete {
    /// What to delete.
    pub address: Address,
    /// What must hold for it.
    pub condition: Condition,
    /// What the caller knows of the object: the version of the delete is greater.
    pub after: Option<Version>,
    /// Whether another container of the site passed it on to this one, which is not to pass it on again.
    pub passed_on: bool,
    /// How long the caller waits.
    pub deadline: Duration,
}

impl Delete {
    /// A delete of whatever is there.
    pub fn new(address: Address, deadline: Duration) -> Self {
        Delete { address, condition: Condition::Always, after: None, passed_on: false, deadline }
    }
}

/// The acknowledgement of a delete, which is always durable.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The version and the dot of the delete; `None` when there was nothing to delete.
    pub gone: Option<(Version, Dot)>,
}

/// Read a page of a collection's keys in byte order.
#[derive(Clone, Debug)]
pub struct List {
    /// Which collection.
    pub collection: Name,
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// How many at most (1 to `LIST_LIMIT_MAX`).
    pub limit: usize,
    /// What the caller has seen: the page is not older.
    pub session: Option<Session>,
    /// How long the caller waits.
    pub deadline: Duration,
}

/// One entry of a page.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The key inside the collection.
    pub key: String,
    /// What is known of it.
    pub found: Found,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// In byte order of the keys.
    pub items: Vec<Listed>,
    /// Ask with `after` set to this for the rest; `None` when this was the last page.
    pub next: Option<String>,
    /// Whether a salvage of the store may have lost entries that nobody has accepted as lost.
    pub incomplete: bool,
    /// Sites that may have more and did not tell in time, by name.
    pub silent: Vec<String>,
}

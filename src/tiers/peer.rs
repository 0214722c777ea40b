//! The other containers of the site, as sources of bytes: a trait, because reaching them is not this module's.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::Source;
use crate::error::Result;
use crate::model::{
    Address, Condition, ContainerId, Digest, Dot, Durability, Entry, FrameId, Holds, Manifest, Name, NfrOverride,
    Version,
};

/// What the others said of an address.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The newest that any of them knows, or the version that was asked for; its keeper is who has it.
    pub found: Option<Entry>,
    /// Containers that may hold it and did not answer in time, by name.
    pub silent: Vec<String>,
}

/// What one of the others has of an address.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Its identity.
    pub container: ContainerId,
    /// Its site, where that is another one.
    pub site: Option<String>,
    /// Its name in the site.
    pub name: String,
    /// How long the question and its answer took.
    pub took_ns: u64,
    /// What it said.
    pub holds: Holds,
}

/// What all of the others have of an address.
#[derive(Clone, Debug, Default)]
pub struct Everywhere {
    /// Who answered.
    pub answers: Vec<Elsewhere>,
    /// Containers that may hold something and did not answer in time, by name.
    pub silent: Vec<String>,
}

/// The sealed bytes of a version that another container keeps, and what opens them here.
pub struct Opened {
    /// The object as it is known here, with its data key.
    pub manifest: Arc<Manifest>,
    /// Its frame, read as it is needed.
    pub frame: Arc<dyn Source>,
    /// Whether some of it may come from another site that does not keep the object, but has a copy: who can open it could
    /// have made its chunks anew.
    pub may_be_copy: bool,
}

/// Plain bytes on their way to another container.
pub type Sending = BoxStream<'static, io::Result<Bytes>>;

/// Plain bytes that still arrive.
pub type Arriving = BoxStream<'static, Result<Bytes>>;

/// A push that another container is to take: what it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// Where to.
    pub address: Address,
    /// When to acknowledge.
    pub durability: Option<Durability>,
    /// How to seal.
    pub nfr: NfrOverride,
    /// Kept and given back.
    pub content_type: Option<String>,
    /// The pusher's own metadata.
    pub meta: BTreeMap<String, String>,
    /// Checked before the acknowledgement.
    pub expect: Option<Digest>,
    /// What must hold for it.
    pub condition: Condition,
    /// How long the object lives, in seconds.
    pub ttl_s: Option<u64>,
    /// What the caller knows of the object.
    pub after: Option<Version>,
    /// The body's length, where it is known.
    pub size: Option<u64>,
}

/// The acknowledgement of another container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The version that it gave.
    pub version: Version,
    /// The change that made it.
    pub dot: Dot,
    /// Plain bytes.
    pub size: u64,
    /// Of the plain bytes.
    pub digest: Digest,
    /// The class reached.
    pub durability: Durability,
    /// Whether the address held nothing before.
    pub created: bool,
}

/// A decision under way: from when all was known that counts for it until it is committed.
pub trait Deciding: Send + Sync {
    /// Whether this container still decides. It may have been cut off meanwhile, and another one have taken over.
    fn holds(&self) -> bool;
}

/// Held by whatever is decided until it is committed.
pub type Decision = Arc<dyn Deciding>;

/// The other containers, of this site and of others.
pub trait Peers: Send + Sync + 'static {
    /// Which other container is to take a change of this size: the one that decides its condition, or one with more
    /// room. `None` is this container itself.
    fn better_for(&self, address: &Address, conditional: bool, size: u64) -> Result<Option<ContainerId>>;

    /// Asks all others for a collection that is not known here, and takes it over.
    fn find_collection<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, ()>;

    /// Looks anew who decides.
    fn look_again(&self) -> BoxFuture<'_, ()>;

    /// Makes sure that this container decides at an address, and knows what all others know of it.
    fn decide(&self, address: &Address) -> BoxFuture<'_, Result<Decision>>;

    /// Has another container store an object.
    fn hand_over(&self, to: ContainerId, push: Handover, body: Sending) -> BoxFuture<'_, Result<Accepted>>;

    /// Has another container delete an object, later than what is known of it: the version and the dot of the delete, if
    /// there was something.
    fn delete_at(
        &self,
        to: ContainerId,
        address: &Address,
        wanted: (Condition, Option<Version>),
    ) -> BoxFuture<'_, Result<Option<(Version, Dot)>>>;

    /// Has another site store an object, whose condition that one decides.
    fn push_at_home(
        &self,
        home: Name,
        push: Handover,
        body: Sending,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Accepted>>;

    /// Has another site delete an object, whose condition that one decides, later than what is known of it.
    fn delete_at_home(
        &self,
        home: Name,
        address: Address,
        wanted: (Condition, Option<Version>),
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Option<(Version, Dot)>>>;

    /// Asks all of them what they know of an address: the newest, or this version.
    fn ask(&self, address: &Address, version: Option<Version>) -> BoxFuture<'_, Asked>;

    /// Asks other sites alone what they know of an address now, whatever they said a moment ago.
    fn ask_sites<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Asked>;

    /// Asks all of them what they have of an address.
    fn locate(&self, address: &Address) -> BoxFuture<'_, Everywhere>;

    /// The name of a container, where it was ever heard, behind that of its site where that is another one.
    fn name_of(&self, container: ContainerId) -> Option<(Option<String>, String)>;

    /// The sealed bytes of a version, where its keeper can be reached, or somebody who has a copy; this range of the plain
    /// ones is to be read.
    fn opened<'a>(
        &'a self,
        address: &'a Address,
        keeper: ContainerId,
        manifest: &'a Arc<Manifest>,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Opened>>;

    /// Copies of this frame are not read any more, but what its keeper has: one of them was not what it should be.
    fn distrust(&self, frame: FrameId);

    /// Whether that is so.
    fn distrusts(&self, frame: FrameId) -> bool;

    /// Whether these changes were heard of, as far as they are of this collection and of another site's.
    fn has_heard(&self, collection: &str, dots: &[Dot]) -> bool;

    /// Asks other sites for what they have of a collection that is not known here.
    fn catch_up(&self, collection: &str);

    /// Waits a moment for what other sites have of a collection. Returns those that may have more.
    fn gather<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Vec<String>>;

    /// Whether a container is another site's: what is brought from there is worth a copy.
    fn is_far(&self, keeper: ContainerId) -> bool;

    /// A range of a version's plain bytes, checked and opened by its keeper.
    fn plain(
        &self,
        address: &Address,
        keeper: ContainerId,
        version: Version,
        range: Range<u64>,
    ) -> BoxFuture<'_, Result<Arriving>>;
}

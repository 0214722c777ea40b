//! The other containers of the site, as sources of bytes: a trait, because reaching them is not this module's.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::Source;
use crate::error::Result;
use crate::model::{Address, ContainerId, Entry, Manifest, Version};

/// What the others said of an address.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The newest that any of them knows, or the version that was asked for; its keeper is who has it.
    pub found: Option<Entry>,
    /// Containers that may hold it and did not answer in time, by name.
    pub silent: Vec<String>,
}

/// Plain bytes that still arrive.
pub type Arriving = BoxStream<'static, Result<Bytes>>;

/// The other containers of the site.
pub trait Peers: Send + Sync + 'static {
    /// Asks all of them what they know of an address: the newest, or this version.
    fn ask(&self, address: &Address, version: Option<Version>) -> BoxFuture<'_, Asked>;

    /// The sealed bytes of a version, where its keeper can be reached; read as they are needed.
    fn sealed(&self, address: &Address, keeper: ContainerId, manifest: &Manifest) -> Result<Arc<dyn Source>>;

    /// A range of a version's plain bytes, checked and opened by its keeper.
    fn plain(
        &self,
        address: &Address,
        keeper: ContainerId,
        version: Version,
        range: Range<u64>,
    ) -> BoxFuture<'_, Result<Arriving>>;
}

//! What every level of the hierarchy can do, so that one suite can test them all.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::error::Result;
use crate::model::{Address, Buffer, Chunks, Level, Manifest, Version};

/// Bytes at rest that can be read in parts.
pub trait Source: Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a range that lies within the length.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;

    /// The same in a buffer of its own, to be changed there.
    fn load(&self, range: Range<u64>) -> Result<Buffer> {
        Ok(Buffer::from(&*self.read(range)?))
    }

    /// How they begin and how they end, which who opens them needs first.
    fn ends(&self, head: Range<u64>, tail: Range<u64>) -> Result<(Bytes, Bytes)> {
        Ok((self.read(head)?, self.read(tail)?))
    }

    /// Whether some of what was read so far came from somebody who only has a copy.
    fn is_second_hand(&self) -> bool {
        false
    }

    /// A long range in one go, where that is less work than to read it part by part.
    fn run(self: Arc<Self>, _: Range<u64>) -> Option<Box<dyn Run>> {
        None
    }
}

/// A range that is read once, in its order.
pub trait Run: Send {
    /// The next so many bytes. After an error nothing more comes.
    fn next(&mut self, bytes: usize) -> BoxFuture<'_, Result<Buffer>>;

    /// Nobody takes more for now: what is held for it elsewhere is let go.
    fn pause(&mut self);
}

/// A copy of one version of an object, in the form its tier keeps: plain in memory, sealed elsewhere.
#[derive(Clone)]
pub struct TierCopy {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// Its bytes.
    pub bytes: Arc<dyn Source>,
}

/// A level of the hierarchy.
pub trait Tier: Send + Sync {
    /// Which one.
    fn level(&self) -> Level;

    /// Takes in a copy that was made elsewhere, at the version it has. Returns whether it is held
    /// now: something newer at the same address wins, and the copy is let go.
    fn put(&self, address: &Address, copy: TierCopy) -> Result<bool>;

    /// The newest copy held.
    fn get(&self, address: &Address) -> Result<Option<TierCopy>>;

    /// Lets go of the copy if it is this version. Returns whether it left.
    fn drop_copy(&self, address: &Address, version: Version) -> Result<bool>;

    /// Objects held.
    fn objects(&self) -> Result<u64>;
}

impl Source for Chunks {
    fn len(&self) -> u64 {
        Chunks::len(self)
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let mut pieces = self.slice(range);
        Ok(match pieces.len() {
            1 => pieces.remove(0),
            _ => pieces.concat().into(),
        })
    }
}

impl Source for Bytes {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let end = (range.end as usize).min(<[u8]>::len(self));
        let start = (range.start as usize).min(end);
        Ok(self.slice(start..end))
    }
}

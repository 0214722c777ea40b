//! The sealed bytes of one frame in the cloud, fetched range by range.

use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::CloudTier;
use super::trouble::Trouble;
use crate::error::{Error, Result};
use crate::limits::CLOUD_READ_BYTES_MAX;
use crate::tiers::Source;

/// A frame in the cloud. Nothing is fetched before it is read, and then just the range.
#[derive(Clone)]
pub struct CloudReader {
    cloud: CloudTier,
    path: Path,
    len: u64,
}

impl CloudReader {
    pub(super) fn new(cloud: CloudTier, path: Path, len: u64) -> Self {
        CloudReader { cloud, path, len }
    }

    fn piece(&self, range: Range<u64>) -> Result<Bytes> {
        let cloud = &self.cloud;
        let got = cloud.calls.patiently(|| {
            cloud
                .calls
                .call("cannot read a frame from the cloud", cloud.place.store.get_range(&self.path, range.clone()))
        });
        match got {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(_) => Err(self.damaged("a frame in the cloud is shorter than its manifest says")),
            Err(Trouble::Missing(cause)) => Err(self.damaged("a frame is missing in the cloud").because(cause)),
            Err(Trouble::Lasting(error)) => Err(error),
            // A range behind the end fails like a store that is down; its length tells which it was.
            Err(Trouble::Passing(error)) => match cloud.stored(&self.path) {
                Ok(Some(meta)) if meta.size < range.end => {
                    Err(self.damaged("a frame in the cloud is shorter than its manifest says"))
                }
                _ => Err(error),
            },
        }
    }

    fn damaged(&self, why: &str) -> Error {
        Error::corrupt(why).with("frame", &self.path)
    }
}

impl Source for CloudReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.len {
            return Err(Error::corrupt("the frame is shorter than its footer says"));
        }
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = (at + CLOUD_READ_BYTES_MAX).min(range.end);
            pieces.push(self.piece(at..end)?);
            at = end;
        }
        Ok(if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() })
    }
}
